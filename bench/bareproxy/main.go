// Command bareproxy is what the platform is compared with: httputil.ReverseProxy, which passes
// every request to one upstream.
package main

import (
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to serve")
	upstream := flag.String("upstream", "", "URL that every request goes to")
	flag.Parse()
	target, err := url.Parse(*upstream)
	if err != nil {
		log.Fatal("bareproxy: -upstream is no URL")
	}
	// Keep as many connections as are used; with the default of two it would dial for most requests.
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog:  log.New(io.Discard, "", 0), // requests that the load generator leaves behind at the end of a round
		Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, DisableCompression: true},
	}
	server := &http.Server{Addr: *listen, Handler: proxy, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal("bareproxy: ", server.ListenAndServe())
}
