package main

import (
	"maps"
	"strconv"
	"strings"

	"wxplatform/internal/seal"
)

// recordedSettings are the settings whose values are in the audit trail.
var recordedSettings = []string{
	"PLATFORM_TRUSTED_PROXIES", "PLATFORM_PPROF", "PLATFORM_PUBLIC_URL", "PLATFORM_COMPONENT_APPID", "PLATFORM_SEAL_FORM",
	"PLATFORM_WECHAT_URL", "PLATFORM_WECHAT_CONSENT_URL", "PLATFORM_RELEASE_TEST", "PLATFORM_NET_HTTP", "PLATFORM_API_OFF",
	"PLATFORM_API_UNCHECKED", "PLATFORM_REFRESH_BUDGET", "PLATFORM_TENANT_RATE", "PLATFORM_CACHED_JWTS",
	"PLATFORM_CACHED_AUTHORIZERS", "PLATFORM_MAX_PENDING_INVITATIONS",
	"PLATFORM_KEEP_INVITATIONS", "PLATFORM_KEEP_CODES", "PLATFORM_KEEP_EVENTS", "PLATFORM_KEEP_AUDIT", "PLATFORM_KEEP_DAYS",
}

// unrecordedSettings are the others: secrets, and what differs between replicas. Of most secrets,
// settingsForAudit returns something that is not secret.
var unrecordedSettings = []string{
	"PLATFORM_LISTEN", "PLATFORM_PRIVATE_LISTEN", "PLATFORM_COMPONENT_SECRET", "PLATFORM_COMPONENT_TOKEN",
	"PLATFORM_COMPONENT_AES_KEY", "PLATFORM_SEALING_KEYS", "PLATFORM_DATABASE_URL", "PLATFORM_REDIS_URL",
}

// recorded returns the values of the recordedSettings.
func recorded(values map[string]string) map[string]string {
	all := map[string]string{}
	for _, name := range recordedSettings {
		all[name] = values[name]
	}
	return all
}

// settingsForAudit returns what the audit trail records of the settings: the values that are not
// secret, and of secrets their kind, their ids or how many there are. engine is the database's.
func (c config) settingsForAudit(engine string) map[string]string {
	all := maps.Clone(c.recorded)
	all["PLATFORM_DATABASE_URL"] = engine
	all["PLATFORM_REDIS_URL"] = "a server"
	if c.redisURL.IsZero() {
		all["PLATFORM_REDIS_URL"] = "in-process"
	}
	all["PLATFORM_SEALING_KEYS"] = keyIDs(c.ring.Keys())
	all["PLATFORM_COMPONENT_TOKEN"] = howMany(c.tokens)
	all["PLATFORM_COMPONENT_AES_KEY"] = howMany(c.aesKeys)
	return all
}

func keyIDs(ids []seal.KeyID) string {
	var all []string
	for _, id := range ids {
		all = append(all, id.String())
	}
	return strings.Join(all, " ")
}

func howMany(secrets []string) string { return strconv.Itoa(len(secrets)) }
