package invitation

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/strict"
	"wxplatform/tenant"
)

// place is where an invitation stands in the list of its tenant, newest first.
type place struct {
	created int64 // Unix milliseconds
	hash    string
}

// first is in front of every invitation.
var first = place{created: math.MaxInt64}

func (i Invitation) place() place { return place{i.Created.UnixMilli(), i.hash} }

// String is what parsePlace reads.
func (p place) String() string { return strconv.FormatInt(p.created, 10) + "-" + p.hash }

// parsePlace reads a place that a caller sent, or fails with *strict.Fault. "" is the first place.
func parsePlace(text string) (place, error) {
	if text == "" {
		return first, nil
	}
	created, hash, _ := strings.Cut(text, "-")
	ms, err := strconv.ParseInt(created, 10, 64)
	if p := (place{ms, hash}); err == nil && isHash(hash) && p.String() == text {
		return p, nil
	}
	return place{}, &strict.Fault{Field: "after", Why: "is not the next of a page"}
}

// isHash reports whether text looks like the SHA-256 of something, in hex.
func isHash(text string) bool {
	return len(text) == 64 && strings.Trim(text, "0123456789abcdef") == ""
}

// span is a time from after, exclusive, until until, inclusive, in Unix milliseconds.
type span struct{ after, until int64 }

// stored returns as what invitations of a status are stored at a time, and when they expire. It
// fails with *strict.Fault if there is no such status.
func (s Status) stored(now time.Time) (Status, span, error) {
	switch s {
	case Authorized, NotBound, Cancelled:
		return s, span{0, math.MaxInt64}, nil
	case Pending:
		return Pending, span{now.UnixMilli(), math.MaxInt64}, nil
	case Expired:
		return Pending, span{0, now.UnixMilli()}, nil
	}
	return "", span{}, &strict.Fault{Field: "status", Why: "is none of pending, authorized, not-bound, cancelled and expired"}
}

// list returns up to limit of the owner's invitations, newest first, those that follow after and
// have the status; "" stands for any. It fails with *strict.Fault or db.ErrUnavailable.
func (s *Service) list(ctx context.Context, owner tenant.ID, status Status, after place, limit int) ([]Invitation, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	all, err := s.listAt(ctx, now, owner, status, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	for i := range all {
		all[i] = all[i].at(now)
	}
	return all, nil
}

func (s *Service) listAt(ctx context.Context, now time.Time, owner tenant.ID, status Status, after place, limit int) ([]Invitation, error) {
	if status == "" {
		return s.table.list(ctx, owner, after, limit)
	}
	stored, expire, err := status.stored(now)
	if err != nil {
		return nil, err
	}
	return s.table.listIn(ctx, owner, stored, expire, after, limit)
}
