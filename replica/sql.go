package replica

import (
	"context"
	"encoding/json"
	"time"

	"wxplatform/internal/db"
)

// upsert writes the row of self. started_at keeps its first value.
func upsert(ctx context.Context, q db.Querier, self Replica) error {
	reasons, err := json.Marshal(append([]Reason{}, self.Reasons...))
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, q, `
		INSERT INTO replicas (id, host, address, version, sealing_key, redis, ahead_ms, reasons, started_at, seen_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (id) DO UPDATE SET
			host = excluded.host,
			address = excluded.address,
			version = excluded.version,
			sealing_key = excluded.sealing_key,
			redis = excluded.redis,
			ahead_ms = excluded.ahead_ms,
			reasons = excluded.reasons,
			seen_at = excluded.seen_at`,
		self.ID, self.Host, self.Address, self.Version, self.SealingKey, string(self.Redis), self.Ahead.Milliseconds(),
		string(reasons), db.Stamp(self.Started), db.Stamp(self.Seen))
	return err
}

// selectSeen reads the replicas that were seen after since. It leaves out rows of Prove, which have
// no address.
func selectSeen(ctx context.Context, q db.Querier, since time.Time) ([]Replica, error) {
	return db.All(ctx, q, scanReplica, `
		SELECT id, host, address, version, sealing_key, redis, ahead_ms, reasons, started_at, seen_at
		FROM replicas
		WHERE seen_at > $1 AND address <> ''
		ORDER BY started_at, id
		LIMIT $2`, db.Stamp(since), most)
}

func scanReplica(scan db.Scan) (Replica, error) {
	var r Replica
	var ahead int64
	var reasons string
	err := scan(&r.ID, &r.Host, &r.Address, &r.Version, &r.SealingKey, (*string)(&r.Redis), &ahead, &reasons, (*db.Stamp)(&r.Started), (*db.Stamp)(&r.Seen))
	if err != nil {
		return Replica{}, err
	}
	r.Ahead = time.Duration(ahead) * time.Millisecond
	return r, json.Unmarshal([]byte(reasons), &r.Reasons)
}

// deleteRows deletes the row of id, and all rows that were last seen before the given time.
func deleteRows(ctx context.Context, q db.Querier, id string, before time.Time) error {
	_, err := db.Exec(ctx, q, `
		DELETE FROM replicas
		WHERE id = $1 OR seen_at < $2`, id, db.Stamp(before))
	return err
}
