package main

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"wxplatform/internal/testenv"
	"wxplatform/wechat/wechatsim"
)

// metricsIn returns the metric names in PromQL expressions, except up, which Prometheus makes
// itself.
func metricsIn(text string) []string {
	return found(`\b((?:wxplatform|go|process)_[a-z_]+)\b`, text)
}

// exposed returns the names of all samples of a world in which everything happened once.
func exposed(t *testing.T) []string {
	t.Helper()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.sim.Fault(wechatsim.Fault{Path: closePath, Code: 40001})
	w.shut(kfAccount)
	return found(`(?m)^([a-z_]+)(?:\{| )`, w.scraped())
}

func TestEveryMetricOfAlertsAndDashboardExists(t *testing.T) {
	there := exposed(t)
	for _, file := range []string{"docs/alerts.yml", "docs/grafana.json"} {
		names := metricsIn(document(t, file))
		if len(names) < 10 {
			t.Errorf("%s: got %q, want it to look at more", file, names)
		}
		for _, name := range names {
			if !slices.Contains(there, name) {
				t.Errorf("%s asks for %s, which no platform exposes", file, name)
			}
		}
	}
}

// An alert on a label or value that does not exist never fires.
func TestEveryLabelOfTheAlertsExists(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	metrics := w.scraped()
	for _, want := range []string{
		`wxplatform_problems_total{slug="platform-misconfigured"}`, `wxplatform_problems_total{slug="token-rejected"}`,
		`wxplatform_token_left_seconds_bucket{kind="authorizer",le="300"}`, `wxplatform_pushes_total{kind="forged"}`, `wxplatform_pushes_total{kind="clock"}`,
		`wxplatform_connections_closed_total{reason="refused"}`,
	} {
		if !strings.Contains(metrics, want+" ") {
			t.Errorf("got no %s, which an alert looks at", want)
		}
		_, selector, _ := strings.Cut(want, "{")
		for _, label := range strings.Split(strings.Trim(selector, "}"), ",") {
			if !strings.Contains(document(t, "docs/alerts.yml"), label) && !strings.HasPrefix(label, "kind=\"authorizer") {
				t.Errorf("no alert looks at %s any more", label)
			}
		}
	}
}

func TestEveryAlertHasItsHeading(t *testing.T) {
	rules := document(t, "docs/alerts.yml")
	alerts := found(`(?m)^\s+- alert: (\w+)$`, rules)
	if len(alerts) < 12 {
		t.Errorf("got the alerts %q, want more", alerts)
	}
	for _, alert := range alerts {
		_, rule, _ := strings.Cut(rules, "alert: "+alert+"\n")
		rule, _, _ = strings.Cut(rule, "- alert:")
		if want := "runbook: docs/operate/alerts.md#" + strings.ToLower(alert) + "\n"; !strings.Contains(rule, want) || !strings.Contains(rule, "expr:") || !strings.Contains(rule, "severity:") {
			t.Errorf("%s: got %s, want %q, an expression and a severity", alert, rule, want)
		}
	}
	explains(t, "docs/operate/alerts.md", "\n## Alerts\n", alerts,
		"What it means.", "Who is hurt.", "What to do.", "How to see that it is over.")
	explains(t, "docs/zh/operate/alerts.md", "\n## 告警\n", alerts, "含义：", "影响：", "处理：", "恢复的标志：")
}

// explains checks that a section of a page has exactly these alerts as headings, and below each one
// these parts, in this order, each with a text of its own.
func explains(t *testing.T, path, heading string, alerts []string, parts ...string) {
	t.Helper()
	_, section, _ := strings.Cut(document(t, path), heading)
	section, _, _ = strings.Cut(section, "\n## ")
	if headings := found(`(?m)^### (\w+)$`, section); !slices.Equal(alerts, headings) {
		t.Errorf("got the alerts %q, and %s explains %q", alerts, path, headings)
	}
	for _, alert := range alerts {
		_, explained, _ := strings.Cut(section, "\n### "+alert+"\n")
		explained, _, _ = strings.Cut(explained, "\n### ")
		var got []string
		for _, part := range regexp.MustCompile(`(?m)^\*\*([^*]+)\*\* \S`).FindAllStringSubmatch(explained, -1) {
			got = append(got, part[1])
		}
		if !slices.Equal(got, parts) {
			t.Errorf("%s: %s: got the parts %q, want %q", path, alert, got, parts)
		}
	}
}

// Each alert fires in its Prometheus test, and none fires while all is well.
func TestEveryAlertFires(t *testing.T) {
	t.Parallel()
	alerts, tests := found(`(?m)^\s+- alert: (\w+)$`, document(t, "docs/alerts.yml")), document(t, "docs/alerts_test.yml")
	for _, alert := range alerts {
		if !strings.Contains(tests, "- {alertname: "+alert+", ") || !strings.Contains(tests, "- alertname: "+alert+"\n") {
			t.Errorf("docs/alerts_test.yml has no case in which %s fires, or none in which it does not", alert)
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil && testenv.Get("WITH_PROMTOOL") != "" {
		t.Fatal("promtool is missing; it comes with Prometheus")
	}
	if err != nil {
		t.Log("without promtool: the rules are not run; make test runs them")
		return
	}
	cmd := exec.Command(promtool, "test", "rules", "alerts_test.yml")
	cmd.Dir = "../../docs"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

func TestTheDashboardLoadsAsItIs(t *testing.T) {
	var dashboard struct {
		Title, UID string
		Panels     []struct {
			ID         int
			Type       string
			Title      string
			Datasource struct{ UID string }
			Targets    []struct {
				Expr       string
				Datasource struct{ UID string }
			}
		}
		Templating struct {
			List []struct{ Name, Type, Query any }
		}
	}
	if err := json.Unmarshal([]byte(document(t, "docs/grafana.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	if first := dashboard.Templating.List[0]; first.Name != "datasource" || first.Type != "datasource" || first.Query != "prometheus" {
		t.Errorf("got %+v as the first variable, want the data source to be chosen", first)
	}
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("got panel %d %q, want an id of its own, a title and something to show", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			if p.Datasource.UID != "${datasource}" || target.Datasource.UID != "${datasource}" || len(metricsIn(target.Expr)) == 0 {
				t.Errorf("%s: got %q of %q, want a metric from the chosen data source", p.Title, target.Expr, target.Datasource.UID)
			}
		}
	}
}
