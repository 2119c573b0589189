-- The index holds all columns that listing due tokens reads, so that no row has to be read.
DROP INDEX tokens_due;
CREATE INDEX tokens_due ON tokens (kind, warm, due, owner, expires_at, unsettled_until, id) WHERE due > 0;
