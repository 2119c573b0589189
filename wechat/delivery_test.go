package wechat

import "testing"

// A tenant's calls with the component's token can neither keep the component's own calls waiting
// nor leave a connection to another call.
func TestATenantsCallWithTheComponentTokenHasAConnectionOfItsOwnAmongTheTenants(t *testing.T) {
	for as, want := range map[Credential]delivery{
		ComponentTokenForTenant: {once: true}, ComponentToken: {component: true, once: true}, NoToken: {component: true, once: true}, AccessToken: {},
	} {
		if got := (&host{}).delivery(Call{As: as}); got != want {
			t.Errorf("%d: got %+v, want %+v", as, got, want)
		}
	}
	if got := ComponentTokenForTenant.parameter(); got != "component_access_token" {
		t.Errorf("got %s, want component_access_token", got)
	}
}
