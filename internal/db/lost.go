package db

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// losses knows when a connection of the pool was last found dead. Where one died the others have, as a rule: PostgreSQL was restarted, or failed over, or something between cut them all.
type losses struct{ last atomic.Pointer[time.Time] }

func (l *losses) note() {
	now := time.Now()
	l.last.Store(&now)
}

// doubts reports whether a connection should be tried before a statement is entrusted to it. Those that rested are, as pgx has it by itself, and those that were last tried before the last loss.
func (l *losses) doubts(_ context.Context, c stdlib.ShouldPingParams) bool {
	last := l.last.Load()
	return c.IdleDuration > time.Second || last != nil && c.IdleDuration >= time.Since(*last)
}

// uncertain is the failure of a commit. Nobody knows whether it took place, so it is never repeated.
type uncertain struct{ error }

func (u uncertain) Unwrap() error { return u.error }

// lost reports whether the connection ended on which a statement was sent, so that another one may do better. One that could not be had at all is not lost, and neither is one that was given up.
func lost(err error) bool {
	var commit uncertain
	var connecting *pgconn.ConnectError
	if errors.As(err, &commit) || errors.As(err, &connecting) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return ended(err)
}

// ended reports whether a connection has ended, by PostgreSQL's word or by the network's.
func ended(err error) bool {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return strings.HasPrefix(said.Code, "08") || said.Code == "57P01" || said.Code == "57P02" || said.Code == "57P03" // cut, crashed, or not open yet
	}
	var network *net.OpError
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrBadConn)
}
