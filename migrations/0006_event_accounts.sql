-- account is whose an event is: of one account's events one at a time is worked off, in the order they came; '' is for one that waits for no other. lease_until is 0 where nobody works on it
ALTER TABLE events ADD COLUMN account TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN lease_until BIGINT NOT NULL DEFAULT 0;
CREATE INDEX events_of_account ON events (account, received_at, hash) WHERE done_at = 0 AND account <> '';
