package check

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	psapi "k8s.io/pod-security-admission/api"
	psapolicy "k8s.io/pod-security-admission/policy"
)

// named is an object of the API.
type named interface {
	metav1.Object
	runtime.Object
}

// labelsOf are the labels and the selectors of an object.
func labelsOf(object any) []map[string]string {
	all := []map[string]string{object.(named).GetLabels()}
	switch o := object.(type) {
	case *appsv1.Deployment:
		all = append(all, o.Spec.Selector.MatchLabels, o.Spec.Template.Labels)
		for _, c := range o.Spec.Template.Spec.TopologySpreadConstraints {
			all = append(all, c.LabelSelector.MatchLabels)
		}
	case *corev1.Service:
		all = append(all, o.Spec.Selector)
	case *policyv1.PodDisruptionBudget:
		all = append(all, o.Spec.Selector.MatchLabels)
	case *networkingv1.NetworkPolicy:
		all = append(all, o.Spec.PodSelector.MatchLabels)
	case *monitoringv1.PodMonitor:
		all = append(all, o.Spec.Selector.MatchLabels)
	}
	return all
}

func container(t *testing.T, objects []any) corev1.Container {
	t.Helper()
	all := the[appsv1.Deployment](t, objects).Spec.Template.Spec.Containers
	if len(all) != 1 {
		t.Fatalf("got %d containers, want one", len(all))
	}
	return all[0]
}

// selects checks that a selector selects the pods.
func selects(t *testing.T, by *metav1.LabelSelector, objects []any) {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(by)
	pods := the[appsv1.Deployment](t, objects).Spec.Template.Labels
	if err != nil || selector.Empty() || !selector.Matches(labels.Set(pods)) {
		t.Errorf("got %v, %v, want it to select %v", selector, err, pods)
	}
}

// port returns the port of the listener that a setting names.
func port(t *testing.T, objects []any, setting string) int32 {
	t.Helper()
	_, text, _ := strings.Cut(byName(container(t, objects).Env)[setting].Value, ":")
	number, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		t.Fatalf("%s: %v", setting, err)
	}
	return int32(number)
}

// numbered is the number of a port that may be a name.
func numbered(t *testing.T, objects []any, p intstr.IntOrString) int32 {
	t.Helper()
	for _, known := range container(t, objects).Ports {
		if p.Type == intstr.String && known.Name == p.StrVal || p.Type == intstr.Int && known.ContainerPort == p.IntVal {
			return known.ContainerPort
		}
	}
	t.Fatalf("got the port %s, which no container has", p.String())
	return 0
}

func TestProbesAskTheOperationsListener(t *testing.T) {
	each(t, func(t *testing.T, objects []any) {
		c := container(t, objects)
		for path, probes := range map[string][]*corev1.Probe{"/healthz": {c.StartupProbe, c.LivenessProbe}, "/readyz": {c.ReadinessProbe}} {
			for _, p := range probes {
				if p.HTTPGet == nil || p.HTTPGet.Path != path || numbered(t, objects, p.HTTPGet.Port) != port(t, objects, "PLATFORM_PRIVATE_LISTEN") {
					t.Errorf("got %+v, want %s of the operations listener", p.HTTPGet, path)
				}
			}
		}
		// A file of migrations may take ten minutes.
		if s := c.StartupProbe; s.PeriodSeconds*s.FailureThreshold < 660 {
			t.Errorf("got %d s for the start, want more than a migration takes", s.PeriodSeconds*s.FailureThreshold)
		} else if d := the[appsv1.Deployment](t, objects).Spec.ProgressDeadlineSeconds; *d <= s.PeriodSeconds*s.FailureThreshold {
			t.Errorf("got %d s for the progress, want more than a start may take", *d)
		}
	})
}

