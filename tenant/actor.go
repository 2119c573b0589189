package tenant

import "strings"

// Actor names who makes a change: an operator on a host, a client of a tenant, or this program.
// Every method that changes something on someone's order takes one.
type Actor string

// Program is the Actor of changes that the program makes by itself.
const Program Actor = "program"

// Operator is the Actor of a command that an operating-system user runs on a host.
func Operator(user, host string) Actor {
	return Actor("operator:" + oneWord(user) + "@" + oneWord(host))
}

// Actor is the caller as the Actor of a change.
func (c Caller) Actor() Actor { return Actor("client:" + string(c.Tenant) + "/" + string(c.Client)) }

// oneWord keeps a name from looking like another part of the Actor, or like another line of a log.
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
