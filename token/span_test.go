package token

import (
	"context"
	"errors"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"wxplatform/internal/trace"
)

// source asks for a token within a span, and returns what the span says of where it came from.
func source(t *testing.T, ask func(context.Context) error) (string, error) {
	t.Helper()
	ended := tracetest.NewInMemoryExporter()
	ctx, span := trace.New(sdk.NewTracerProvider(sdk.WithSyncer(ended))).Request(t.Context(), "/", trace.Parent{})
	err := ask(ctx)
	span.End(err != nil)
	for _, a := range ended.GetSpans()[0].Attributes {
		if a.Key == "wxplatform.token.source" {
			return a.Value.AsString(), err
		}
	}
	return "", err
}

func TestASpanSaysWhereItsTokenCameFrom(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, other, third, wx := p.replica(Authorizer), p.replica(Authorizer), p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		get := func(s *Store) func(context.Context) error {
			return func(ctx context.Context) error { _, err := s.Get(ctx, id, wx); return err }
		}
		replace := func(ctx context.Context) error { _, err := s.Replace(ctx, id, bad, wx); return err }
		wants := func(want string, ask func(context.Context) error) {
			t.Helper()
			if got, err := source(t, ask); got != want || err != nil {
				t.Errorf("got %q, %v, want %s", got, err, want)
			}
		}
		wants(trace.Process, get(s))
		wants(trace.SQL, get(other))
		wants(trace.WeChat, replace)
		wants(trace.Process, replace) // the version is known to be replaced
		p.sqlGoes()
		defer p.sqlReturns()
		wants(trace.Redis, get(third))
	})
}

func TestASpanOfACallerThatJoinedAnotherSaysSo(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		wx.stall()
		first := make(chan error)
		go func() { _, err := s.Replace(t.Context(), id, bad, wx); first <- err }()
		wx.waitFor(t, 1)
		got, err := source(t, func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			_, err := s.Replace(ctx, id, bad, wx)
			return err
		})
		if got != trace.Shared || !errors.Is(err, context.Canceled) {
			t.Errorf("got %q, %v, want %s and that it left", got, err, trace.Shared)
		}
		wx.goOn()
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}
