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
	"wxplatform/reconcile"
	"wxplatform/tenant"
	"wxplatform/walk"
	"wxplatform/wechat"
)

type reconcileCmd struct {
	format
	Assign string `help:"Afterwards assign authorizers without a tenant as this CSV file says: appid,tenant. 按 CSV 文件（appid,tenant）分配无主授权方。" type:"existingfile" placeholder:"FILE"`
}

const (
	assignAtOnce  = 500
	refusedKept   = 1000
	progressEvery = 5 * time.Second
)

// reconcileView is the result of a reconciliation as the command prints it.
type reconcileView struct {
	reconcile.Report
	Assigned *assignedView `json:"assigned,omitempty"`
}

// assignedView counts what a file of assignments did. It names the first thousand refusals.
type assignedView struct {
	Lines   int      `json:"lines"`
	Count   int      `json:"count"`
	Refused int      `json:"refused"`
	First   []string `json:"first_refused"`
}

// Run compares with WeChat's list, and then assigns what the file says.
func (c reconcileCmd) Run(s shell) error {
	return withPlatform(s, func(ctx context.Context, p *platform) error {
		by := s.actor("reconcile")
		found, err := p.reconciling.Reconcile(ctx, by, progressTo(s.errOut, time.Now))
		if errors.Is(err, walk.ErrUnderWay) {
			return fmt.Errorf("%w: run this again when it is done", err)
		}
		if err != nil {
			return err
		}
		view := reconcileView{Report: found}
		if c.Assign != "" {
			if view.Assigned, err = assign(ctx, p, by, c.Assign); err != nil {
				return err
			}
		}
		if err := c.show(s.out, view); err != nil {
			return err
		}
		if view.Assigned != nil && view.Assigned.Refused > 0 {
			return fmt.Errorf("%d assignments were refused: the authorizer is unknown or belongs to another tenant (use `platform authorizer move`)", view.Assigned.Refused)
		}
		return nil
	})
}

var findingTable = table[reconcile.Found]{
	columns: []string{"APPID", "FINDING"},
	cells:   func(f reconcile.Found) []any { return []any{f.AppID, f.Finding} },
}

func (c reconcileCmd) show(out io.Writer, v reconcileView) error {
	if c.JSON {
		return printJSON(out, v)
	}
	if err := findingTable.printTable(out, v.Findings); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d listed by WeChat; %s\n", v.Listed, summary(v.Counts))
	if a := v.Assigned; err == nil && a != nil {
		_, err = fmt.Fprintf(out, "%d of %d assigned; refused: %d %s\n", a.Count, a.Lines, a.Refused, strings.Join(a.First, " "))
	}
	return err
}

func summary(counts map[reconcile.Finding]int) string {
	var parts []string
	for _, f := range []reconcile.Finding{reconcile.Adopted, reconcile.Returned, reconcile.NotExchanged, reconcile.Offered, reconcile.Ended, reconcile.Missing} {
		if n := counts[f]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", f, n))
		}
	}
	if len(parts) == 0 {
		return "nothing differs"
	}
	return strings.Join(parts, ", ")
}

// progressTo returns a function that prints the progress of a long reconciliation to out.
func progressTo(out io.Writer, now func() time.Time) func(reconcile.Report) {
	last := now()
	return func(f reconcile.Report) {
		if now().Sub(last) < progressEvery {
			return
		}
		last = now()
		_, _ = fmt.Fprintf(out, "%d of %d: %s\n", f.Listed, f.Total, summary(f.Counts))
	}
}

// assign reads the file line by line and assigns in batches.
func assign(ctx context.Context, p *platform, by tenant.Actor, file string) (*assignedView, error) {
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
			return done, done.bind(ctx, p, by, some)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if err := known.check(ctx, p, one.Tenant); err != nil {
			return nil, err
		}
		if some = append(some, one); len(some) == assignAtOnce {
			if err := done.bind(ctx, p, by, some); err != nil {
				return nil, err
			}
			some = nil
		}
	}
}

// tenantsKnown are the tenants that were already looked up.
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

func (v *assignedView) bind(ctx context.Context, p *platform, by tenant.Actor, some []authorizer.Assignment) error {
	if len(some) == 0 {
		return nil
	}
	refused, err := p.authorizers.Assign(ctx, by, some)
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

// assignments reads lines of appid,tenant. It skips a first line that names the columns.
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
		return one, fmt.Errorf("line %d: want an appid and a tenant id", line)
	}
	return one, nil
}
