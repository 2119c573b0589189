-- cookie is the hash of the cookie of the browser that brought an auth code, '' for none. named is the
-- account that WeChat's event named for it, '' while no event came. bound is 1 if the exchange bound the
-- account to the invitation's tenant. created_at is 0 in rows of older versions.
ALTER TABLE exchanges ADD COLUMN cookie TEXT NOT NULL DEFAULT '';
ALTER TABLE exchanges ADD COLUMN named TEXT NOT NULL DEFAULT '';
ALTER TABLE exchanges ADD COLUMN bound BIGINT NOT NULL DEFAULT 0;
ALTER TABLE exchanges ADD COLUMN created_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX exchanges_of_invitation ON exchanges (invitation);
CREATE INDEX exchanges_of_account ON exchanges (appid) WHERE bound = 1;
CREATE INDEX exchanges_by_age ON exchanges (created_at);
-- ended_at is when the invitation was used or cancelled; 0 while it is pending, and in rows of older
-- versions.
ALTER TABLE invitations ADD COLUMN ended_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX invitations_pending ON invitations (tenant, expires_at) WHERE status = 'pending';
CREATE INDEX invitations_by_expiry ON invitations (expires_at);
CREATE INDEX invitations_by_end ON invitations (ended_at) WHERE ended_at > 0;
CREATE INDEX invitation_secrets_by_expiry ON invitation_secrets (expires_at);
CREATE INDEX invitation_secrets_of_invitation ON invitation_secrets (invitation);
CREATE INDEX events_by_end ON events (done_at) WHERE done_at > 0;
CREATE INDEX events_by_age ON events (received_at);
