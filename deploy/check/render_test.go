package check

import (
	"path/filepath"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const chart = "../helm/wxplatform"

// helm runs helm, which reads and keeps nothing of its own on this machine.
func helm(t *testing.T, args ...string) (out, said string, err error) {
	t.Helper()
	home := t.TempDir()
	env := []string{"HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home, "KUBECONFIG=" + filepath.Join(home, "none")}
	return run(".", env, "go", append([]string{"tool", "helm"}, args...)...)
}

// rendered returns the objects of the chart with the files of values and more arguments.
func rendered(t *testing.T, args ...string) []any {
	t.Helper()
	text, said, err := helm(t, append([]string{"template", "wxplatform", chart, "--namespace", "wxplatform"}, args...)...)
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return decode(t, text)
}

// kustomized returns the objects of a folder of deploy/kubernetes.
func kustomized(t *testing.T, folder string) []any {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("../kubernetes", folder))
	if err != nil {
		t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, string(text))
}

// installations are what an operator may install, by name.
func installations(t *testing.T) map[string][]any {
	t.Helper()
	return map[string][]any{
		"the manifests":              kustomized(t, "base"),
		"the example":                kustomized(t, "example"),
		"the chart":                  rendered(t, "-f", "testdata/values.yaml"),
		"the chart with every value": rendered(t, "-f", "testdata/values.yaml", "-f", "testdata/all.yaml"),
	}
}

// each runs a test for every installation.
func each(t *testing.T, test func(*testing.T, []any)) {
	t.Helper()
	for name, objects := range installations(t) {
		t.Run(name, func(t *testing.T) { test(t, objects) })
	}
}
