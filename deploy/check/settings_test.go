package check

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
)

// secrets are the settings that nobody may read in a manifest.
var secrets = []string{
	"PLATFORM_COMPONENT_SECRET", "PLATFORM_COMPONENT_TOKEN", "PLATFORM_COMPONENT_AES_KEY", "PLATFORM_SEALING_KEYS", "PLATFORM_DATABASE_URL", "PLATFORM_REDIS_URL",
}

// settings are the names that the program knows.
func settings(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, found := range regexp.MustCompile(`(?m)^(PLATFORM_[A-Z_]+) `).FindAllStringSubmatch(output(t, ".", platform(t), "help", "config"), -1) {
		all = append(all, found[1])
	}
	if len(all) < 10 {
		t.Fatalf("got the settings %q, want all", all)
	}
	return all
}

func TestSecretsComeFromFilesAndSettingsExist(t *testing.T) {
	known := settings(t)
	each(t, func(t *testing.T, objects []any) {
		files := mounted(t, objects)
		variables := byName(container(t, objects).Env)
		for name, v := range variables {
			setting, fromFile := strings.CutSuffix(name, "_FILE")
			switch {
			case !slices.Contains(known, setting) && !strings.HasPrefix(name, "OTEL_"):
				t.Errorf("got %s, which is no setting", name)
			case fromFile && !slices.Contains(files, v.Value):
				t.Errorf("%s: got %s, want one of %q", name, v.Value, files)
			case !fromFile && slices.Contains(secrets, setting):
				t.Errorf("got a secret in %s, want it in a file", name)
			}
		}
		for _, secret := range secrets {
			if _, given := variables[secret+"_FILE"]; !given {
				t.Errorf("got no %s_FILE", secret)
			}
		}
	})
}

// mounted are the paths of the secrets' files in the container.
func mounted(t *testing.T, objects []any) []string {
	t.Helper()
	var all []string
	for _, volume := range the[appsv1.Deployment](t, objects).Spec.Template.Spec.Volumes {
		for _, mount := range container(t, objects).VolumeMounts {
			if mount.Name == volume.Name && mount.ReadOnly {
				for _, item := range volume.Secret.Items {
					all = append(all, mount.MountPath+"/"+item.Path)
				}
			}
		}
	}
	return all
}
