-- When a client gets a new secret, old_secret_hash is the SHA-256 of the one before, '' for none. It is accepted
-- until old_secret_until.
ALTER TABLE clients ADD COLUMN old_secret_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN old_secret_until BIGINT NOT NULL DEFAULT 0;
