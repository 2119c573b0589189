package otlp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// watched logs when an outage of the collector begins and when it ends. It never fails: the SDK
// would print the error, which contains the collector's URL and answer.
type watched struct {
	sdk.SpanExporter
	log     *slog.Logger
	answers *answers
	ctx     context.Context // cancels the export in flight

	out  bool // the last batch was not sent
	lost int  // spans since the outage began
}

// ExportSpans sends spans. The SDK calls it for one batch at a time.
func (w *watched) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.ctx, cancel)()
	w.note(len(spans), w.SpanExporter.ExportSpans(ctx, spans) != nil)
	return nil
}

func (w *watched) note(spans int, failed bool) {
	switch {
	case failed && !w.out:
		w.log.Warn("traces are lost: the collector does not take them", "error", w.answers.why)
	case !failed && w.out:
		w.log.Info("traces are sent again", "spans_lost", w.lost)
		w.lost = 0
	}
	if w.out = failed; failed {
		w.lost += spans
	}
}

// answers is the collector's side of the exporter: it remembers what the last answer says about an
// outage.
type answers struct {
	to  *http.Transport
	why string
}

// RoundTrip sends a request.
func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := a.to.RoundTrip(r)
	if err != nil {
		a.why = unanswered(err)
		return response, err
	}
	a.why = fmt.Sprintf("answered with status %d", response.StatusCode)
	return response, nil
}

// unanswered says why there is no answer. Only errors whose texts have addresses and names of hosts
// are shown.
func unanswered(err error) string {
	var network *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &certificate):
		return certificate.Error()
	case errors.As(err, &network):
		return network.Error()
	}
	return fmt.Sprintf("no answer (%T)", err)
}

// client returns a client that follows no redirect: it would take the header fields, which are
// secrets, elsewhere.
func (s Settings) client(to *answers) *http.Client {
	return &http.Client{Transport: to, Timeout: s.timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// transport returns a transport of the exporter's own, which uses the proxies of the environment.
func (s Settings) transport() *http.Transport {
	return &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: s.tls, ForceAttemptHTTP2: true, MaxIdleConns: 2, IdleConnTimeout: idleTime, TLSHandshakeTimeout: s.timeout}
}
