package otlp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"wxplatform/internal/seal"
)

// Names are the settings that are read. Those that begin with OTEL_EXPORTER_OTLP_ have a second
// form, OTEL_EXPORTER_OTLP_TRACES_, which comes first.
var Names = []string{
	"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_COMPRESSION",
	"OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY",
	"OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES",
	"OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
}

const (
	generalEndpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	defaultTimeout  = 10 * time.Second
	idleTime        = 90 * time.Second
)

// Settings say where spans are sent, and which.
type Settings struct {
	endpoint   seal.Secret // the whole URL: its path may be a secret
	headers    seal.Secret // as they were set
	encoding   otlptracehttp.Encoding
	compressed otlptracehttp.Compression
	timeout    time.Duration // of one request
	tls        *tls.Config
	sampler    sdk.Sampler
	resource   map[string]string
	batch      []sdk.BatchSpanProcessorOption
}

// ReadSettings reads the settings with get, which returns "" for one that is not set. It returns
// nil if traces are off: no endpoint is set, OTEL_SDK_DISABLED is true, or OTEL_TRACES_EXPORTER is
// none. Its error names everything that is wrong, and shows no value.
func ReadSettings(get func(name string) string) (*Settings, error) {
	r := &reader{get: get}
	if !r.on() {
		return nil, nil
	}
	s := &Settings{
		endpoint: r.endpoint(), headers: r.headers(), encoding: r.encoding(), compressed: r.compression(), timeout: r.timeout(),
		tls: r.tls(), sampler: r.sampler(), resource: r.resource(), batch: r.batch(),
	}
	return s, errors.Join(r.faults...)
}

// options are the settings as the exporter takes them.
func (s Settings) options(to *answers) []otlptracehttp.Option {
	headers, _ := pairs(s.headers.Reveal()) // ReadSettings has checked them
	return []otlptracehttp.Option{
		otlptracehttp.WithEndpointURL(s.endpoint.Reveal()), otlptracehttp.WithHeaders(headers), otlptracehttp.WithEncoding(s.encoding),
		otlptracehttp.WithCompression(s.compressed), otlptracehttp.WithHTTPClient(s.client(to)),
	}
}

// about says which program sends the spans.
func (s Settings) about(version string) []attribute.KeyValue {
	all := map[string]string{"service.name": "wxplatform", "service.version": version}
	maps.Copy(all, s.resource)
	var list []attribute.KeyValue
	for name, value := range all {
		list = append(list, attribute.String(name, value))
	}
	return list
}

// reader reads settings, and collects what is wrong with them.
type reader struct {
	get    func(name string) string
	faults []error
}

func (r *reader) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf(format, args...))
}

// exporter returns a setting of the exporter and its full name. The setting for traces comes first,
// then the one for all signals.
func (r *reader) exporter(name string) (used, value string) {
	used = "OTEL_EXPORTER_OTLP_TRACES_" + name
	if value := r.get(used); value != "" {
		return used, value
	}
	used = "OTEL_EXPORTER_OTLP_" + name
	return used, r.get(used)
}

func (r *reader) on() bool {
	_, endpoint := r.exporter("ENDPOINT")
	disabled, to := strings.EqualFold(r.get("OTEL_SDK_DISABLED"), "true"), r.get("OTEL_TRACES_EXPORTER")
	if endpoint == "" || disabled || to == "none" {
		return false
	}
	if to != "" && to != "otlp" {
		r.fault(`OTEL_TRACES_EXPORTER is neither "otlp" nor "none"`)
	}
	return true
}

func (r *reader) endpoint() seal.Secret {
	name, text := r.exporter("ENDPOINT")
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		r.fault("%s is not an http or https URL without user, query and fragment; a password belongs in OTEL_EXPORTER_OTLP_HEADERS", name)
		return seal.Secret{}
	}
	if name == generalEndpoint {
		u = u.JoinPath("v1", "traces")
	}
	return seal.NewSecret(u.String())
}

// A header field's name is a token (RFC 9110 §5.6.2), and its value is visible.
var (
	fieldName  = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9A-Za-z]+$")
	fieldValue = regexp.MustCompile(`^[ -~]*$`)
)

func (r *reader) headers() seal.Secret {
	name, text := r.exporter("HEADERS")
	fields, err := pairs(text)
	for field, value := range fields {
		if err == nil && !(fieldName.MatchString(field) && fieldValue.MatchString(value)) {
			err = errors.New("one of them is not a header field")
		}
	}
	if err != nil {
		r.fault("%s: %w", name, err)
	}
	return seal.NewSecret(text)
}

