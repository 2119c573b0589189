package audit

import "testing"

func TestAnActorIsOneLineAndUnambiguous(t *testing.T) {
	for _, c := range []struct {
		got, want Actor
		parts     Who
	}{
		{Operator("alice", "host-1.example.com"), "operator:alice@host-1.example.com", Who{Kind: "operator", OSUser: "alice", Host: "host-1.example.com"}},
		{Operator("", ""), "operator:unknown@unknown", Who{Kind: "operator", OSUser: "unknown", Host: "unknown"}},
		{Operator("a@b", "c@d"), "operator:a_b@c_d", Who{Kind: "operator", OSUser: "a_b", Host: "c_d"}},
		{Operator(`CORP\alice`, "PC 1"), `operator:CORP\alice@PC_1`, Who{Kind: "operator", OSUser: `CORP\alice`, Host: "PC_1"}},
		{Operator("a\nb\u2028", "运维"), "operator:a_b_@__", Who{Kind: "operator", OSUser: "a_b_", Host: "__"}},
		{Client("t1", "c1"), "client:t1/c1", Who{Kind: "client", Tenant: "t1", Client: "c1"}},
		{Program, "program", Who{Kind: "program"}},
	} {
		if c.got != c.want || c.got.Who() != c.parts {
			t.Errorf("got %q and %+v, want %q and %+v", c.got, c.got.Who(), c.want, c.parts)
		}
	}
}
