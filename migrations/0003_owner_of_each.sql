-- A migration of its own: the lock of ALTER TABLE would keep replicas of the version before from reading.
UPDATE tokens
SET owner = (SELECT tenant FROM authorizers WHERE appid = tokens.id)
WHERE kind = 'authorizer' AND EXISTS (SELECT 1 FROM authorizers WHERE appid = tokens.id AND tenant <> '');
