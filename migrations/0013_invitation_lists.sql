-- oldest: 0010
-- A tenant's invitations are listed newest first: all, or those of one status. No statement needs the order of
-- their hashes.
CREATE INDEX invitations_newest ON invitations (tenant, created_at, hash);
CREATE INDEX invitations_by_status ON invitations (tenant, status, created_at, hash);
DROP INDEX invitations_of_tenant;
