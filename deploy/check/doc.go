// Package check tests what deploy/ ships: the chart and the manifests against Kubernetes' own
// types, the unit with systemd's tools, and the examples of nginx and Caddy with those programs. It
// is a module of its own, so that the platform does not depend on any of it. make deploy runs it.
package check
