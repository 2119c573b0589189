package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"wxplatform/authorizer"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

type reconcileCmd struct {
	format
	Assign string `help:"Then give authorizers that are nobody's to tenants, as this CSV file says: appid,tenant. 按 CSV 文件（appid,tenant）分配无主授权方。" type:"existingfile" placeholder:"FILE"`
}

const (
	assignAtOnce  = 500
	refusedKept   = 1000
	progressEvery = 5 * time.Second
)

// reconcileView is how a reconciliation is shown.
type reconcileView struct {
	authorizer.Reconciled
	Assigned *assignedView `json:"assigned,omitempty"`
}

// assignedView counts what a file of assignments did. The first thousand refusals are named.
type assignedView struct {
	Lines   int      `json:"lines"`
	Count   int      `json:"count"`
	Refused int      `json:"refused"`
	First   []string `json:"first_refused"`
}

// Run walks through WeChat's list, and assigns.
func (c reconcileCmd) Run(s stage) error {
	return withPlatform(s, func(ctx context.Context, p *platform) error {
		found, err := p.authorizers.Reconcile(ctx, progressTo(s.errOut, time.Now))
		if errors.Is(err, authorizer.ErrWalking) {
			return fmt.Errorf("%w: run this again when it is done", err)
		}
		if err != nil {
			return err
		}
		view := reconcileView{Reconciled: found}
		if c.Assign != "" {
			if view.Assigned, err = assign(ctx, p, c.Assign); err != nil {
				return err
			}
		}
		if err := c.show(s.out, view); err != nil {
			return err
		}
		if view.Assigned != nil && view.Assigned.Refused > 0 {
			return fmt.Errorf("%d assignments were refused: their authorizer is unknown, or another tenant's (`platform authorizer move`)", view.Assigned.Refused)
		}
		return nil
	})
}

func (c reconcileCmd) show(out io.Writer, v reconcileView) error {
	rows := []string{}
	for _, f := range v.Findings {
		rows = append(rows, fmt.Sprintf("%s\t%s", f.AppID, f.Finding))
	}
	if err := c.print(out, v, "APPID\tFINDING", rows); err != nil || c.JSON {
		return err
	}
	_, err := fmt.Fprintf(out, "%d listed by WeChat; %s\n", v.Listed, summary(v.Counts))
	if a := v.Assigned; err == nil && a != nil {
		_, err = fmt.Fprintf(out, "%d of %d assigned; refused: %d %s\n", a.Count, a.Lines, a.Refused, strings.Join(a.First, " "))
	}
	return err
}

func summary(counts map[authorizer.Finding]int) string {
	var parts []string
	for _, f := range []authorizer.Finding{authorizer.Adopted, authorizer.Returned, authorizer.NotExchanged, authorizer.Offered, authorizer.Ended, authorizer.Missing} {
		if n := counts[f]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", f, n))
		}
	}
	if len(parts) == 0 {
		return "nothing differs"
	}
	return strings.Join(parts, ", ")
}

// progressTo says now and then how far a long walk is.
func progressTo(out io.Writer, now func() time.Time) func(authorizer.Reconciled) {
	last := now()
	return func(f authorizer.Reconciled) {
		if now().Sub(last) < progressEvery {
			return
		}
		last = now()
		_, _ = fmt.Fprintf(out, "%d of %d: %s\n", f.Listed, f.Total, summary(f.Counts))
	}
}

// assign reads the file line by line and binds some at once.
func assign(ctx context.Context, p *platform, file string) (*assignedView, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	done := &assignedView{First: []string{}}
	known := tenantsKnown{}
	var some []authorizer.Assignment
	for lines := newAssignments(f); ; {
		one, err := lines.next()
		if errors.Is(err, io.EOF) {
			return done, done.bind(ctx, p, some)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if err := known.check(ctx, p, one.Tenant); err != nil {
			return nil, err
		}
		if some = append(some, one); len(some) == assignAtOnce {
			if err := done.bind(ctx, p, some); err != nil {
				return nil, err
			}
			some = nil
		}
	}
}

// tenantsKnown are tenants that were looked up already.
type tenantsKnown map[tenant.ID]bool

func (k tenantsKnown) check(ctx context.Context, p *platform, id tenant.ID) error {
	if k[id] {
		return nil
	}
	if _, err := p.tenants.ShowTenant(ctx, id); err != nil {
		return err
	}
	k[id] = true
	return nil
}

func (v *assignedView) bind(ctx context.Context, p *platform, some []authorizer.Assignment) error {
	if len(some) == 0 {
		return nil
	}
	refused, err := p.authorizers.Assign(ctx, some)
	if err != nil {
		return err
	}
	v.Lines, v.Count, v.Refused = v.Lines+len(some), v.Count+len(some)-len(refused), v.Refused+len(refused)
	for _, one := range refused {
		if len(v.First) < refusedKept {
			v.First = append(v.First, string(one.AppID))
		}
	}
	return nil
}

// assignments reads lines of appid,tenant; a first line that names the columns is passed over.
type assignments struct {
	lines *csv.Reader
	first bool
}

func newAssignments(from io.Reader) *assignments {
	lines := csv.NewReader(from)
	lines.FieldsPerRecord, lines.ReuseRecord, lines.TrimLeadingSpace = 2, true, true
	return &assignments{lines, true}
}

func (a *assignments) next() (authorizer.Assignment, error) {
	fields, err := a.lines.Read()
	if err != nil {
		return authorizer.Assignment{}, err
	}
	heading := a.first && strings.TrimPrefix(fields[0], "\ufeff") == "appid" && fields[1] == "tenant"
	if a.first = false; heading {
		return a.next()
	}
	one := authorizer.Assignment{AppID: wechat.AppID(strings.TrimSpace(fields[0])), Tenant: tenant.ID(strings.TrimSpace(fields[1]))}
	if !one.AppID.Plausible() || one.Tenant == "" {
		line, _ := a.lines.FieldPos(0)
		return one, fmt.Errorf("line %d: want an appid and a tenant's id", line)
	}
	return one, nil
}
