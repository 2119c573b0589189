CREATE TABLE meta (
  one         BIGINT PRIMARY KEY CHECK (one = 1),
  component   TEXT   NOT NULL,
  database_id TEXT   NOT NULL,
  changes     BIGINT NOT NULL
);

-- The keys that something in this database may be sealed under. canary is sealed under each.
CREATE TABLE sealing_keys (
  id      BYTEA  PRIMARY KEY,
  canary  BYTEA  NOT NULL,
  seen_at BIGINT NOT NULL
);

-- tenant: the callers
CREATE TABLE tenants (
  id           TEXT   PRIMARY KEY,
  name         TEXT   NOT NULL,
  redirects    TEXT   NOT NULL,
  created_at   BIGINT NOT NULL,
  suspended_at BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE clients (
  id          TEXT   PRIMARY KEY,
  tenant      TEXT   NOT NULL REFERENCES tenants (id),
  name        TEXT   NOT NULL,
  scopes      TEXT   NOT NULL,
  secret_hash TEXT   NOT NULL,
  created_at  BIGINT NOT NULL,
  revoked_at  BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX clients_of_tenant ON clients (tenant, id);

CREATE TABLE signing_keys (
  kid          TEXT   PRIMARY KEY,
  public       BYTEA  NOT NULL,
  private      BYTEA  NOT NULL,
  published_at BIGINT NOT NULL,
  signs_from   BIGINT NOT NULL,
  revoked_at   BIGINT NOT NULL DEFAULT 0
);

-- token: custody of tokens. kind is 'component' or 'authorizer'
CREATE TABLE tokens (
  kind            TEXT   NOT NULL,
  id              TEXT   NOT NULL,
  fence           BIGINT NOT NULL DEFAULT 0,
  version         BIGINT NOT NULL DEFAULT 0,
  claimed_at      BIGINT NOT NULL DEFAULT 0,
  lease_until     BIGINT NOT NULL DEFAULT 0,
  unsettled_until BIGINT NOT NULL DEFAULT 0,
  access          BYTEA  NOT NULL,
  refresh         BYTEA  NOT NULL,
  spare           BYTEA  NOT NULL,
  spare_fence     BIGINT NOT NULL DEFAULT 0,
  expires_at      BIGINT NOT NULL DEFAULT 0,
  renew_early     BIGINT NOT NULL DEFAULT 0,
  renew_late      BIGINT NOT NULL DEFAULT 0,
  due             BIGINT NOT NULL DEFAULT 0,
  failures        BIGINT NOT NULL DEFAULT 0,
  retry_at        BIGINT NOT NULL DEFAULT 0,
  barred_until    BIGINT NOT NULL DEFAULT 0,
  used_at         BIGINT NOT NULL DEFAULT 0,
  forced_at       BIGINT NOT NULL DEFAULT 0,
  forced_version  BIGINT NOT NULL DEFAULT 0,
  retired_at      BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (kind, id)
);
CREATE INDEX tokens_due ON tokens (kind, due, id) WHERE due > 0;
CREATE INDEX tokens_unsettled ON tokens (kind, unsettled_until, due) WHERE unsettled_until > 0 AND retired_at = 0;

-- component: our own account at WeChat
CREATE TABLE tickets (
  component   TEXT   PRIMARY KEY,
  ticket      BYTEA  NOT NULL,
  created_at  BIGINT NOT NULL,
  received_at BIGINT NOT NULL
);

-- authorizer: the merchants' accounts. tenant is '' while no tenant owns the account
CREATE TABLE authorizers (
  appid           TEXT   PRIMARY KEY,
  tenant          TEXT   NOT NULL DEFAULT '',
  user_name       TEXT   NOT NULL DEFAULT '',
  alias           TEXT   NOT NULL DEFAULT '',
  nick_name       TEXT   NOT NULL DEFAULT '',
  principal_name  TEXT   NOT NULL DEFAULT '',
  kind            TEXT   NOT NULL DEFAULT '',
  verify_type     BIGINT NOT NULL DEFAULT -1,
  account_status  BIGINT NOT NULL DEFAULT 0,
  permission_sets TEXT   NOT NULL DEFAULT '',
  profile_at      BIGINT NOT NULL DEFAULT 0,
  profile_tried_at BIGINT NOT NULL DEFAULT 0,
  state           TEXT   NOT NULL DEFAULT 'healthy',
  reason          TEXT   NOT NULL DEFAULT '',
  since           BIGINT NOT NULL DEFAULT 0,
  authorized_at   BIGINT NOT NULL DEFAULT 0,
  noted_version   BIGINT NOT NULL DEFAULT 0,
  attempt_at      BIGINT NOT NULL DEFAULT 0,
  sought_at       BIGINT NOT NULL DEFAULT 0,
  seek_at         BIGINT NOT NULL DEFAULT 0,
  check_at        BIGINT NOT NULL DEFAULT 0,
  checks          BIGINT NOT NULL DEFAULT 0,
  listed_at       BIGINT NOT NULL DEFAULT 0,
  created_at      BIGINT NOT NULL
);
CREATE INDEX authorizers_of_tenant ON authorizers (tenant, appid);
CREATE INDEX authorizers_by_state ON authorizers (state, appid);
CREATE INDEX authorizers_to_check ON authorizers (check_at, appid) WHERE check_at > 0;
CREATE INDEX authorizers_to_attempt ON authorizers (attempt_at, appid) WHERE attempt_at > 0;
CREATE INDEX authorizers_to_seek ON authorizers (seek_at, appid) WHERE sought_at > 0;
CREATE INDEX authorizers_unread ON authorizers (profile_tried_at, appid) WHERE profile_at = 0;

-- Shared by all replicas: the last walk through WeChat's list of authorizers, and the pause in refreshing
-- access tokens.
CREATE TABLE walks (
  one           BIGINT PRIMARY KEY CHECK (one = 1),
  begun_at      BIGINT NOT NULL DEFAULT 0,
  ended_at      BIGINT NOT NULL DEFAULT 0,
  lease_until   BIGINT NOT NULL DEFAULT 0,
  reconciled_at BIGINT NOT NULL
);

CREATE TABLE pauses (
  one      BIGINT PRIMARY KEY CHECK (one = 1),
  code     BIGINT NOT NULL,
  since    BIGINT NOT NULL,
  until_at BIGINT NOT NULL,
  probe_at BIGINT NOT NULL
);

-- invitation: how merchants authorize. Secrets are stored as SHA-256 in hex
CREATE TABLE invitations (
  hash            TEXT   PRIMARY KEY,
  tenant          TEXT   NOT NULL REFERENCES tenants (id),
  redirect_url    TEXT   NOT NULL,
  kind            TEXT   NOT NULL,
  appid           TEXT   NOT NULL DEFAULT '',
  permission_sets TEXT   NOT NULL DEFAULT '',
  state           TEXT   NOT NULL DEFAULT '',
  status          TEXT   NOT NULL,
  bound           TEXT   NOT NULL DEFAULT '',
  created_at      BIGINT NOT NULL,
  expires_at      BIGINT NOT NULL,
  lease_until     BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX invitations_of_tenant ON invitations (tenant, hash);

CREATE TABLE invitation_secrets (
  hash       TEXT   PRIMARY KEY,
  kind       TEXT   NOT NULL,
  invitation TEXT   NOT NULL REFERENCES invitations (hash),
  expires_at BIGINT NOT NULL
);

CREATE TABLE exchanges (
  hash        TEXT   PRIMARY KEY,
  invitation  TEXT   NOT NULL DEFAULT '',
  sent_at     BIGINT NOT NULL DEFAULT 0,
  lease_until BIGINT NOT NULL DEFAULT 0,
  appid       TEXT   NOT NULL DEFAULT '',
  result      TEXT   NOT NULL DEFAULT '',
  done        BIGINT NOT NULL DEFAULT 0
);

-- inbox: events that WeChat pushed
CREATE TABLE events (
  hash        TEXT   PRIMARY KEY,
  body        BYTEA  NOT NULL,
  received_at BIGINT NOT NULL,
  due         BIGINT NOT NULL,
  attempts    BIGINT NOT NULL DEFAULT 0,
  done_at     BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX events_due ON events (due, hash) WHERE done_at = 0;