// pairs reads a list such as a=b,c=d%20e. Its error shows no value.
func pairs(text string) (map[string]string, error) {
	all := map[string]string{}
	if text == "" {
		return all, nil
	}
	for i, entry := range strings.Split(text, ",") {
		name, value, found := strings.Cut(entry, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !found || name == "" || err != nil {
			return nil, fmt.Errorf("entry %d is not name=value", i+1)
		}
		all[name] = value
	}
	return all, nil
}

// choice returns the meaning of a setting whose value is text. values and meanings have the same
// order; the first is the default.
func choice[T any](r *reader, name, text string, values []string, meanings []T) T {
	i := slices.Index(values, text)
	if i < 0 {
		r.fault("%s is none of %s", name, strings.TrimPrefix(strings.Join(values, ", "), ", "))
		i = 0
	}
	return meanings[i]
}

func (r *reader) encoding() otlptracehttp.Encoding {
	name, text := r.exporter("PROTOCOL")
	return choice(r, name, text, []string{"", "http/protobuf", "http/json"}, []otlptracehttp.Encoding{otlptracehttp.EncodingProtobuf, otlptracehttp.EncodingProtobuf, otlptracehttp.EncodingJSON})
}

func (r *reader) compression() otlptracehttp.Compression {
	name, text := r.exporter("COMPRESSION")
	return choice(r, name, text, []string{"", "none", "gzip"}, []otlptracehttp.Compression{otlptracehttp.NoCompression, otlptracehttp.NoCompression, otlptracehttp.GzipCompression})
}

func (r *reader) timeout() time.Duration {
	name, text := r.exporter("TIMEOUT")
	if n := r.number(name, text); n > 0 {
		return time.Duration(n) * time.Millisecond
	}
	return defaultTimeout
}

// number returns a number above 0, or 0 if the setting is empty.
func (r *reader) number(name, text string) int {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n <= 0 {
		r.fault("%s is not a number above 0", name)
		return 0
	}
	return int(n)
}

// tls returns which authorities may sign the collector's certificate, and the client certificate.
func (r *reader) tls() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if name, file := r.exporter("CERTIFICATE"); file != "" {
		r.needsTLS(name)
		config.RootCAs = x509.NewCertPool()
		if text, err := os.ReadFile(file); err != nil || !config.RootCAs.AppendCertsFromPEM(text) {
			r.fault("%s names no readable file with certificates", name)
		}
	}
	name, certificate := r.exporter("CLIENT_CERTIFICATE")
	other, key := r.exporter("CLIENT_KEY")
	if certificate != "" || key != "" {
		r.needsTLS(name)
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			r.fault("%s and %s name no readable files with a certificate and its key", name, other)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

// needsTLS records a fault unless the endpoint is https: the exporter would not start.
func (r *reader) needsTLS(name string) {
	if _, endpoint := r.exporter("ENDPOINT"); !strings.HasPrefix(endpoint, "https:") {
		r.fault("%s needs an endpoint with https", name)
	}
}

func (r *reader) sampler() sdk.Sampler {
	const ratio = "traceidratio"
	name := r.get("OTEL_TRACES_SAMPLER")
	share := 1.0
	if strings.HasSuffix(name, ratio) {
		share = r.share(r.get("OTEL_TRACES_SAMPLER_ARG"))
	}
	of := sdk.TraceIDRatioBased(share)
	return choice(r, "OTEL_TRACES_SAMPLER", name,
		[]string{"", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio", "always_on", "always_off", ratio},
		[]sdk.Sampler{sdk.ParentBased(sdk.AlwaysSample()), sdk.ParentBased(sdk.AlwaysSample()), sdk.ParentBased(sdk.NeverSample()), sdk.ParentBased(of), sdk.AlwaysSample(), sdk.NeverSample(), of})
}

// share reads the share of the traces that is recorded.
func (r *reader) share(text string) float64 {
	if text == "" {
		return 1
	}
	share, err := strconv.ParseFloat(text, 64)
	if err != nil || !(share >= 0 && share <= 1) {
		r.fault("OTEL_TRACES_SAMPLER_ARG is not a number from 0 to 1")
	}
	return share
}

func (r *reader) resource() map[string]string {
	all, err := pairs(r.get("OTEL_RESOURCE_ATTRIBUTES"))
	if err != nil {
		r.fault("OTEL_RESOURCE_ATTRIBUTES: %w", err)
		return nil
	}
	if name := r.get("OTEL_SERVICE_NAME"); name != "" {
		all["service.name"] = name
	}
	return all
}

// batch returns how spans are queued and sent together, where the settings differ from the SDK's
// defaults.
func (r *reader) batch() []sdk.BatchSpanProcessorOption {
	milliseconds := func(option func(time.Duration) sdk.BatchSpanProcessorOption) func(int) sdk.BatchSpanProcessorOption {
		return func(n int) sdk.BatchSpanProcessorOption { return option(time.Duration(n) * time.Millisecond) }
	}
	var all []sdk.BatchSpanProcessorOption
	for _, s := range []struct {
		name   string
		option func(int) sdk.BatchSpanProcessorOption
	}{
		{"OTEL_BSP_SCHEDULE_DELAY", milliseconds(sdk.WithBatchTimeout)},
		{"OTEL_BSP_EXPORT_TIMEOUT", milliseconds(sdk.WithExportTimeout)},
		{"OTEL_BSP_MAX_QUEUE_SIZE", sdk.WithMaxQueueSize},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", sdk.WithMaxExportBatchSize},
	} {
		if n := r.number(s.name, r.get(s.name)); n > 0 {
			all = append(all, s.option(n))
		}
	}
	return all
}
