package wechat

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// certificate returns one for 127.0.0.1, with a key that is cheap to use.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(made)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// BenchmarkWarmClose makes closes on warm connections, one after the other, in a context that can
// be cancelled and with an observer, as the platform does. Its host allocates nothing, so the
// allocations reported are the client's.
func BenchmarkWarmClose(b *testing.B) {
	for _, scheme := range []string{"http", "https"} {
		b.Run(scheme, func(b *testing.B) { repeated(b, scheme, call()) })
	}
}

// BenchmarkOwnConnection makes calls that have a connection of their own. Both ends of it are
// measured.
func BenchmarkOwnConnection(b *testing.B) {
	for _, scheme := range []string{"http", "https"} {
		b.Run(scheme, func(b *testing.B) { repeated(b, scheme, own()) })
	}
}

func repeated(b *testing.B, scheme string, call Call) {
	client := warmed(b, scheme)
	for range 3000 {
		if _, err := client.Do(b.Context(), call); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Do(b.Context(), call); err != nil {
			b.Fatal(err)
		}
	}
}

// A warm call allocates the answer's body, the text of its header and the list of its fields,
// and little else.
func TestAWarmCallAllocatesLittle(t *testing.T) {
	client, c := warmed(t, "http"), call()
	one := func() {
		if _, err := client.Do(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		rested(client)
	}
	one()
	if got := testing.AllocsPerRun(200, one); got > 5 {
		t.Errorf("got %v allocations per call, want at most 5", got)
	}
}

// warmed returns a client for a host that allocates nothing.
func warmed(b testing.TB, scheme string) *Client {
	certificate, pool := certificate(b)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var serving errgroup.Group
	serving.Go(func() error {
		for {
			c, err := listener.Accept()
			if err != nil {
				return nil // the benchmark is over
			}
			if scheme == "https" {
				c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}})
			}
			serving.Go(func() error { return answerAll(c) })
		}
	})
	called := func(string, Code, time.Duration, error) {}
	client := NewClient(scheme+"://"+listener.Addr().String(), Observer{Called: called})
	if scheme == "https" {
		client.host.secure.RootCAs = pool
	}
	b.Cleanup(func() {
		client.CloseIdle()
		_ = listener.Close()
		_ = serving.Wait()
	})
	return client
}

// wechatAnswer has the fields that WeChat's answers have.
const wechatAnswer = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Type: application/json; encoding=utf-8\r\n" +
	"Date: Sat, 13 Jun 2026 08:00:00 GMT\r\nContent-Length: 27\r\n\r\n" + plainOK

func answerAll(c net.Conn) error {
	defer c.Close()
	request := make([]byte, 4096)
	answer := []byte(wechatAnswer)
	for {
		if _, err := c.Read(request); err != nil {
			return nil
		}
		if _, err := c.Write(answer); err != nil {
			return nil
		}
	}
}
