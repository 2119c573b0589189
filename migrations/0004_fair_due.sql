-- all that the listing of due tokens reads, so that it need not look at the rows
DROP INDEX tokens_due;
CREATE INDEX tokens_due ON tokens (kind, warm, due, owner, expires_at, unsettled_until, id) WHERE due > 0;
