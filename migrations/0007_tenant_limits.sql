-- How many requests a second a tenant may send to one replica, and how many at once. 0 is the platform's
-- default.
ALTER TABLE tenants ADD COLUMN rate BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN burst BIGINT NOT NULL DEFAULT 0;
