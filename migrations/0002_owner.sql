-- owner is the tenant that a token is served for, '' for none: one tenant's renewals do not wait for
-- another's. warm is 1 if the token was not used for a day: then it is renewed only within the budget.
ALTER TABLE tokens ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN warm BIGINT NOT NULL DEFAULT 0;
