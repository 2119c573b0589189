package wechatsim

import (
	"encoding/json"
	"fmt"
	"net/url"
	"testing"
)

func TestMenuIsKeptAsItWasSent(t *testing.T) {
	r := newRig(t)
	query := url.Values{"access_token": {r.authorized(SampleService, 15)}}
	r.want(46003, r.do("/cgi-bin/menu/get", query, nil))
	r.want(40016, r.do("/cgi-bin/menu/create", query, object{"buttons": 1}))
	const buttons = `[{"type": "click","name":"今日 <歌曲> & 更多","key":"V1001"}]`
	r.want(0, r.do("/cgi-bin/menu/create", query, object{"button": json.RawMessage(buttons)}))
	got := r.do("/cgi-bin/menu/get", query, nil)
	if want := "map[menu:map[button:[map[key:V1001 name:今日 <歌曲> & 更多 type:click]]]]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	r.want(0, r.do("/cgi-bin/menu/delete", query, nil))
	r.want(46003, r.do("/cgi-bin/menu/get", query, nil))
	r.want(61007, r.do("/cgi-bin/menu/get", url.Values{"access_token": {r.authorized(SampleOfficial, 1)}}, nil))
}
