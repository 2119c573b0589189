package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"wxplatform/audit"
	"wxplatform/internal/address"
	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/otlp"
	"wxplatform/internal/seal"
	"wxplatform/login"
	"wxplatform/relay"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// setting is one setting of the configuration. It comes from the environment, or from the file that
// NAME_FILE names.
type setting struct {
	name     string
	fallback string
	required bool
	meaning  string
}

var settings = []setting{
	{"PLATFORM_LISTEN", ":8080", false, "public listener: tenants, WeChat, merchants' browsers"},
	{"PLATFORM_PRIVATE_LISTEN", "127.0.0.1:9090", false, "operations listener: /healthz /readyz /metrics"},
	{"PLATFORM_TRUSTED_PROXIES", "", false, "addresses and CIDR prefixes of the reverse proxies whose X-Forwarded-For is believed, comma-separated; if empty, none is"},
	{"PLATFORM_PPROF", "off", false, "on or off; on serves Go's profiles at /debug/pprof on the operations listener"},
	{"PLATFORM_PUBLIC_URL", "", true, "public URL of the public listener: issuer of JWTs, base of callback and invitation URLs; scheme and host, no path"},
	{"PLATFORM_COMPONENT_APPID", "", true, "the component's appid, as in WeChat's console"},
	{"PLATFORM_COMPONENT_SECRET", "", true, "the component's secret"},
	{"PLATFORM_COMPONENT_TOKEN", "", true, "the token that signs pushes; one or two, newest first, comma-separated"},
	{"PLATFORM_COMPONENT_AES_KEY", "", true, "the EncodingAESKey of pushes, 43 characters; one or two, newest first, comma-separated"},
	{"PLATFORM_SEALING_KEYS", "", true, "keys that encrypt secrets in SQL and Redis, base64 of 32 bytes, comma-separated, newest first; `platform keygen` prints one"},
	{"PLATFORM_SEAL_FORM", "1", false, "1 or 2: the form in which new secrets are sealed; 2 has a key for each row, and earlier releases cannot read it. Both are read"},
	{"PLATFORM_DATABASE_URL", "sqlite:platform.db", false, "sqlite:FILE or postgres://…"},
	{"PLATFORM_REDIS_URL", "", false, "redis://…, redis+sentinel://… or redis+cluster://…, with rediss for TLS; if empty an in-process Redis, for one replica only"},
	{"PLATFORM_WECHAT_URL", wechat.DefaultBase, false, "base URL of WeChat's API; the simulator's in tests and the demo"},
	{"PLATFORM_RELEASE_TEST", "on", false, "on or off; on answers WeChat's full-network release test (全网发布接入检测), for WeChat's own test accounts only"},
	{"PLATFORM_NET_HTTP", "off", false, "on or off; on reads all requests and WeChat's answers with Go's net/http alone, and not the plain ones with the platform's own, cheaper parsers"},
	{"PLATFORM_API_OFF", "", false, "WeChat's APIs that are switched off, comma-separated: /path, or METHOD /path for one method; also the calls below /sns"},
	{"PLATFORM_API_UNCHECKED", "", false, "WeChat's APIs that are relayed whatever permission sets the merchant granted, because WeChat's page is wrong; in the same form"},
	{"PLATFORM_REFRESH_BUDGET", "", false, "the most access tokens that all replicas together may request in a day; if empty, what WeChat's quota/get says, otherwise no limit"},
	{"PLATFORM_TENANT_RATE", "50000", false, "the most requests a second of one tenant to one replica, over time, and twice as many at once; `platform tenant limit` sets another for one tenant"},
	{"PLATFORM_CACHED_JWTS", "200000", false, "how many verified JWTs a replica keeps in memory, about"},
	{"PLATFORM_CACHED_AUTHORIZERS", "200000", false, "how many authorizers and how many of their access tokens a replica keeps in memory, about"},
	{"PLATFORM_MAX_PENDING_INVITATIONS", "10000", false, "how many pending invitations each tenant may have"},
	{"PLATFORM_KEEP_INVITATIONS", "90d", false, "how long invitations are kept after they ended; at least 1d"},
	{"PLATFORM_KEEP_CODES", "1d", false, "how long it is known what became of an auth code; at least 2h"},
	{"PLATFORM_KEEP_EVENTS", "1d", false, "how long WeChat's events are recognized after they were processed; at least 1h"},
	{"PLATFORM_KEEP_AUDIT", "400d", false, "how long the audit trail is kept; at least 30d"},
	{"PLATFORM_KEEP_DAYS", "7d", false, "how long the count of a day's access tokens is kept; at least 2d"},
	{"PLATFORM_WECHAT_CONSENT_URL", "", false, "base URL of WeChat's consent pages for the merchant's browser; if empty, WeChat's own two hosts"},
}

