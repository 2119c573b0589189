package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/user"

	"wxplatform/audit"
)

// actor returns who runs a command that changes something, and logs that it is about to.
func (s shell) actor(command string) audit.Actor {
	by := operator()
	slog.New(slog.NewJSONHandler(s.errOut, nil)).Info("change", "command", command, "actor", string(by))
	return by
}

// operator is the operating-system user that runs this process, and its host.
func operator() audit.Actor {
	name := fmt.Sprintf("uid-%d", os.Getuid()) // in a container, a user often has no name
	if who, err := user.Current(); err == nil && who.Username != "" {
		name = who.Username
	}
	host, _ := os.Hostname()
	return audit.Operator(name, host)
}
