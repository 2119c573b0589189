package transcript

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wxplatform/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// recorded sends requests to paths of a server, and returns what was recorded of the answers.
func recorded(t *testing.T, server http.HandlerFunc, paths ...string) (all []answer) {
	t.Helper()
	s := httptest.NewServer(server)
	defer s.Close()
	folder := t.TempDir()
	client := &http.Client{Transport: record(folder, http.DefaultTransport)}
	for _, path := range paths {
		response, err := client.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	client.CloseIdleConnections()
	files, err := filepath.Glob(filepath.Join(folder, "*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got the files %q, %v, want one", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var a answer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	return all
}

func TestAnAnswerIsRecordedWithoutItsTokenAndQuery(t *testing.T) {
	got := recorded(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Request-Id", "r1")
		w.Header().Set("Set-Cookie", "canary=1")
		_, _ = io.WriteString(w, `{"access_token": "canary", "expires_in":7200}`)
	}, "/cgi-bin/token?secret=canary")
	if len(got) != 1 || got[0].Path != "/cgi-bin/token" || string(got[0].Body) != `{"access_token":"removed", "expires_in":7200}` || len(got[0].Header) != 1 || got[0].Cut {
		t.Errorf("got %+v", got)
	}
}

func TestAnAnswerThatDiffersOnlyByItsIDIsRecordedOnce(t *testing.T) {
	n := 0
	got := recorded(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		w.Header().Set("Request-Id", strings.Repeat("x", n))
		_, _ = io.WriteString(w, `{"status":404,"request_id":"`+strings.Repeat("x", n)+`"}`)
	}, "/a", "/a", "/b")
	if len(got) != 2 {
		t.Errorf("got %d answers, want one for each path", len(got))
	}
}

func TestTheSimulatorsAnswersAreNotRecorded(t *testing.T) {
	if got := recorded(t, func(http.ResponseWriter, *http.Request) {}, "/cgi-bin/token"); len(got) != 0 {
		t.Errorf("got %+v, want nothing", got)
	}
}

func TestALongBodyIsCut(t *testing.T) {
	got := recorded(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Request-Id", "r1")
		_, _ = w.Write(make([]byte, bodyLimit+1))
	}, "/file")
	if len(got) != 1 || len(got[0].Body) != bodyLimit || !got[0].Cut {
		t.Errorf("got %d answers, want one of %d bytes that says that it is cut", len(got), bodyLimit)
	}
}
