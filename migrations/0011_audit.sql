-- oldest: 0010
-- audit: the changes that operators and tenants' clients made. id is at least made_at, and is larger than that
-- of every entry that was committed before. tenant is who owns the subject, '' for the operator's own. old_values
-- and new_values are JSON objects, '' for none.
CREATE TABLE audit (
  id           BIGINT PRIMARY KEY,
  made_at      BIGINT NOT NULL,
  tenant       TEXT   NOT NULL,
  actor        TEXT   NOT NULL,
  action       TEXT   NOT NULL,
  subject      TEXT   NOT NULL,
  old_values   TEXT   NOT NULL,
  new_values   TEXT   NOT NULL,
  request_id   TEXT   NOT NULL
);
CREATE INDEX audit_of_tenant ON audit (tenant, id);
-- The settings that the trail knows, as a JSON object: those with which a process started last.
CREATE TABLE recorded_settings (
  one   BIGINT PRIMARY KEY CHECK (one = 1),
  known TEXT   NOT NULL
);
-- only sqlite
-- Whatever the program, nothing is changed, and only what is older than 30 days is deleted.
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'entries of the audit trail are not changed'); END;
-- only sqlite
CREATE TRIGGER audit_kept BEFORE DELETE ON audit
WHEN OLD.made_at > (unixepoch() - 2592000) * 1000
BEGIN SELECT RAISE(ABORT, 'entries of the audit trail are kept for 30 days'); END;
-- only postgres
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN RAISE EXCEPTION ''entries of the audit trail are not changed, and are kept for 30 days''; END';
-- only postgres
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
FOR EACH ROW EXECUTE FUNCTION audit_refuse();
-- only postgres
CREATE TRIGGER audit_kept BEFORE DELETE ON audit
FOR EACH ROW WHEN (OLD.made_at > extract(epoch FROM clock_timestamp()) * 1000 - 2592000000) EXECUTE FUNCTION audit_refuse();
-- only postgres
CREATE TRIGGER audit_whole BEFORE TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
