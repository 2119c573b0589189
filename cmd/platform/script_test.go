package main

import (
	"flag"
	"net/http"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"wxplatform/internal/testenv"
	"wxplatform/internal/transcript"
)

// TestMain runs six tests at a time unless -parallel says otherwise: each has its own platform and
// simulator, and mostly waits for them.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	http.DefaultTransport = transcript.Record(http.DefaultTransport)
	testscript.Main(testenv.Clean{M: m}, map[string]func(){"platform": main})
}

// TestScripts runs the scripts in testdata, each in an empty directory and with no settings but its
// own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}
