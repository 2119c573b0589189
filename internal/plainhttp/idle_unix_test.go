//go:build unix

package plainhttp

import (
	"io"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/metrics"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inUse returns the bytes of the heap and of goroutines' stacks that are in use.
func inUse() int64 {
	runtime.GC()
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() + samples[1].Value.Uint64())
}

// caller is the other end of a connection. It takes no memory of this process's heap.
type caller int

func call(t *testing.T, address string) caller {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	at := netip.MustParseAddrPort(address)
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	return caller(fd)
}

func (c caller) ask(t *testing.T, p []byte) {
	t.Helper()
	if _, err := syscall.Write(int(c), []byte(closing)); err != nil {
		t.Fatal(err)
	}
	if n, err := syscall.Read(int(c), p); err != nil || !strings.HasPrefix(string(p[:n]), "HTTP/1.1 200 ") {
		t.Fatalf("got %q, %v, want an answer", p[:n], err)
	}
}

// deep answers with a stack as deep as that of a real call.
func deep(w http.ResponseWriter, n int) byte {
	var frame [1 << 10]byte
	if n == 0 {
		_, _ = io.WriteString(w, strings.Repeat("x", 1000))
		return frame[0]
	}
	return deep(w, n-1) + frame[n]
}

func TestAnIdleConnectionTakesLittleMemory(t *testing.T) {
	const (
		conns = 500
		most  = 6600 // bytes for each: 3.9 KiB, or 5.8 with the race detector; a buffer of 4 KiB or a stack of 32 KiB would be above
	)
	address, s := started(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { deep(w, 16) }), ours)
	answer := make([]byte, 4<<10)
	call(t, address).ask(t, answer)
	before := inUse()
	for range conns {
		call(t, address).ask(t, answer)
	}
	var each int64
	for began := time.Now(); time.Since(began) < patience; time.Sleep(100 * time.Millisecond) {
		if each = (inUse() - before) / conns; each <= most {
			break
		}
	}
	if open := s.(*Server).Connections().Open; open != conns+1 {
		t.Errorf("got %d connections, want all of them open", open)
	}
	t.Logf("%d bytes for each idle connection", each)
	if each > most {
		t.Errorf("got %d bytes for each idle connection, want at most %d", each, most)
	}
}
