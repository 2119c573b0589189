package plainhttp

import (
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestADeadlineThatIsOverIsNotKept(t *testing.T) {
	for _, patience := range []time.Duration{time.Millisecond, mostEarly / 2, mostEarly, 2 * mostEarly, time.Minute} {
		if _, moves := next(time.Now().Add(-time.Microsecond), patience); !moves {
			t.Errorf("got one kept for a wait of %v", patience)
		}
	}
}

func TestAConnectionGoesOnAfterItSettled(t *testing.T) {
	t.Parallel()
	c := dial(t, serving(t, &witness{}, ours))
	for _, request := range []string{closing, closing, strings.Replace(closing, "POST", "PUT", 1)} {
		say(t, c, request)
		if status, _ := hear(t, c); status != 200 {
			t.Errorf("got %d", status)
		}
		time.Sleep(settleTime + 100*time.Millisecond)
	}
}

func TestASettledConnectionIsCutOffAfterItsIdleTimeout(t *testing.T) {
	t.Parallel()
	const timeout = settleTime + 500*time.Millisecond
	address := serving(t, &witness{}, func(s *http.Server) server { s.IdleTimeout = timeout; return New(s, all, 0) })
	if got := ends(t, address, closing); got < timeout {
		t.Errorf("got it cut off after %v, want not before %v", got, timeout)
	}
}

func TestShutdownClosesSettledConnections(t *testing.T) {
	t.Parallel()
	address, s := started(t, &witness{}, ours)
	c := dial(t, address)
	say(t, c, closing)
	hear(t, c)
	time.Sleep(settleTime + 100*time.Millisecond)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	wantEnd(t, c)
}

// forced is how often a garbage collection was forced in this process.
func forced() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumForcedGC
}

func TestMemoryIsGivenBackOnceManyConnectionsHaveSettled(t *testing.T) {
	s, began := &Server{}, time.Now()
	for _, step := range []struct {
		settled int64
		after   time.Duration
		tidies  bool
	}{
		{tidyAfter - 1, 0, false},
		{tidyAfter, 0, true},
		{tidyAfter, tidyEvery - 1, false},
		{tidyAfter, tidyEvery, true},
	} {
		s.settled.Store(step.settled)
		before := forced()
		s.tidy(began.Add(step.after))
		if tidied := s.settled.Load() == 0; tidied != step.tidies {
			t.Errorf("%d settled, after %v: got memory given back %v, want %v", step.settled, step.after, tidied, step.tidies)
		}
		if step.tidies && forced() == before {
			t.Error("got no memory given back to the system")
		}
	}
}

func BenchmarkClose(b *testing.B) {
	address := serving(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }), ours)
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	p := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.Write([]byte(closing))
		if _, err := c.Read(p); err != nil {
			b.Fatal(err)
		}
	}
}
