package main

import (
	"flag"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"wxplatform/internal/testenv"
)

// TestMain runs six tests at a time unless -parallel says otherwise: each has its own platform and
// simulator, and mostly waits for them.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	testscript.Main(testenv.Clean{M: m}, map[string]func(){"platform": main})
}

// TestScripts runs the scripts in testdata, each in an empty directory and with no settings but its
// own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}
