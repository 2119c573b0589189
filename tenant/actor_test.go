package tenant

import "testing"

func TestAnActorIsOneLineAndUnambiguous(t *testing.T) {
	for _, c := range []struct{ got, want Actor }{
		{Operator("alice", "host-1.example.com"), "operator:alice@host-1.example.com"},
		{Operator("", ""), "operator:unknown@unknown"},
		{Operator("a@b", "c@d"), "operator:a_b@c_d"},
		{Operator(`CORP\alice`, "PC 1"), `operator:CORP\alice@PC_1`},
		{Operator("a\nb\u2028", "运维"), "operator:a_b_@__"},
		{Caller{Tenant: "t1", Client: "c1"}.Actor(), "client:t1/c1"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