// config holds the values of the settings, parsed.
type config struct {
	listen, privateListen string
	publicURL             string // without a trailing slash
	component             wechat.AppID
	secret                seal.Secret
	tokens, aesKeys       []string
	sealingKeys           seal.Secret
	sealForm              string
	databaseURL, redisURL seal.Secret
	wechatURL, consentURL string
	releaseTest, pprof    bool
	netHTTP               bool
	catalogue             *relay.Catalogue // with what the operator switched off
	loginsOff             []string         // the paths of login calls that the operator switched off
	proxies               address.Proxies
	refreshBudget         int64 // 0: none was given
	tenantLimit           tenant.Limit
	cachedJWTs            int
	cachedAuthorizers     int
	maxPending            int64
	keep                  keepTimes
	recorded              map[string]string // the values for the audit trail
	envelope              *wechat.Envelope
	ring                  *seal.Ring
	traces                *otlp.Settings // nil: they are off
}

// needs says which settings a command requires.
type needs int

const (
	needsDatabase needs = iota // the database alone
	needsTenants               // also the component that owns the database, and the sealing keys
	needsAll                   // every required setting
)

func (n needs) required(name string) bool {
	switch name {
	case "PLATFORM_COMPONENT_APPID", "PLATFORM_SEALING_KEYS":
		return n >= needsTenants
	}
	return n == needsAll
}

// environment reads settings and collects what is wrong with them. lookup is os.LookupEnv, except
// in tests.
type environment struct {
	lookup func(string) (string, bool)
	faults []error
}

func (e *environment) fault(format string, args ...any) {
	e.faults = append(e.faults, fmt.Errorf(format, args...))
}

// get is the value of s, or its default if it is not set.
func (e *environment) get(s setting) string {
	value, given := e.lookup(s.name)
	file, fromFile := e.lookup(s.name + "_FILE")
	switch {
	case given && value != "" && fromFile && file != "":
		e.fault("%s and %s_FILE are both set", s.name, s.name)
	case fromFile && file != "":
		text, err := os.ReadFile(file)
		if err != nil {
			e.fault("%s_FILE: %w", s.name, err)
		}
		value = strings.TrimSpace(string(text))
	}
	if value == "" {
		return s.fallback
	}
	return value
}

// loadConfig reads the settings. Its error names everything that is wrong with those that are
// needed.
func loadConfig(lookup func(string) (string, bool), need needs) (config, error) {
	e := &environment{lookup: lookup}
	values := map[string]string{}
	for _, s := range settings {
		values[s.name] = e.get(s)
		if s.required && need.required(s.name) && values[s.name] == "" {
			e.fault("%s is not set: %s", s.name, s.meaning)
		}
	}
	c := config{
		listen: values["PLATFORM_LISTEN"], privateListen: values["PLATFORM_PRIVATE_LISTEN"],
		publicURL: e.url("PLATFORM_PUBLIC_URL", values), component: wechat.AppID(values["PLATFORM_COMPONENT_APPID"]),
		secret: seal.NewSecret(values["PLATFORM_COMPONENT_SECRET"]), sealingKeys: seal.NewSecret(values["PLATFORM_SEALING_KEYS"]), sealForm: values["PLATFORM_SEAL_FORM"],
		tokens: list(values["PLATFORM_COMPONENT_TOKEN"]), aesKeys: list(values["PLATFORM_COMPONENT_AES_KEY"]),
		databaseURL: seal.NewSecret(values["PLATFORM_DATABASE_URL"]), redisURL: seal.NewSecret(values["PLATFORM_REDIS_URL"]),
		wechatURL: e.url("PLATFORM_WECHAT_URL", values), consentURL: e.url("PLATFORM_WECHAT_CONSENT_URL", values),
		recorded: recorded(values),
	}
	c.releaseTest = e.onOff("PLATFORM_RELEASE_TEST", values)
	c.catalogue, c.loginsOff = e.switched("PLATFORM_API_OFF", "PLATFORM_API_UNCHECKED", values)
	c.proxies = e.proxies("PLATFORM_TRUSTED_PROXIES", values)
	c.pprof, c.netHTTP = e.onOff("PLATFORM_PPROF", values), e.onOff("PLATFORM_NET_HTTP", values)
	c.refreshBudget = e.positive("PLATFORM_REFRESH_BUDGET", values)
	rate := int(e.positive("PLATFORM_TENANT_RATE", values))
	c.tenantLimit = tenant.Limit{PerSecond: rate, Burst: min(2*rate, tenant.MostPerSecond)}
	if err := c.tenantLimit.Valid(); err != nil {
		e.fault("PLATFORM_TENANT_RATE: %w", err)
	}
	c.cachedJWTs, c.cachedAuthorizers = int(e.positive("PLATFORM_CACHED_JWTS", values)), int(e.positive("PLATFORM_CACHED_AUTHORIZERS", values))
	c.maxPending = e.positive("PLATFORM_MAX_PENDING_INVITATIONS", values)
	c.keep = keepTimes{
		invitations: e.atLeast(24*time.Hour, "PLATFORM_KEEP_INVITATIONS", values),
		codes:       e.atLeast(2*time.Hour, "PLATFORM_KEEP_CODES", values),
		events:      e.atLeast(time.Hour, "PLATFORM_KEEP_EVENTS", values),
		days:        e.atLeast(48*time.Hour, "PLATFORM_KEEP_DAYS", values),
		audit:       e.atLeast(audit.LeastKeep, "PLATFORM_KEEP_AUDIT", values),
	}
	c.build(e, need)
	if need == needsAll {
		c.traces = e.traces()
	}
	if len(e.faults) > 0 {
		return config{}, fmt.Errorf("configuration (see `platform help config`):\n%w", errors.Join(e.faults...))
	}
	return c, nil
}

