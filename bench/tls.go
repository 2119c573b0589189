package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// secure returns a listener that speaks TLS with a certificate made for this run. All programs,
// this one too, trust that certificate alone.
func (b *bench) secure(on net.Listener) (net.Listener, error) {
	certificate, err := makeCertificate()
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	err = errors.Join(os.WriteFile(b.authority(), text, 0o644), os.Setenv("SSL_CERT_FILE", b.authority()))
	return tls.NewListener(on, &tls.Config{Certificates: []tls.Certificate{certificate}}), err
}

// authority is the file with the certificate that the programs trust.
func (b *bench) authority() string { return filepath.Join(b.binaries, "authority.pem") }

// makeCertificate makes a self-signed certificate for this machine.
func makeCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}, err
}

// nginxTLS has nginx verify the upstream, as the Go programs do by themselves.
func (b *bench) nginxTLS() string {
	if !b.tls {
		return ""
	}
	return "proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_session_reuse on; proxy_ssl_server_name on; proxy_ssl_name localhost; proxy_ssl_verify on; proxy_ssl_trusted_certificate " + b.authority() + ";"
}
