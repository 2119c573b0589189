package check

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"wxplatform/internal/testenv"
)

const host = "wx.example.com"

// upstream is in the platform's place behind a proxy. It reads a body as it arrives, and its answer
// shows the request that it got. It cuts /broken off.
func upstream(began chan<- int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			panic(http.ErrAbortHandler)
		}
		if r.Method == http.MethodPost {
			first := make([]byte, 1)
			_, _ = io.ReadFull(r.Body, first)
			began <- int(r.ContentLength)
		}
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "%s\n%s\n%s\n%s\n%d %v\n%s\n", r.Method, r.RequestURI, r.Host, strings.Join(r.Header["X-Forwarded-For"], "|"), n, err, r.RemoteAddr)
	})
}

// proxy is a proxy that runs, as it is shipped but for its addresses.
type proxy struct {
	https  string // its address
	logs   string // the folder of its logs
	client *http.Client
	began  chan int // Content-Length of each body whose first byte reached the platform's place
	stop   func()   // stops the proxy, so that its logs are whole
}

// free returns an address on which nothing listens.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// certificate writes a certificate of host and its key, and returns their paths.
func certificate(t *testing.T, dir string) (crt, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	crt = write(t, filepath.Join(dir, "fullchain.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	key = write(t, filepath.Join(dir, "privkey.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	return crt, key
}

// started starts a proxy's program in front of a server, and waits until it answers.
func started(t *testing.T, p *proxy, cmd *exec.Cmd) *proxy {
	t.Helper()
	var said bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = append(testenv.Environ(), cmd.Env...), &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	p.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		ended <- nil
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	p.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{ServerName: host, InsecureSkipVerify: true}, //nolint:gosec // the certificate is the test's own
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, p.https)
		},
	}}
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if response, err := p.client.Get("https://" + host + "/ready"); err == nil {
			_ = response.Body.Close()
			return p
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("got no answer from the proxy")
	return nil
}

// nginx runs nginx with the example.
func nginx(t *testing.T) *proxy {
	t.Helper()
	dir, began := t.TempDir(), make(chan int, 1)
	server := httptest.NewServer(upstream(began))
	t.Cleanup(server.Close)
	p := &proxy{https: free(t), logs: filepath.Join(dir, "log"), began: began}
	if err := os.Mkdir(p.logs, 0o755); err != nil {
		t.Fatal(err)
	}
	config := nginxConfig(t, dir, p.https, server.Listener.Addr().String())
	return started(t, p, nginxCommand(t, dir, config, p.logs))
}

func nginxCommand(t *testing.T, dir, config, logs string) *exec.Cmd {
	t.Helper()
	return exec.Command(program(t, "nginx", "nginx-light"), "-p", dir, "-c", config, "-e", filepath.Join(logs, "start.log"), "-g", "daemon off; master_process off;")
}

// nginxConfig writes a whole configuration around the example, with addresses of 127.0.0.1.
func nginxConfig(t *testing.T, dir, https, platform string) string {
	t.Helper()
	crt, key := certificate(t, dir)
	example := replaced(t, read(t, "deploy/nginx/wxplatform.conf"),
		"127.0.0.1:8080", platform, "listen 443 ssl", "listen "+https+" ssl", "\tlisten [::]:443 ssl;\n", "", "listen 80;", "listen "+free(t)+";", "\tlisten [::]:80;\n", "",
		"/etc/ssl/wxplatform/fullchain.pem", crt, "/etc/ssl/wxplatform/privkey.pem", key, "/var/log/nginx/", filepath.Join(dir, "log")+"/")
	paths := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		paths += fmt.Sprintf("\t%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	return write(t, filepath.Join(dir, "nginx.conf"), "pid "+filepath.Join(dir, "pid")+";\nevents {}\nhttp {\n\taccess_log off;\n"+paths+"\tinclude "+write(t, filepath.Join(dir, "wxplatform.conf"), example)+";\n}\n")
}

// caddy runs Caddy with the example.
func caddy(t *testing.T) *proxy {
	t.Helper()
	dir, began := t.TempDir(), make(chan int, 1)
	server := httptest.NewServer(upstream(began))
	t.Cleanup(server.Close)
	p := &proxy{https: free(t), logs: filepath.Join(dir, "log"), began: began}
	config := caddyConfig(t, dir, p, server.Listener.Addr().String())
	cmd := exec.Command(program(t, "caddy", "caddy"), "run", "--config", config, "--adapter", "caddyfile")
	cmd.Env = caddyHome(dir)
	return started(t, p, cmd)
}

func caddyHome(dir string) []string {
	return []string{"XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "HOME=" + dir}
}

// caddyConfig writes the example with addresses of 127.0.0.1, a certificate and a file for its log.
func caddyConfig(t *testing.T, dir string, p *proxy, platform string) string {
	t.Helper()
	crt, key := certificate(t, dir)
	_, port, _ := net.SplitHostPort(p.https)
	return write(t, filepath.Join(dir, "Caddyfile"), replaced(t, read(t, "deploy/caddy/Caddyfile"),
		"127.0.0.1:8080", platform, "\n"+host+" {\n", "\nhttps://"+host+":"+port+" {\n\tbind 127.0.0.1\n\ttls "+crt+" "+key+"\n",
		"\tlog default {\n", "\tadmin off\n\tauto_https disable_redirects\n\tlog default {\n\t\toutput file "+filepath.Join(p.logs, "caddy.log")+"\n"))
}

func TestNginxUnderstandsTheExample(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "log"), 0o755); err != nil {
		t.Fatal(err)
	}
	config := nginxConfig(t, dir, free(t), "127.0.0.1:8080")
	out, said, err := run(".", nil, program(t, "nginx", "nginx-light"), "-t", "-p", dir, "-c", config, "-e", filepath.Join(dir, "start.log"))
	if err != nil || strings.Contains(out+said, "[warn]") {
		t.Errorf("%v\n%s%s", err, out, said)
	}
}

