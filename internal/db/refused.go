package db

import (
	"errors"
	"time"
)

// refusal is a statement that the database refused for lack of space or of a right.
type refusal struct {
	at  time.Time // by the own clock
	why error
}

// noteRefusal keeps why for Refused if it is a lack of space or of a right. A read-only database
// refuses every write and needs no note.
func (d *DB) noteRefusal(why error) error {
	if errors.Is(why, ErrFull) || errors.Is(why, ErrRights) {
		d.refused.Store(&refusal{d.own(), why})
	}
	return why
}

// Refused returns why the database refused the newest of this process's statements that it refused
// for lack of space (ErrFull) or of a right (ErrRights); nil if that was longer ago than within.
// Other writes may succeed meanwhile: those that find room in pages which the database has already,
// or that need another right.
func (d *DB) Refused(within time.Duration) error {
	last := d.refused.Load()
	if last == nil || d.own().Sub(last.at) > within {
		return nil
	}
	return last.why
}
