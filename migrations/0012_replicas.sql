-- oldest: 0010
-- replica: the processes that serve. Each writes its row every few seconds and removes it when it ends. address
-- is that of its operations listener, sealing_key the key that it seals with, redis 'shared' or 'in-process'.
-- ahead_ms is how far its clock is ahead of the database's. reasons is a JSON array: why it is degraded.
CREATE TABLE replicas (
  id          TEXT   PRIMARY KEY,
  host        TEXT   NOT NULL,
  address     TEXT   NOT NULL,
  version     TEXT   NOT NULL,
  sealing_key TEXT   NOT NULL,
  redis       TEXT   NOT NULL,
  ahead_ms    BIGINT NOT NULL,
  reasons     TEXT   NOT NULL,
  started_at  BIGINT NOT NULL,
  seen_at     BIGINT NOT NULL
);
CREATE INDEX replicas_seen ON replicas (seen_at);
