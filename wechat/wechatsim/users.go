package wechatsim

import "wxplatform/wechat"

var userSets = []wechat.PermissionSet{2, 100}

func userAPIs() []endpoint {
	e := func(method, path string, act func(*Sim, *call) (any, error)) endpoint {
		return endpoint{path: "/cgi-bin/user/info" + path, method: method, needs: ofAuthorizer, sets: userSets, act: act}
	}
	return []endpoint{
		e("GET", "", (*Sim).showFan),
		e("POST", "/updateremark", (*Sim).updateRemark),
	}
}

// mostRemarks limits the memory for remarks if a client invents customers.
const mostRemarks = 100_000

// fan is a customer as one account knows it.
type fan struct {
	account wechat.AppID
	openid  wechat.OpenID
}

func (s *Sim) updateRemark(c *call) (any, error) {
	if err := checkOpenID(c.body.OpenID); err != nil {
		return nil, err
	}
	if len(s.remarks) >= mostRemarks {
		clear(s.remarks)
	}
	s.remarks[fan{c.account.appID, c.body.OpenID}] = c.body.Remark
	return okAnswer, nil
}

// showFan knows of every customer, since every well-formed openid is one.
func (s *Sim) showFan(c *call) (any, error) {
	id := wechat.OpenID(c.query.Get("openid"))
	if err := checkOpenID(id); err != nil {
		return nil, err
	}
	return map[string]any{"subscribe": 1, "openid": id, "language": "zh_CN", "remark": s.remarks[fan{c.account.appID, id}], "groupid": 0, "tagid_list": []int{}}, nil
}