// withReplicas makes of an example's configuration one for several replicas, as its comment says.
func withReplicas(t *testing.T, config string, replicas ...*httptest.Server) {
	t.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^\tserver 127\.0\.0\.1:\d+( .*)?;\n`).FindStringSubmatch(string(text))
	zone := regexp.MustCompile(`a line "(zone .*;)"`).FindStringSubmatch(string(text))
	if line == nil || zone == nil {
		t.Fatalf("got\n%s\nwant a server and a zone", text)
	}
	lines := "\t" + zone[1] + "\n"
	for _, replica := range replicas {
		lines += "\tserver " + replica.Listener.Addr().String() + line[1] + ";\n"
	}
	write(t, config, strings.Replace(string(text), line[0], lines, 1))
}

// restart stops a replica, sends requests until the proxy has met that, and starts it again.
// A replica refuses connections from 2 s after SIGTERM on.
func restart(t *testing.T, p *proxy, replica *httptest.Server) *httptest.Server {
	t.Helper()
	time.Sleep(2 * time.Second)
	address := replica.Listener.Addr().String()
	replica.Close()
	for range 12 {
		p.ask(t, newRequest(t, "POST", "/", nil))
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	again := httptest.NewUnstartedServer(upstream(p.began))
	_ = again.Listener.Close()
	again.Listener = listener
	again.Start()
	t.Cleanup(again.Close)
	return again
}

// Restarting all replicas one after the other loses no request, however fast they start.
func TestNginxLosesNothingInARollingRestart(t *testing.T) {
	dir := t.TempDir()
	p := &proxy{https: free(t), logs: filepath.Join(dir, "log"), began: make(chan int, 100)}
	if err := os.Mkdir(p.logs, 0o755); err != nil {
		t.Fatal(err)
	}
	var replicas []*httptest.Server
	for range 3 {
		replicas = append(replicas, httptest.NewServer(upstream(p.began)))
		t.Cleanup(replicas[len(replicas)-1].Close)
	}
	config := nginxConfig(t, dir, p.https, replicas[0].Listener.Addr().String())
	withReplicas(t, filepath.Join(dir, "wxplatform.conf"), replicas...)
	started(t, p, nginxCommand(t, dir, config, p.logs))
	for i := range 2 * len(replicas) {
		replicas[i%len(replicas)] = restart(t, p, replicas[i%len(replicas)])
	}
}

func TestCaddyUnderstandsTheExample(t *testing.T) {
	dir := t.TempDir()
	tool := program(t, "caddy", "caddy")
	for _, path := range []string{filepath.Join(root, "deploy", "caddy", "Caddyfile"), caddyConfig(t, dir, &proxy{https: free(t), logs: dir}, "127.0.0.1:8080")} {
		if out, said, err := run(".", caddyHome(dir), tool, "validate", "--adapter", "caddyfile", "--config", path); err != nil {
			t.Errorf("%v\n%s%s", err, out, said)
		}
	}
	text := read(t, "deploy/caddy/Caddyfile")
	if got := output(t, ".", tool, "fmt", filepath.Join(root, "deploy", "caddy", "Caddyfile")); got != text {
		t.Errorf("caddy fmt would change the example:\n%s", got)
	}
}

// proxies runs a test with each of the examples.
func proxies(t *testing.T, test func(*testing.T, *proxy)) {
	t.Run("nginx", func(t *testing.T) { test(t, nginx(t)) })
	t.Run("caddy", func(t *testing.T) { test(t, caddy(t)) })
}

// ask sends a request through the proxy and returns the lines that the upstream answers.
func (p *proxy) ask(t *testing.T, request *http.Request) []string {
	t.Helper()
	response, err := p.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("got %d %s, %v", response.StatusCode, body, err)
	}
	return strings.Split(string(body), "\n")
}

func newRequest(t *testing.T, method, path string, body io.Reader) *http.Request {
	t.Helper()
	request, err := http.NewRequest(method, "https://"+host+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// The platform refuses paths that two readers could understand differently, so it must get what was
// sent.
func TestProxiesPassRequestsAsTheyAre(t *testing.T) {
	proxies(t, func(t *testing.T, p *proxy) {
		const path = "//cgi-bin/a%2Fb/../menu/get?access_token=a%20b&x="
		got := p.ask(t, newRequest(t, "GET", path, nil))
		if got[1] != path || got[2] != host {
			t.Errorf("got %q of %q, want %q of %s", got[1], got[2], path, host)
		}
	})
}

// With the proxy's address in PLATFORM_TRUSTED_PROXIES, the platform takes the last address.
func TestProxiesAppendTheCallersAddress(t *testing.T) {
	proxies(t, func(t *testing.T, p *proxy) {
		request := newRequest(t, "GET", "/", nil)
		request.Header.Set("X-Forwarded-For", "203.0.113.9")
		all := strings.Split(p.ask(t, request)[3], ",")
		if last := strings.TrimSpace(all[len(all)-1]); last != "127.0.0.1" {
			t.Errorf("got %q, want the caller's address at the end", all)
		}
	})
}

func TestProxiesKeepConnectionsToThePlatform(t *testing.T) {
	proxies(t, func(t *testing.T, p *proxy) {
		first, second := p.ask(t, newRequest(t, "GET", "/", nil))[5], p.ask(t, newRequest(t, "GET", "/", nil))[5]
		if first != second {
			t.Errorf("got connections from %s and %s, want one", first, second)
		}
	})
}

// The first byte of an upload reaches the platform while the rest has not been sent.
func TestProxiesStreamUploads(t *testing.T) {
	proxies(t, func(t *testing.T, p *proxy) {
		const size = 99 << 20
		from, to := io.Pipe()
		go func() {
			_, err := to.Write(make([]byte, 64<<10))
			select {
			case length := <-p.began:
				if length != size {
					err = errors.Join(err, fmt.Errorf("got Content-Length %d", length))
				}
			case <-time.After(20 * time.Second):
				err = errors.Join(err, errors.New("nothing arrived while the body was being sent"))
			}
			if err == nil {
				_, err = io.CopyN(to, zeros{}, size-64<<10)
			}
			_ = to.CloseWithError(err)
		}()
		request := newRequest(t, "POST", "/cgi-bin/media/upload", from)
		request.ContentLength = size
		if got, want := p.ask(t, request)[4], fmt.Sprint(size-1, " <nil>"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

type zeros struct{}

func (zeros) Read(into []byte) (int, error) { return len(into), nil }

// What the queries and the links hold is in no log, not even after a failure.
func TestProxiesLogNoSecret(t *testing.T) {
	proxies(t, func(t *testing.T, p *proxy) {
		p.ask(t, newRequest(t, "GET", "/cgi-bin/token?secret=canary1", nil))
		p.ask(t, newRequest(t, "GET", "/authorize/canary2?code=canary3", nil))
		referred := newRequest(t, "GET", "/v1/authorizers", nil)
		referred.Header.Set("Referer", "https://"+host+"/authorize/canary4")
		referred.Header.Set("Authorization", "Bearer canary5")
		p.ask(t, referred)
		if response, err := p.client.Do(newRequest(t, "GET", "/broken?secret=canary6", nil)); err != nil || response.StatusCode != http.StatusBadGateway {
			t.Errorf("got %v, %v, want 502", response, err)
		}
		p.stop()
		said := logs(t, p.logs)
		if !strings.Contains(said, "/cgi-bin/token") || !strings.Contains(said, "/v1/authorizers") {
			t.Errorf("got\n%s\nwant the paths of requests", said)
		}
		if strings.Contains(said, "canary") {
			t.Errorf("got\n%s\nwant no secret", said)
		}
	})
}

// logs returns the text of all files in a folder.
func logs(t *testing.T, folder string) string {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var all string
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(folder, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all += string(text)
	}
	return all
}
