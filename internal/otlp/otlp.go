// Package otlp sends spans to an OpenTelemetry collector, by OTLP over HTTP, as OpenTelemetry's
// standard settings say.
//
// A collector that is slow or unreachable costs spans, and nothing else: a request hands its spans
// over to a queue of limited length and waits for nothing. The log tells when spans begin to get
// lost and when they are sent again, without the collector's URL and without what it answered,
// because both may contain secrets.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"wxplatform/internal/trace"
)

// FlushTime bounds how long Close waits for the collector.
const FlushTime = 2 * time.Second

// Exporter sends spans. It is safe for concurrent use. A nil Exporter sends none.
type Exporter struct {
	provider  *sdk.TracerProvider
	transport *http.Transport
	giveUp    context.CancelFunc // cancels the export in flight
}

// Open returns an Exporter whose spans name version as the program's. It does not wait for the
// collector. The caller must call Close. log gets a line when an outage of the collector begins and
// when it ends.
func Open(s Settings, version string, log *slog.Logger) (*Exporter, error) {
	about, err := resource.New(context.Background(), resource.WithTelemetrySDK(), resource.WithAttributes(s.about(version)...))
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	ctx, giveUp := context.WithCancel(context.Background())
	e := &Exporter{transport: s.transport(), giveUp: giveUp}
	answers := &answers{to: e.transport}
	sender, err := otlptracehttp.New(ctx, s.options(answers)...)
	if err != nil {
		giveUp()
		return nil, errors.New("traces: the exporter does not take its settings")
	}
	e.provider = sdk.NewTracerProvider(sdk.WithResource(about), sdk.WithSampler(s.sampler),
		sdk.WithBatcher(&watched{SpanExporter: sender, log: log, answers: answers, ctx: ctx}, s.batch...))
	return e, nil
}

// Tracer returns a Tracer whose spans the Exporter sends.
func (e *Exporter) Tracer() trace.Tracer {
	if e == nil {
		return trace.Tracer{}
	}
	return trace.New(e.provider)
}

// Close sends the spans that have ended. It gives up after FlushTime.
func (e *Exporter) Close() error {
	if e == nil {
		return nil
	}
	defer e.giveUp()
	defer time.AfterFunc(FlushTime, e.giveUp).Stop()
	err := e.provider.Shutdown(context.Background())
	e.transport.CloseIdleConnections()
	return err
}
