-- next_at is when the platform next acts on an account by itself: begins a walk through WeChat's list, while
-- another refresh token is sought (sought_at > 0), or asks for a token, while the merchant must authorize again.
-- 0 is at once. It replaces attempt_at and seek_at, which were never both set; replicas of the previous version
-- still use those.
ALTER TABLE authorizers ADD COLUMN next_at BIGINT NOT NULL DEFAULT 0;
UPDATE authorizers SET next_at = attempt_at + seek_at WHERE attempt_at > 0 OR seek_at > 0;
CREATE INDEX authorizers_to_try ON authorizers (next_at, appid) WHERE state = 'reauthorize';
CREATE INDEX authorizers_sought ON authorizers (next_at, appid) WHERE sought_at > 0;
