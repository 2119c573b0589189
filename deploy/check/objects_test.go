package check

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// kinds make an empty object of each kind that deploy/ uses.
var kinds = map[metav1.TypeMeta]func() any{
	{APIVersion: "apps/v1", Kind: "Deployment"}:                      func() any { return &appsv1.Deployment{} },
	{APIVersion: "v1", Kind: "Service"}:                              func() any { return &corev1.Service{} },
	{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}:           func() any { return &policyv1.PodDisruptionBudget{} },
	{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}:      func() any { return &networkingv1.NetworkPolicy{} },
	{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}:            func() any { return &networkingv1.Ingress{} },
	{APIVersion: "monitoring.coreos.com/v1", Kind: "PodMonitor"}:     func() any { return &monitoringv1.PodMonitor{} },
	{APIVersion: "monitoring.coreos.com/v1", Kind: "PrometheusRule"}: func() any { return &monitoringv1.PrometheusRule{} },
}

// decode reads the objects of a YAML stream into the API's own types. A field that those do not
// have is an error, as is one that appears twice.
func decode(t *testing.T, text string) []any {
	t.Helper()
	var all []any
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		one, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if object := decodeOne(t, one); object != nil {
			all = append(all, object)
		}
	}
}

// decodeOne returns nil for a document that has only comments.
func decodeOne(t *testing.T, text []byte) any {
	t.Helper()
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(text, &kind); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if kind == (metav1.TypeMeta{}) {
		return nil
	}
	empty := kinds[kind]
	if empty == nil {
		t.Fatalf("got a %+v, which no test knows", kind)
	}
	object := empty()
	if err := yaml.UnmarshalStrict(text, object); err != nil {
		t.Fatalf("%s: %v", kind.Kind, err)
	}
	return object
}

// the returns the only object of its type.
func the[T any](t *testing.T, all []any) *T {
	t.Helper()
	var found *T
	for _, object := range all {
		if one, is := object.(*T); is {
			if found != nil {
				t.Fatalf("got two of %T", one)
			}
			found = one
		}
	}
	if found == nil {
		t.Fatalf("got no %T", found)
	}
	return found
}
