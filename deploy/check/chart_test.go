package check

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

func TestHelmFindsNothingToSay(t *testing.T) {
	for _, values := range [][]string{{}, {"-f", "testdata/all.yaml"}} {
		out, said, err := helm(t, append([]string{"lint", "--strict", chart, "-f", "testdata/values.yaml"}, values...)...)
		if err != nil || strings.Contains(out+said, "WARNING") {
			t.Errorf("%v\n%s%s", err, out, said)
		}
	}
}

// The schema refuses what would fail later, or put a secret where others read it.
func TestWrongValuesAreRefused(t *testing.T) {
	for _, value := range []string{
		"image=", "image=registry.example.com/wxplatform", "publicURL=", "publicURL=wx.example.com", "publicURL=https://wx.example.com/base",
		"componentAppID=", "componentAppID=appid", "existingSecret=", "replicas=0", "replica=3", "ingress.enable=true", "monitoring.rule=true",
		"settings.PLATFORM_SEALING_KEYS=x", "settings.PLATFORM_DATABASE_URL=x", "settings.PLATFORM_REDIS_URL=x", "settings.PLATFORM_COMPONENT_SECRET=x",
		"settings.PLATFORM_COMPONENT_TOKEN=x", "settings.PLATFORM_COMPONENT_AES_KEY=x", "settings.PLATFORM_SEALING_KEYS_FILE=/x", "settings.PLATFORM_PUBLIC_URL=x",
		"settings.OTEL_EXPORTER_OTLP_HEADERS=x", "settings.LISTEN=x",
	} {
		if _, said, err := helm(t, "template", "wxplatform", chart, "-f", "testdata/values.yaml", "--set", value); err == nil || !strings.Contains(said, "schema") {
			t.Errorf("%s: got %v, %s, want the schema to refuse it", value, err, said)
		}
	}
}

// The chart and the manifests are two ways to the same objects.
func TestTheChartMakesTheObjectsOfTheExample(t *testing.T) {
	chart, example := bare(rendered(t, "-f", "testdata/values.yaml")), bare(kustomized(t, "example"))
	if diff := cmp.Diff(example, chart, cmp.Transformer("byName", byName)); diff != "" {
		t.Errorf("got, from the example (-) to the chart (+),\n%s", diff)
	}
}

// byName orders variables, which kustomize does not keep in order.
func byName(variables []corev1.EnvVar) map[string]corev1.EnvVar {
	all := map[string]corev1.EnvVar{}
	for _, v := range variables {
		all[v.Name] = v
	}
	return all
}

// bare removes what helm or kustomize alone adds, and sorts the objects by kind.
func bare(objects []any) map[string]any {
	all := map[string]any{}
	for _, object := range objects {
		one := object.(named)
		one.SetNamespace("")
		for _, labels := range labelsOf(object) {
			for _, helms := range []string{"helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance"} {
				delete(labels, helms)
			}
		}
		all[one.GetObjectKind().GroupVersionKind().Kind+" "+one.GetName()] = object
	}
	return all
}

func TestOtherSettingsReachTheProgram(t *testing.T) {
	variables := byName(container(t, rendered(t, "-f", "testdata/values.yaml", "-f", "testdata/all.yaml")).Env)
	for name, want := range map[string]string{"PLATFORM_RELEASE_TEST": "off", "PLATFORM_REFRESH_BUDGET": "100000"} {
		if got := variables[name].Value; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestTheIngressServesThePublicURL(t *testing.T) {
	objects := rendered(t, "-f", "testdata/values.yaml", "-f", "testdata/all.yaml")
	ingress, service := the[networkingv1.Ingress](t, objects), the[corev1.Service](t, objects)
	rule := ingress.Spec.Rules[0]
	if rule.Host != "wx.example.com" || ingress.Spec.TLS[0].Hosts[0] != rule.Host {
		t.Errorf("got %q and %q, want the host of the public URL", rule.Host, ingress.Spec.TLS[0].Hosts)
	}
	to := rule.HTTP.Paths[0].Backend.Service
	if to.Name != service.Name || to.Port.Name != service.Spec.Ports[0].Name {
		t.Errorf("got %+v, want the service", to)
	}
}

// The chart reads docs/alerts.yml itself, through a link.
func TestTheRulesAreTheAlertsOfTheDocumentation(t *testing.T) {
	var want monitoringv1.PrometheusRuleSpec
	if err := yaml.UnmarshalStrict([]byte(read(t, "docs/alerts.yml")), &want); err != nil {
		t.Fatal(err)
	}
	if len(want.Groups) == 0 || len(want.Groups[0].Rules) < 12 {
		t.Fatalf("got %d groups, want the alerts", len(want.Groups))
	}
	for name, objects := range map[string][]any{"chart": rendered(t, "-f", "testdata/values.yaml"), "example": kustomized(t, "example")} {
		if diff := cmp.Diff(want, the[monitoringv1.PrometheusRule](t, objects).Spec); diff != "" {
			t.Errorf("%s: got, from docs/alerts.yml (-),\n%s", name, diff)
		}
	}
}

// The alerts expect the job's name, which is a label of the pods.
func TestTheScrapedJobIsCalledWxplatform(t *testing.T) {
	for name, objects := range map[string][]any{"chart": rendered(t, "-f", "testdata/values.yaml", "-f", "testdata/all.yaml"), "example": kustomized(t, "example")} {
		monitor, pods := the[monitoringv1.PodMonitor](t, objects), the[appsv1.Deployment](t, objects).Spec.Template
		if got := pods.Labels[monitor.Spec.JobLabel]; got != "wxplatform" || !strings.Contains(read(t, "docs/alerts.yml"), `job="`+got+`"`) {
			t.Errorf("%s: got the job %q, want that of the alerts", name, got)
		}
		selects(t, &monitor.Spec.Selector, objects)
		if port := monitor.Spec.PodMetricsEndpoints[0].Port; port == nil || !slices.ContainsFunc(container(t, objects).Ports, func(p corev1.ContainerPort) bool { return p.Name == *port }) {
			t.Errorf("%s: got the port %v, want one of the pods", name, port)
		}
	}
}
