package wechatsim

import (
	"bytes"
	"encoding/json"

	"wxplatform/wechat"
)

var menuSets = []wechat.PermissionSet{15}

func menuAPIs() []endpoint {
	e := func(method, name string, act func(*Sim, *call) (any, error)) endpoint {
		return endpoint{path: "/cgi-bin/menu/" + name, method: method, needs: ofAuthorizer, sets: menuSets, act: act}
	}
	return []endpoint{
		e("POST", "create", (*Sim).createMenu),
		e("GET", "get", (*Sim).getMenu),
		e("GET", "delete", (*Sim).deleteMenu),
	}
}

// createMenu keeps the buttons as they were sent.
func (s *Sim) createMenu(c *call) (any, error) {
	if !bytes.HasPrefix(c.body.Button, []byte("[")) {
		return nil, refuse(40016)
	}
	s.menus[c.account.appID] = c.body.Button
	return okAnswer, nil
}

func (s *Sim) getMenu(c *call) (any, error) {
	buttons := s.menus[c.account.appID]
	if buttons == nil {
		return nil, refuse(46003)
	}
	return map[string]any{"menu": map[string]json.RawMessage{"button": buttons}}, nil
}

func (s *Sim) deleteMenu(c *call) (any, error) {
	delete(s.menus, c.account.appID)
	return okAnswer, nil
}

// Menu returns the buttons of an account's menu as they were sent, or "".
func (s *Sim) Menu(id wechat.AppID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.menus[id])
}
