package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

type versionCmd struct{ format }

// Run prints which build this is.
func (c versionCmd) Run(s shell) error {
	v := currentVersion()
	if c.JSON {
		return printJSON(s.out, v)
	}
	_, err := fmt.Fprintln(s.out, v)
	return err
}

// version identifies a build.
type version struct {
	Module   string `json:"version"`  // the module's, "(devel)" if the build knows none
	Revision string `json:"revision"` // of Git; "" if the build did not record it, as go run does
	Time     string `json:"time"`     // of that commit, RFC 3339
	Modified bool   `json:"modified"` // the source had changes that were not committed
	Go       string `json:"go"`
}

// currentVersion reads what the go command stored in this binary.
func currentVersion() version {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version{Module: "(devel)"}
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) version {
	v := version{Module: info.Main.Version, Go: info.GoVersion}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String is one line: what is known of version, revision, time and Go.
func (v version) String() string {
	parts := []string{"platform", v.Module}
	if v.Revision != "" {
		parts = append(parts, v.Revision)
	}
	if v.Time != "" {
		parts = append(parts, v.Time)
	}
	if v.Modified {
		parts = append(parts, "modified")
	}
	return strings.Join(append(parts, v.Go), " ")
}

// info is a metric that is always 1 and whose labels say which build this is.
func (v version) info() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "wxplatform_build_info", Help: "Always 1. The labels say which build this is, as platform version does.",
		ConstLabels: prometheus.Labels{"version": v.Module, "revision": v.Revision, "go_version": v.Go},
	}, func() float64 { return 1 })
}
