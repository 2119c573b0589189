package audit

import "strings"

// Actor names who makes a change: an operator on a host, a client of a tenant, or this program.
// Every method that makes a change which somebody ordered takes one, and records it.
type Actor string

// Program is the Actor of changes that the program makes by itself.
const Program Actor = "program"

// Operator is the Actor of a command that an operating-system user runs on a host.
func Operator(user, host string) Actor {
	return Actor("operator:" + oneWord(user) + "@" + oneWord(host))
}

// Client is the Actor of a request of a tenant's client.
func Client(of Owner, client string) Actor { return Actor("client:" + string(of) + "/" + client) }

// Kind returns "operator", "client" or "program".
func (a Actor) Kind() string {
	kind, _, _ := strings.Cut(string(a), ":")
	return kind
}

// Who is an Actor in its parts.
type Who struct {
	Kind   string `json:"kind"`
	OSUser string `json:"os_user,omitempty"` // of an operator
	Host   string `json:"host,omitempty"`    // of an operator
	Tenant Owner  `json:"tenant,omitempty"`  // of a client
	Client string `json:"client,omitempty"`
}

// Who returns the parts of a.
func (a Actor) Who() Who {
	w := Who{Kind: a.Kind()}
	_, name, _ := strings.Cut(string(a), ":")
	switch w.Kind {
	case "operator":
		w.OSUser, w.Host, _ = strings.Cut(name, "@")
	case "client":
		of, client, _ := strings.Cut(name, "/")
		w.Tenant, w.Client = Owner(of), client
	}
	return w
}

// oneWord replaces what would make a name look like another part of the Actor, or like another line
// of a log.
func oneWord(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || strings.ContainsRune("@:/", r) {
			return '_'
		}
		return r
	}, name)
	if plain == "" {
		return "unknown"
	}
	return plain
}
