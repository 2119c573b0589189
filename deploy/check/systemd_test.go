package check

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	unit   = "deploy/systemd/wxplatform.service"
	dropIn = "deploy/systemd/wxplatform.service.d/postgresql.conf"
)

// installed writes the unit and its drop-in to a folder, with a program that is there.
func installed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "wxplatform.service.d", "postgresql.conf"), read(t, dropIn))
	return write(t, filepath.Join(dir, "wxplatform.service"), replaced(t, read(t, unit), "/usr/local/bin/platform", platform(t)))
}

func TestSystemdUnderstandsTheUnit(t *testing.T) {
	analyze := program(t, "systemd-analyze", "systemd")
	out, said, err := run(".", nil, analyze, "verify", "--man=no", installed(t))
	if err != nil || strings.Contains(out+said, "wxplatform") {
		t.Errorf("%v\n%s%s", err, out, said)
	}
}

// The exposure is systemd's own estimate: 10.0 is a service without any confinement.
func TestTheUnitIsConfined(t *testing.T) {
	analyze := program(t, "systemd-analyze", "systemd")
	const most = "15" // tenths
	if out, said, err := run(".", nil, analyze, "security", "--offline=yes", "--threshold="+most, "--no-pager", installed(t)); err != nil {
		t.Errorf("%v\n%s%s", err, out, said)
	}
}

// Every secret is a credential, and the program is told where it is.
func TestTheUnitsSecretsAreCredentials(t *testing.T) {
	text, known := read(t, unit)+read(t, dropIn), settings(t)
	for _, secret := range secrets {
		name := strings.ToLower(strings.TrimPrefix(secret, "PLATFORM_"))
		for _, line := range []string{"LoadCredential=" + name + ":/etc/wxplatform/secrets/" + name, "Environment=" + secret + "_FILE=%d/" + name} {
			if !strings.Contains(text, "\n"+line+"\n") {
				t.Errorf("got no line %s", line)
			}
		}
	}
	for _, found := range regexp.MustCompile(`(?m)^(?:Environment=)?(PLATFORM_[A-Z_]+)=`).FindAllStringSubmatch(text+read(t, "deploy/systemd/env"), -1) {
		if name := strings.TrimSuffix(found[1], "_FILE"); !slices.Contains(known, name) || found[1] == name && slices.Contains(secrets, name) {
			t.Errorf("got %s, want a setting that is no secret, or a file", found[1])
		}
	}
}

// commander returns the script wxplatform with folders of its own, and the folder of the secrets.
func commander(t *testing.T) (script, secretsAt string) {
	t.Helper()
	dir := t.TempDir()
	etc, state := filepath.Join(dir, "etc"), filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(etc, "env"), read(t, "deploy/systemd/env"))
	text := replaced(t, read(t, "deploy/systemd/wxplatform"), "/etc/wxplatform", etc, "/var/lib/wxplatform", state, "/usr/local/bin/platform", platform(t))
	return write(t, filepath.Join(dir, "wxplatform"), text), filepath.Join(etc, "secrets")
}

func TestCommandsHaveTheServicesSettings(t *testing.T) {
	script, secretsAt := commander(t)
	write(t, filepath.Join(secretsAt, "sealing_keys"), output(t, ".", platform(t), "keygen"))
	if _, said, err := run(".", nil, "sh", script, "tenant", "create", "四季 花店"); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if got := output(t, ".", "sh", script, "tenant", "list"); !strings.Contains(got, "四季 花店") {
		t.Errorf("got %s, want the tenant that the command before stored", got)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(script), "state", "platform.db")); err != nil {
		t.Errorf("got %v, want SQLite's file in the folder of the service", err)
	}
	write(t, filepath.Join(secretsAt, "database_url"), "postgres://nobody@127.0.0.1:1/none")
	if out, said, err := run(".", nil, "sh", script, "tenant", "list"); err == nil || !strings.Contains(said, "database") {
		t.Errorf("got %s%s, %v, want the database of the secret", out, said, err)
	}
}
