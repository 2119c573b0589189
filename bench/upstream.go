package main

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"

	"wxplatform/wechat/wechatsim"
)

const (
	closePath = "/customservice/kfsession/close"
	kfAccount = "test1@test"
	closeBody = `{"kf_account":"` + kfAccount + `","openid":"` + string(wechatsim.SampleCustomer) + `"}`
	answerOK  = `{"errcode":0,"errmsg":"ok"}`
	answerBad = `{"errcode":40001,"errmsg":"the benchmark's upstream got another token or body than it should"}`
)

// upstream is a WeChat in which closing always succeeds and costs next to nothing. Everything else is the simulator's.
type upstream struct {
	sim   *wechatsim.Sim
	known sync.Map // tokens that the simulator takes
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != closePath {
		u.sim.ServeHTTP(w, r)
		return
	}
	answer := answerBad
	if u.isRight(r) {
		answer = answerOK
	}
	w.Header()["Content-Type"] = []string{"application/json; encoding=utf-8"}
	_, _ = io.WriteString(w, answer)
}

func (u *upstream) isRight(r *http.Request) bool {
	var room [len(closeBody) + 1]byte
	n, _ := io.ReadFull(r.Body, room[:])
	token, found := strings.CutPrefix(r.URL.RawQuery, "access_token=")
	return r.Method == http.MethodPost && found && bytes.Equal(room[:n], []byte(closeBody)) && u.takes(token)
}

func (u *upstream) takes(token string) bool {
	if _, ok := u.known.Load(token); ok {
		return true
	}
	works := u.sim.Works(token)
	if works {
		u.known.Store(token, true)
	}
	return works
}
