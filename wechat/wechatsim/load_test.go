package wechatsim

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
)

// serve calls the handler without a network, as a load test must.
func serve(s *Sim, path, token string, body any) *httptest.ResponseRecorder {
	content, _ := json.Marshal(body)
	req := httptest.NewRequest(http.MethodPost, path+"?access_token="+token, bytes.NewReader(content))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	return w
}

func TestConcurrentRefreshesAllMintAndTheLastOneWins(t *testing.T) {
	r := newRigAuthorized(t)
	body := r.refreshBody(SampleService)
	var group sync.WaitGroup
	var mu sync.Mutex
	tokens := map[string]bool{}
	for range 8 {
		group.Go(func() {
			for range 20 {
				w := serve(r.Sim, authorizerTokenPath, r.LastComponentToken(), body)
				var answer tokenAnswer
				_ = json.Unmarshal(w.Body.Bytes(), &answer)
				mu.Lock()
				tokens[answer.AccessToken] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if len(tokens) != 160 {
		t.Errorf("got %d tokens, want 160", len(tokens))
	}
	for token := range tokens {
		if !r.Works(token) {
			t.Fatal("a token does not work although it overlaps")
		}
	}
	if !tokens[r.LastAccessToken(SampleService)] {
		t.Error("the newest token is nobody's")
	}
}

// newLoaded returns a simulator with n accounts, each of which was called.
func newLoaded(tb testing.TB, n int) *Sim {
	tb.Helper()
	s, err := New(Config{Seed: 1})
	if err != nil {
		tb.Fatal(err)
	}
	s.AddSynthetic(n)
	serve(s, componentTokenPath, "", object{"component_appid": DefaultAppID, "component_appsecret": DefaultSecret, "component_verify_ticket": s.Ticket()})
	return s
}

func TestTouchedAccountsStaySmall(t *testing.T) {
	const n = 5_000
	s := newLoaded(t, n)
	defer s.Close()
	before := heap()
	for i := range n {
		id := SyntheticAppID(i)
		w := serve(s, authorizerTokenPath, s.LastComponentToken(), object{"component_appid": DefaultAppID, "authorizer_appid": id, "authorizer_refresh_token": s.RefreshToken(id)})
		if !bytes.Contains(w.Body.Bytes(), []byte("authorizer_access_token")) {
			t.Fatalf("%s: got %s", id, w.Body)
		}
	}
	if each := (heap() - before) / n; each > 700 {
		t.Errorf("got %d bytes for each account, so that a million would not fit", each)
	}
	runtime.KeepAlive(s)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkCloseSession(b *testing.B) {
	s := newLoaded(b, 1000)
	defer s.Close()
	id := SyntheticAppID(0)
	serve(s, authorizerTokenPath, s.LastComponentToken(), object{"component_appid": DefaultAppID, "authorizer_appid": id, "authorizer_refresh_token": s.RefreshToken(id)})
	token := s.LastAccessToken(id)
	body := pairBody(SyntheticKF(0), SampleCustomer)
	for b.Loop() {
		serve(s, "/customservice/kfsession/create", token, body)
		if w := serve(s, closePath, token, body); !bytes.Contains(w.Body.Bytes(), []byte(`"errcode":0`)) {
			b.Fatal(w.Body)
		}
	}
}

func BenchmarkRefresh(b *testing.B) {
	s := newLoaded(b, 1_000_000)
	defer s.Close()
	i := 0
	for b.Loop() {
		id := SyntheticAppID(i % 1_000_000)
		serve(s, authorizerTokenPath, s.LastComponentToken(), object{"component_appid": DefaultAppID, "authorizer_appid": id, "authorizer_refresh_token": s.RefreshToken(id)})
		i++
	}
}