func TestAnUpdateTakesNoReplicaAway(t *testing.T) {
	each(t, func(t *testing.T, objects []any) {
		d := the[appsv1.Deployment](t, objects)
		if u := d.Spec.Strategy.RollingUpdate; d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || u.MaxUnavailable.IntValue() != 0 || u.MaxSurge.IntValue() < 1 {
			t.Errorf("got %+v, want a new replica before an old one ends", u)
		}
		if stop := container(t, objects).Lifecycle; stop.PreStop.Sleep == nil || stop.PreStop.Sleep.Seconds < 5 {
			t.Errorf("got %+v, want the pod to wait until proxies have learned that it ends", stop)
		}
		selects(t, d.Spec.Selector, objects)
	})
}

func TestADisruptionLeavesAReplica(t *testing.T) {
	each(t, func(t *testing.T, objects []any) {
		budget, replicas := the[policyv1.PodDisruptionBudget](t, objects), int(*the[appsv1.Deployment](t, objects).Spec.Replicas)
		if most := budget.Spec.MaxUnavailable.IntValue(); most < 1 || most >= replicas || budget.Spec.MinAvailable != nil {
			t.Errorf("got %d of %d replicas, want that a node can be drained and one is left", most, replicas)
		}
		selects(t, budget.Spec.Selector, objects)
	})
}

func TestReplicasAreSpread(t *testing.T) {
	each(t, func(t *testing.T, objects []any) {
		var over []string
		for _, c := range the[appsv1.Deployment](t, objects).Spec.Template.Spec.TopologySpreadConstraints {
			over = append(over, c.TopologyKey)
			selects(t, c.LabelSelector, objects)
		}
		if want := []string{corev1.LabelHostname, corev1.LabelTopologyZone}; !slices.Equal(over, want) {
			t.Errorf("got %q, want %q", over, want)
		}
	})
}

func TestOnlyThePublicListenerIsInTheService(t *testing.T) {
	each(t, func(t *testing.T, objects []any) {
		service := the[corev1.Service](t, objects)
		for _, p := range service.Spec.Ports {
			if got, want := numbered(t, objects, p.TargetPort), port(t, objects, "PLATFORM_LISTEN"); got != want {
				t.Errorf("got port %d, want %d alone", got, want)
			}
		}
		selects(t, &metav1.LabelSelector{MatchLabels: service.Spec.Selector}, objects)
	})
}

// An ingress rule without "from" lets everybody in, as does one without ports.
func TestTheOperationsListenerIsClosedToOthers(t *testing.T) {
	each(t, func(t *testing.T, objects []any) {
		policy, opened := the[networkingv1.NetworkPolicy](t, objects), false
		for _, rule := range policy.Spec.Ingress {
			if len(rule.Ports) == 0 {
				t.Errorf("got %+v, want a rule to name its ports", rule)
			}
			for _, p := range rule.Ports {
				switch numbered(t, objects, *p.Port) {
				case port(t, objects, "PLATFORM_LISTEN"):
					opened = true
				case port(t, objects, "PLATFORM_PRIVATE_LISTEN"):
					if len(rule.From) == 0 {
						t.Errorf("got %+v, want the operations listener closed", rule)
					}
				}
			}
		}
		if !opened || !slices.Equal(policy.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) {
			t.Errorf("got %+v, want the public listener open", policy.Spec)
		}
		selects(t, &policy.Spec.PodSelector, objects)
	})
}

// Kubernetes' own checks of its "restricted" standard, and what that leaves open.
func TestPodsAreConfined(t *testing.T) {
	standard, err := psapolicy.NewEvaluator(psapolicy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, objects []any) {
		pod, c := the[appsv1.Deployment](t, objects).Spec.Template, container(t, objects)
		level := psapi.LevelVersion{Level: psapi.LevelRestricted, Version: psapi.LatestVersion()}
		if found := psapolicy.AggregateCheckResults(standard.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec)); !found.Allowed {
			t.Errorf("got %s", found.ForbiddenDetail())
		}
		if s := c.SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Error("got a file system that can be written to")
		}
		if token := pod.Spec.AutomountServiceAccountToken; token == nil || *token {
			t.Error("got a token of the cluster in the pod")
		}
		if links := pod.Spec.EnableServiceLinks; links == nil || *links {
			t.Error("got variables that the cluster sets, whose names may be settings'")
		}
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
			t.Errorf("got %+v, want memory limited, and both requested", c.Resources)
		}
	})
}
