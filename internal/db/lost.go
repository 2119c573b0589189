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

// losses remembers when a connection of the pool was last found dead. Usually the others are dead
// then, too: PostgreSQL was restarted or failed over, or a firewall cut all of them.
type losses struct{ last atomic.Pointer[time.Time] }

func (l *losses) note() {
	now := time.Now()
	l.last.Store(&now)
}

// doubts reports whether a connection should be pinged before it is used: if it was idle for more
// than a second, which is pgx's own rule, or was last used before the last loss.
func (l *losses) doubts(_ context.Context, c stdlib.ShouldPingParams) bool {
	last := l.last.Load()
	return c.IdleDuration > time.Second || last != nil && c.IdleDuration >= time.Since(*last)
}

// uncertain is the error of a commit that may have taken place. It is never repeated.
type uncertain struct{ error }

func (u uncertain) Unwrap() error { return u.error }

// lost reports whether the connection ended after a statement was sent on it, so that repeating it
// on another one may help. An error while connecting is not a loss, and neither is a time-out.
func lost(err error) bool {
	var commit uncertain
	var connecting *pgconn.ConnectError
	if errors.As(err, &commit) || errors.As(err, &connecting) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return ended(err)
}

// ended reports whether PostgreSQL or the network ended the connection.
func ended(err error) bool {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return strings.HasPrefix(said.Code, "08") || said.Code == "57P01" || said.Code == "57P02" || said.Code == "57P03" // cut, crashed, or still starting
	}
	var network *net.OpError
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrBadConn)
}
