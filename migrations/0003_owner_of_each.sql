-- apart from the new columns, whose lock would keep replicas of the version before from reading meanwhile
UPDATE tokens
SET owner = (SELECT tenant FROM authorizers WHERE appid = tokens.id)
WHERE kind = 'authorizer' AND EXISTS (SELECT 1 FROM authorizers WHERE appid = tokens.id AND tenant <> '');
