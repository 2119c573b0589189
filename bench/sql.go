package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// makeDatabase makes an empty database on the server at address, and returns its URL and a function
// that drops it.
func makeDatabase(ctx context.Context, address string) (string, func() error, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", nil, errors.New("TEST_POSTGRES_URL is no URL")
	}
	server, err := db.Open(ctx, seal.NewSecret(address))
	if err != nil {
		return "", nil, err
	}
	name := "bench_" + strings.ToLower(rand.Text()[:12])
	if _, err := db.Exec(ctx, server, "CREATE DATABASE "+name); err != nil {
		return "", nil, errors.Join(err, server.Close())
	}
	u.Path = "/" + name
	drop := func() error {
		_, err := db.Exec(context.WithoutCancel(ctx), server, "DROP DATABASE "+name+" WITH (FORCE)")
		return errors.Join(err, server.Close())
	}
	return u.String(), drop, nil
}

// makeDue has the authorizers' tokens renewed as soon as a keeper looks.
func makeDue(ctx context.Context, d *db.DB) error {
	_, err := db.Exec(ctx, d, `UPDATE tokens SET unsettled_until = 1, due = 1, failures = 0, retry_at = 0 WHERE kind = 'authorizer'`)
	return err
}

// insert writes some tenants, authorizers and tokens, as JSON.
func (b *bench) insert(ctx context.Context, some string) error {
	now := time.Now().UnixMilli()
	if _, err := db.Exec(ctx, b.database, `
		INSERT INTO tenants (id, name, redirects, created_at)
		SELECT DISTINCT r.owner, r.owner, '[]', CAST($2 AS BIGINT)
		FROM json_to_recordset(CAST($1 AS json)) AS r (owner TEXT)
		ORDER BY r.owner
		ON CONFLICT (id) DO NOTHING`, some, now); err != nil {
		return err
	}
	if _, err := db.Exec(ctx, b.database, `
		INSERT INTO authorizers (appid, tenant, nick_name, kind, verify_type, account_status, permission_sets, profile_at, since, authorized_at, created_at)
		SELECT r.id, r.owner, r.name, 'service', 0, 1, '1,2,3,6,11', CAST($2 AS BIGINT), CAST($2 AS BIGINT), CAST($2 AS BIGINT) - 864000000, CAST($2 AS BIGINT) - 864000000
		FROM json_to_recordset(CAST($1 AS json)) AS r (id TEXT, owner TEXT, name TEXT)`, some, now); err != nil {
		return err
	}
	_, err := db.Exec(ctx, b.database, `
		INSERT INTO tokens (kind, id, owner, warm, fence, version, claimed_at, access, refresh, spare, expires_at, renew_early, renew_late, due, used_at)
		SELECT 'authorizer', r.id, r.owner, r.warm, r.version, r.version, r.version, decode(r.access, 'base64'), decode(r.refresh, 'base64'), '', r.expires, r.early, r.late, r.due, r.used
		FROM json_to_recordset(CAST($1 AS json)) AS r (id TEXT, owner TEXT, warm BIGINT, version BIGINT, access TEXT, refresh TEXT, expires BIGINT, early BIGINT, late BIGINT, due BIGINT, used BIGINT)`, some)
	return err
}

// analyze updates the planner's statistics, which PostgreSQL would have done itself if the database
// had not been filled within a minute.
func (b *bench) analyze(ctx context.Context) error {
	_, err := db.Exec(ctx, b.database, `ANALYZE`)
	return err
}

// backlog counts the due tokens, and the missed ones: tokens in use that have expired.
type backlog struct {
	due, expired int
	oldest       time.Duration
}

func readOneBacklog(scan db.Scan) (backlog, error) {
	var b backlog
	var age int64
	err := scan(&b.due, &age, &b.expired)
	b.oldest = time.Duration(age) * time.Millisecond
	return b, err
}

// readBacklog reads the index of due rows: a token in use that has expired is always due.
func (s *scale) readBacklog(ctx context.Context) (backlog, error) {
	return db.One(ctx, s.database, readOneBacklog, `
		SELECT COUNT(*), COALESCE(CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) - MIN(due), 0),
			COUNT(CASE WHEN expires_at <= CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) THEN 1 END)
		FROM tokens
		WHERE kind = 'authorizer' AND warm = 0 AND due > 0 AND due <= CAST(extract(epoch FROM now()) * 1000 AS BIGINT)`)
}

func (s *scale) countDue(ctx context.Context) (int, error) {
	b, err := s.readBacklog(ctx)
	return b.due, err
}

func (s *scale) databaseSize(ctx context.Context) (int64, error) {
	return db.One(ctx, s.database, db.Value[int64], `SELECT pg_database_size(current_database())`)
}

// serverProcess is the parent of the server process that serves this connection.
func (s *scale) serverProcess(ctx context.Context) (int, error) {
	pid, err := db.One(ctx, s.database, db.Value[int], `SELECT pg_backend_pid()`)
	if err != nil {
		return 0, err
	}
	own, err := readStat(pid)
	return own.parent, err
}
