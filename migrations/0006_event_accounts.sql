-- account is the account that an event is about: its events are handled one at a time, in the order of
-- arrival. '' is for events that wait for no other. lease_until is 0 while nothing works on the event.
ALTER TABLE events ADD COLUMN account TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN lease_until BIGINT NOT NULL DEFAULT 0;
CREATE INDEX events_of_account ON events (account, received_at, hash) WHERE done_at = 0 AND account <> '';
