-- owner is for whom a token is served, '' for nobody: no owner's renewals wait for another's. warm is 1 where the token was not used for a day: it is renewed only if the budget allows
ALTER TABLE tokens ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN warm BIGINT NOT NULL DEFAULT 0;
