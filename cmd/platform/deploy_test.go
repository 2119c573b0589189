package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// deployments are the files in deploy/ that an operator installs, by their path from the root of
// the module. deploy/check tests them with the tools that read them.
func deployments(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(filepath.Join("..", "..", "deploy"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) == ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		all[filepath.ToSlash(strings.TrimPrefix(path, filepath.Join("..", "..")+string(filepath.Separator)))] = string(text)
		return err
	})
	if err != nil || len(all) < 20 {
		t.Fatalf("got %d files, %v, want all of deploy/", len(all), err)
	}
	return all
}

func TestDeploymentsNameSettingsThatExist(t *testing.T) {
	for path, text := range deployments(t) {
		for _, name := range found(`\b(PLATFORM_[A-Z][A-Z_]*[A-Z])\b`, text) {
			if name = strings.TrimSuffix(name, "_FILE"); !slices.ContainsFunc(settings, func(s setting) bool { return s.name == name }) {
				t.Errorf("%s names %s, which is no setting", path, name)
			}
		}
	}
}

// seconds are the numbers of seconds that pattern matches in a deployment; there must be one at
// least.
func seconds(t *testing.T, path, pattern string) []time.Duration {
	t.Helper()
	var all []time.Duration
	for _, text := range found(pattern, document(t, path)) {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, time.Duration(n)*time.Second)
	}
	if len(all) == 0 {
		t.Fatalf("%s: got nothing like %s", path, pattern)
	}
	return all
}

const (
	chartOfPods = "deploy/helm/wxplatform/templates/deployment.yaml"
	manifest    = "deploy/kubernetes/base/deployment.yaml"
)

// A replica that is stopped has the time to finish what is in flight, and some more for its
// keepers.
func TestDeploymentsLetAReplicaFinish(t *testing.T) {
	const spare = 5 * time.Second
	need := drainTime + shutdownTimeout + spare
	for _, path := range []string{chartOfPods, manifest} {
		before, grace := seconds(t, path, `preStop:\s+sleep:\s+seconds: (\d+)`)[0], seconds(t, path, `terminationGracePeriodSeconds: (\d+)`)[0]
		if grace < before+need {
			t.Errorf("%s: got %v to stop, want %v", path, grace, before+need)
		}
	}
	if grace := seconds(t, "deploy/systemd/wxplatform.service", `TimeoutStopSec=(\d+)`)[0]; grace < need {
		t.Errorf("got %v to stop, want %v", grace, need)
	}
}

// /readyz waits for a database or a Redis that hangs. A probe that does not wait would take every
// replica out of service at once.
func TestProbesWaitForReadyz(t *testing.T) {
	for _, path := range []string{chartOfPods, manifest} {
		for _, patience := range seconds(t, path, `timeoutSeconds: (\d+)`) {
			if patience < 2*probeTimeout {
				t.Errorf("%s: got a probe that waits %v, want %v", path, patience, 2*probeTimeout)
			}
		}
	}
}

// The unit's limit of open files is enough for all connections of the public listener.
func TestTheUnitAllowsAllConnections(t *testing.T) {
	files := found(`LimitNOFILE=(\d+)`, document(t, "deploy/systemd/wxplatform.service"))
	if n, err := strconv.ParseUint(files[0], 10, 64); err != nil || publicConnections(n) != mostConnections {
		t.Errorf("got %d connections with %s files, want %d", publicConnections(n), files[0], mostConnections)
	}
}

// A proxy that kept a connection for longer than the platform would send requests on connections
// that are just being closed.
func TestProxiesCloseIdleConnectionsFirst(t *testing.T) {
	idle := (&platform{}).server(nil).IdleTimeout
	for path, pattern := range map[string]string{"deploy/nginx/wxplatform.conf": `keepalive_timeout (\d+)s`, "deploy/caddy/Caddyfile": `keepalive (\d+)s`} {
		for _, kept := range seconds(t, path, pattern) {
			if kept > idle-30*time.Second {
				t.Errorf("%s: got connections kept for %v, want less than the platform's %v", path, kept, idle)
			}
		}
	}
}

// The manifests have a copy of the alerts, because kustomize reads no file beside them. The chart
// reads docs/alerts.yml itself.
func TestTheManifestsHaveTheAlerts(t *testing.T) {
	_, rules, _ := strings.Cut(document(t, "deploy/kubernetes/monitoring/prometheusrule.yaml"), "\nspec:\n")
	var want strings.Builder
	for line := range strings.Lines(document(t, "docs/alerts.yml")) {
		if line != "\n" {
			want.WriteString("  ")
		}
		want.WriteString(line)
	}
	if rules != want.String() {
		t.Error("the alerts in deploy/kubernetes are not those of docs/alerts.yml: run make alerts")
	}
	linked, err := os.Readlink(filepath.Join("..", "..", "deploy", "helm", "wxplatform", "files", "alerts.yml"))
	if err != nil || linked != "../../../../docs/alerts.yml" {
		t.Errorf("got %q, %v, want the chart to read docs/alerts.yml", linked, err)
	}
}
