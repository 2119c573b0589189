package testenv

import (
	"os"
	"slices"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestTheCallersSettingsAreGone(t *testing.T) {
	for name, stays := range map[string]bool{
		"PLATFORM_COMPONENT_SECRET": false, "PGHOST": false, "FAILPOINTS": false, "https_proxy": false,
		"PATH": true, "GOFLAGS": true, "TEST_POSTGRES_URL": true, "SIMULATE": true,
	} {
		t.Setenv(name, "x")
		if kept(name) != stays {
			t.Errorf("%s: got kept %v, want %v", name, !stays, stays)
		}
	}
	Clear()
	if _, set := os.LookupEnv("PLATFORM_COMPONENT_SECRET"); set || Get("SIMULATE") != "x" {
		t.Error("got a caller's setting, or no switch")
	}
	if slices.Contains(Caller(), "PLATFORM_COMPONENT_SECRET=x") {
		t.Error("got what a test set in the caller's environment")
	}
}

func TestOnlySwitchesAreRead(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("got PLATFORM_LISTEN read, want a panic")
		}
	}()
	Get("PLATFORM_LISTEN")
}
