package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/user"

	"wxplatform/audit"
)

// actor returns who runs the command, and logs that the command is about to change something.
func (s shell) actor(command string) audit.Actor {
	by := operator()
	slog.New(slog.NewJSONHandler(s.errOut, nil)).Info("change", "command", command, "actor", string(by))
	return by
}

// operator returns the operating-system user that runs this process, on its host.
func operator() audit.Actor {
	name := fmt.Sprintf("uid-%d", os.Getuid()) // in a container, a user often has no name
	if who, err := user.Current(); err == nil && who.Username != "" {
		name = who.Username
	}
	host, _ := os.Hostname()
	return audit.Operator(name, host)
}
