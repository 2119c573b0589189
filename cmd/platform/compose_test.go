package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// composeServices returns the text of each service in docker-compose.yml, by name.
func composeServices(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	_, services, _ := strings.Cut(string(text), "\nservices:\n")
	services, _, _ = strings.Cut(services, "\nvolumes:\n")
	found := map[string]string{}
	heads := regexp.MustCompile(`(?m)^  (\w+):$`).FindAllStringSubmatchIndex(services, -1)
	for i, head := range heads {
		end := len(services)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		found[services[head[2]:head[3]]] = services[head[1]:end]
	}
	return found
}

func TestEveryServiceOfComposeIsConfined(t *testing.T) {
	services := composeServices(t)
	for _, name := range []string{"platform", "postgres", "redis", "wechatsim"} {
		for _, want := range []string{
			`    read_only: true\n`, `    cap_drop: \[ALL\]\n`, `    security_opt: \["no-new-privileges:true"\]\n`,
			`    mem_limit: \d+[mg]\n`, `    pids_limit: \d+\n`, `    (build: |image: \S+:\S+@sha256:[0-9a-f]{64}\n)`,
		} {
			if !regexp.MustCompile(`(?m)^` + want).MatchString(services[name]) {
				t.Errorf("%s: got no %s", name, want)
			}
		}
	}
	if len(services) != 4 {
		t.Errorf("got %d services, want every one checked", len(services))
	}
	file, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(string(file), -1) {
		if from[1] != "scratch" && !regexp.MustCompile(`@sha256:[0-9a-f]{64}$`).MatchString(from[1]) {
			t.Errorf("Dockerfile: got %s, want a digest", from[1])
		}
	}
}

func TestComposesRedisHasThePasswordThatThePlatformGives(t *testing.T) {
	services := composeServices(t)
	for name, want := range map[string][]string{
		"platform": {"PLATFORM_REDIS_URL_FILE: /run/secrets/redis_url", "redis_url]"},
		"redis":    {`"redis-server", "/run/secrets/redis_conf"`, "secrets: [redis_conf]", "REDISCLI_AUTH="},
	} {
		for _, text := range want {
			if !strings.Contains(services[name], text) {
				t.Errorf("%s: got no %q", name, text)
			}
		}
	}
	secrets := madeSecrets(t)
	password, ok := strings.CutPrefix(secrets["redis_conf"], "requirepass ")
	if !ok || len(password) != 48 || secrets["redis_url"] != "redis://:"+password+"@redis:6379" {
		t.Errorf("got %d characters, want a password that both files have", len(password))
	}
	compose, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range regexp.MustCompile(`\{file: \./secrets/(\w+)\}`).FindAllStringSubmatch(string(compose), -1) {
		if secrets[one[1]] == "" {
			t.Errorf("got no secret %s from the script", one[1])
		}
	}
}

// madeSecrets runs scripts/make-secrets.sh --demo twice in a copy of its directory, and returns
// what it made.
func madeSecrets(t *testing.T) map[string]string {
	t.Helper()
	root := t.TempDir()
	var made []map[string]string
	for range 2 {
		if said, err := makeSecrets(t, root, "--demo"); err != nil {
			t.Fatalf("got %v, %s", err, said)
		}
		made = append(made, readAll(t, filepath.Join(root, "secrets")))
	}
	for name, value := range made[0] {
		if made[1][name] != value {
			t.Errorf("got %s made again, want it kept", name)
		}
	}
	return made[1]
}

// makeSecrets runs a copy of scripts/make-secrets.sh below root, and returns what it said.
func makeSecrets(t *testing.T, root string, args ...string) (said string, err error) {
	t.Helper()
	script, err := os.ReadFile("../../scripts/make-secrets.sh")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "scripts", "make-secrets.sh")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, script, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("bash", append([]string{path}, args...)...).CombinedOutput()
	return string(out), err
}

func TestMakingSecretsFailsWhileTheComponentsAreMissing(t *testing.T) {
	root := t.TempDir()
	component := []string{"component_appid", "component_secret", "component_token", "component_aes_key"}
	for i, name := range component {
		said, err := makeSecrets(t, root)
		for j, other := range component {
			if named := strings.Contains(said, "secrets/"+other); err == nil || named != (j >= i) {
				t.Errorf("without %q: got %v, %s", component[i:], err, said)
			}
		}
		file := filepath.Join(root, "secrets", name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if said, err := makeSecrets(t, root); err == nil || !strings.Contains(said, "secrets/"+name) {
			t.Errorf("%s is empty: got %v, %s", name, err, said)
		}
		if err := os.WriteFile(file, []byte("x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if said, err := makeSecrets(t, root); err != nil {
		t.Errorf("with all: got %v, %s", err, said)
	}
}

func readAll(t *testing.T, directory string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(directory, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[file.Name()] = strings.TrimSpace(string(text))
	}
	return all
}