// traces reads OpenTelemetry's settings. They come from files, too, as ours do.
func (e *environment) traces() *otlp.Settings {
	s, err := otlp.ReadSettings(func(name string) string { return strings.TrimSpace(e.get(setting{name: name})) })
	if err != nil {
		e.fault("%w", err)
	}
	return s
}

// tokenForm is what WeChat's console accepts as a Token. Anything else was copied incorrectly, and
// would show only later, as pushes that are not authentic.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9]{3,32}$`)

// build constructs the key ring and the envelope from the values, so that a bad value is found at
// the start.
func (c *config) build(e *environment, need needs) {
	var err error
	if need >= needsTenants && c.component != "" && !c.component.Plausible() {
		e.fault("PLATFORM_COMPONENT_APPID is not a valid appid: wx and 16 letters and digits")
	}
	if need >= needsTenants && !c.sealingKeys.IsZero() {
		if c.ring, err = seal.NewRing(c.sealingKeys); err != nil {
			e.fault("PLATFORM_SEALING_KEYS: %w", err)
		}
	}
	if c.ring != nil {
		if c.ring.Form, err = seal.ParseForm(c.sealForm); err != nil {
			e.fault("PLATFORM_SEAL_FORM: %w", err)
		}
	}
	if u, err := url.Parse(c.publicURL); err == nil && u.Path != "" {
		e.fault("PLATFORM_PUBLIC_URL has a path: the platform must be at the root of its host")
	}
	for i, token := range c.tokens {
		if need == needsAll && !tokenForm.MatchString(token) {
			e.fault("PLATFORM_COMPONENT_TOKEN: token %d, of %d characters, is not 3 to 32 letters and digits", i+1, utf8.RuneCountInString(token))
		}
	}
	e.urls(c)
	sound := len(c.tokens) > 0 && len(c.aesKeys) > 0
	for i, key := range c.aesKeys {
		if err := wechat.CheckAESKey(key); err != nil && need == needsAll {
			e.fault("PLATFORM_COMPONENT_AES_KEY: key %d is not an EncodingAESKey: %w", i+1, err)
			sound = false
		}
	}
	if need == needsAll && c.component != "" && sound {
		if c.envelope, err = wechat.NewEnvelope(c.component, c.tokens, c.aesKeys); err != nil {
			e.fault("PLATFORM_COMPONENT_TOKEN or PLATFORM_COMPONENT_AES_KEY: %w", err)
		}
	}
}

// urls checks the URLs of the database and of Redis without connecting.
func (e *environment) urls(c *config) {
	if err := db.CheckURL(c.databaseURL); err != nil {
		e.fault("PLATFORM_DATABASE_URL: %w", err)
	}
	if err := mirror.CheckURL(c.redisURL); err != nil {
		e.fault("PLATFORM_REDIS_URL: %w", err)
	}
}

