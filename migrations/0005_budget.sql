-- How many access tokens were asked for in a day of WeChat's, which begins at 00:00 in Beijing, and what
-- WeChat reported about its own quota.
CREATE TABLE refresh_days (
  day         BIGINT PRIMARY KEY,
  sent        BIGINT NOT NULL DEFAULT 0,
  quota       BIGINT NOT NULL DEFAULT 0,
  quota_used  BIGINT NOT NULL DEFAULT 0,
  asked_at    BIGINT NOT NULL DEFAULT 0,
  asked_sent  BIGINT NOT NULL DEFAULT 0
);
