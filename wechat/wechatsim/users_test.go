package wechatsim

import (
	"net/url"
	"testing"
)

func TestRemarkIsKeptForOneAccount(t *testing.T) {
	r := newRig(t)
	token := url.Values{"access_token": {r.authorized(SampleService, 2)}}
	about := url.Values{"access_token": token["access_token"], "openid": {string(SampleCustomer)}}
	r.want(40003, r.do("/cgi-bin/user/info/updateremark", token, object{"openid": "open_id", "remark": "remarked"}))
	r.want(0, r.do("/cgi-bin/user/info/updateremark", token, object{"openid": SampleCustomer, "remark": "老客 <VIP>"}))
	if got := r.do("/cgi-bin/user/info", about, nil); got["remark"] != "老客 <VIP>" || got["subscribe"] != float64(1) {
		t.Errorf("got %v, want the remark", got)
	}
	about.Set("access_token", r.authorized(SampleOfficial, 100))
	if got := r.do("/cgi-bin/user/info", about, nil); got["remark"] != "" {
		t.Errorf("got %v, want another account to have no remark", got)
	}
}
