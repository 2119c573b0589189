//go:build failpoints

package faults

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

var doubles = []time.Duration{0, 2 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond}

// doubled has a gateway in front of WeChat send each answer twice, after some time or in one
// segment. No merchant may be told another's answer, and none may get another's token.
func doubled(secure bool, afters ...time.Duration) func(*testing.T, *machine) string {
	return func(t *testing.T, m *machine) string {
		w := m.world(t, plan{times: brisk, wired: true, secure: secure, plain: true})
		ids := w.merchants(8)
		sessions := w.sessions(ids)
		if got := w.ownSessions(16, 5, ids, sessions); got.lost() > 0 {
			t.Errorf("before any was doubled: %s", got)
		}
		var said []string
		for _, after := range afters {
			for _, r := range w.replicas {
				r.wires.wechat.become(wire{doubles: true, after: after})
			}
			for _, id := range ids {
				if err := w.sim.Reject(id); err != nil {
					t.Fatal(err)
				}
			}
			got := w.ownSessions(16, 15, ids, sessions)
			if got.failed[anothers] > 0 {
				t.Errorf("doubled after %s: %s", after, got)
			}
			w.onlyRetryable(got)
			w.alarmed(func() { w.ownSessions(6, 1, ids, sessions) })
			said = append(said, fmt.Sprintf("after %s: %s", after, got))
			for _, r := range w.replicas { // which then keep connections again
				r.wires.wechat.become(wire{})
				r.end(9, second)
				r.start()
			}
		}
		heals := w.heals(ids)
		if got := w.ownSessions(16, 5, ids, sessions); got.failed[anothers] > 0 {
			t.Errorf("afterwards: %s", got)
		}
		w.settled()
		return strings.Join(said, "; ") + fmt.Sprintf("; served within %s", heals)
	}
}

// hangsUp has WeChat close each connection after its answer, without announcing it: no call fails.
func hangsUp(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	ids := w.merchants(4)
	w.crowd(12, ids...).all()
	var said []string
	for _, how := range []wechatsim.Wire{wechatsim.CloseAfter, wechatsim.ResetAfter} {
		w.sim.Fault(wechatsim.Fault{Path: "/customservice/*", Wire: how, Count: wechatsim.Always})
		readers, closers := w.load(4, 0, ids...), w.closers(4, 0, ids)
		time.Sleep(3 * second)
		readers.stop()
		closers.stop()
		w.sim.ClearFaults()
		if readers.lost() > 0 || closers.lost() > 0 {
			t.Errorf("%s: readers: %s; closers: %s", how, &readers.tally, &closers.tally)
		}
		said = append(said, fmt.Sprintf("%s: readers: %s; closers: %s", how, &readers.tally, &closers.tally))
	}
	w.settled()
	return strings.Join(said, "; ")
}

// anothers is what sendUncounted returns for a good answer that is not the expected one.
const anothers = "200 "

// sessions opens one session for each merchant, each with its own customer and agent.
func (w *world) sessions(ids []wechat.AppID) (customers []wechat.OpenID) {
	w.t.Helper()
	for i, id := range ids {
		customers = append(customers, wechat.OpenID(fmt.Sprintf("oSESSION%020d", i)))
		if err := w.sim.OpenSession(id, wechatsim.SyntheticKF(i), customers[i]); err != nil {
			w.t.Fatal(err)
		}
	}
	return customers
}

// ownSessions keeps callers asking for the merchants' sessions.
func (w *world) ownSessions(callers, each int, ids []wechat.AppID, customers []wechat.OpenID) *tally {
	l := &load{}
	for n := range callers {
		l.Go(func() {
			for i := range each {
				at := (n + i) % len(ids)
				began := time.Now()
				path := "/customservice/kfsession/getsession?openid=" + string(customers[at])
				l.note(w.send(w.replicas[n%len(w.replicas)], http.MethodGet, ids[at], path, nil, fmt.Sprintf("%q", wechatsim.SyntheticKF(at))), time.Since(began))
			}
		})
	}
	l.Wait()
	return &l.tally
}

// alarmed checks that every replica reports what it found. One that has not yet reused a connection
// finds it with more calls.
func (w *world) alarmed(calls func()) {
	w.t.Helper()
	for _, r := range w.replicas {
		said, err := r.ready()
		for try := 0; err == nil && !strings.Contains(said, "bytes that no call asked for") && try < 50; try++ {
			calls()
			said, err = r.ready()
		}
		if err != nil || !strings.Contains(said, "bytes that no call asked for") {
			w.t.Errorf("replica %d says %s, %v, want the surplus bytes", r.number, said, err)
		}
	}
}

// gateway terminates TLS in front of WeChat. The replicas trust its certificate.
func (w *world) gateway() *tls.Config {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.dir, w.name+".pem")
	out, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	defer out.Close()
	if err := pem.Encode(out, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		w.t.Fatal(err)
	}
	w.env = append(w.env, "SSL_CERT_FILE="+file)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