func (e *environment) url(name string, values map[string]string) string {
	text := strings.TrimSuffix(values[name], "/")
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		e.fault("%s is not an http or https URL without query, fragment and user", name)
	}
	return text
}

// onOff is whether the setting is "on".
func (e *environment) onOff(name string, values map[string]string) bool {
	if values[name] != "on" && values[name] != "off" {
		e.fault(`%s is neither "on" nor "off"`, name)
	}
	return values[name] == "on"
}

// positive is a number above 0, or 0 if the setting is empty.
func (e *environment) positive(name string, values map[string]string) int64 {
	if values[name] == "" {
		return 0
	}
	n, err := strconv.ParseInt(values[name], 10, 64)
	if err != nil || n <= 0 {
		e.fault("%s is not a number above 0", name)
	}
	return n
}

// switched returns the catalogue without the APIs that the setting off names, and without the
// checks that the setting unchecked names. It also returns the paths of the login calls that off
// names.
func (e *environment) switched(off, unchecked string, values map[string]string) (*relay.Catalogue, []string) {
	whole, err := relay.Load()
	if err != nil {
		e.fault("%w", err)
		return nil, nil
	}
	names, logins := splitLogins(values[off])
	return whole.Switched(e.apis(off, whole, names), e.apis(unchecked, whole, apiNames(values[unchecked]))), logins
}

// apiNames splits a list such as "/cgi-bin/menu/create, GET /cgi-bin/menu/delete".
func apiNames(text string) []string {
	return slices.DeleteFunc(strings.Split(text, ","), func(name string) bool { return strings.TrimSpace(name) == "" })
}

// splitLogins divides a list of APIs into those of the catalogue and the paths of login calls.
func splitLogins(text string) (names, logins []string) {
	for _, name := range apiNames(text) {
		if path := login.Named(name); path != "" {
			logins = append(logins, path)
		} else {
			names = append(names, name)
		}
	}
	return names, logins
}

// apis are the APIs that names mean. setting is where they come from.
func (e *environment) apis(setting string, in *relay.Catalogue, names []string) []relay.API {
	var all []relay.API
	for _, name := range names {
		named, err := in.Named(name)
		if err != nil {
			e.fault("%s: %w", setting, err)
		}
		all = append(all, named...)
	}
	return all
}

func (e *environment) proxies(name string, values map[string]string) address.Proxies {
	all, err := address.ParseProxies(list(values[name]))
	if err != nil {
		e.fault("%s: %w", name, err)
	}
	return all
}

// keepTimes is how long rows are kept that are no longer needed.
type keepTimes struct{ invitations, codes, events, days, audit time.Duration }

// atLeast is a time that is not too short: days as in 90d, or hours, minutes and seconds as in 12h.
func (e *environment) atLeast(least time.Duration, name string, values map[string]string) time.Duration {
	d, err := parseDays(values[name])
	if err != nil || d < least {
		e.fault("%s is not a time of at least %s, such as 90d or 48h", name, least)
	}
	return d
}

// parseDays reads a time such as 90d, or one of hours, minutes and seconds.
func parseDays(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	return time.ParseDuration(text)
}

// list splits a value at commas and spaces.
func list(text string) []string {
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	return slices.Clip(parts)
}

// printSettings prints all settings as a table.
func printSettings(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tDEFAULT\tMEANING")
	for _, s := range settings {
		fallback := s.fallback
		if s.required {
			fallback = "(required)"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", s.name, fallback, s.meaning)
	}
	_, _ = fmt.Fprintln(table, "\nEach setting can come from a file instead: NAME_FILE=/path. A command requires only the settings that it uses.")
	_, _ = fmt.Fprintln(table, "Traces have OpenTelemetry's own settings, OTEL_…: they are off unless OTEL_EXPORTER_OTLP_ENDPOINT is set.")
	_, _ = fmt.Fprintln(table, "每一项也可以从文件读取：NAME_FILE=/路径。各命令只要求它用到的设置。")
	_, _ = fmt.Fprintln(table, "链路追踪使用 OpenTelemetry 自己的设置（OTEL_…），不设置 OTEL_EXPORTER_OTLP_ENDPOINT 即关闭。")
	return table.Flush()
}

func settingNamed(name string) setting {
	return settings[slices.IndexFunc(settings, func(s setting) bool { return s.name == name })]
}
