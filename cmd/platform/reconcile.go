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

	"wxplatform/audit"
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
	return errors.Join(err, explain(out, v.Counts))
}

// meaning is what a finding says of an account, and what the operator does about it.
type meaning struct {
	of reconcile.Finding
	text
}

// meanings has every finding, in the order of the summary.
var meanings = []meaning{
	{reconcile.Adopted, say("WeChat lists it and it was not stored here. It is stored now and belongs to no tenant. Assign it with `platform authorizer move APPID TENANT`, or many with `platform reconcile --assign FILE`.",
		"微信已列出而本地没有：现已存入，不属于任何租户。请用 platform authorizer move APPID 租户 分配，或用 platform reconcile --assign 文件 批量分配。")},
	{reconcile.Returned, say("It had withdrawn, and authorized again without an event that reached the platform. It is kept and belongs to no tenant. Assign it with `platform authorizer move APPID TENANT`.",
		"曾取消授权，后又重新授权，但平台没有收到事件：已保留，不属于任何租户。请用 platform authorizer move APPID 租户 分配。")},
	{reconcile.NotExchanged, say("WeChat lists it without a refresh token, because its auth code was never exchanged. It is not stored and cannot be called. If the merchant expects it to work, send a new invitation.",
		"微信已列出，但授权码从未换取，没有刷新令牌：未存入，不能调用。若商家需要使用，请重新发送邀请。")},
	{reconcile.Offered, say("WeChat lists another refresh token than the stored one. The platform tries it if WeChat refuses its own: nothing to do. Many of them mean that an older backup was restored, that a lost sealing key was given up, or that another program uses this component.",
		"微信列出的刷新令牌与本地不同：本地令牌被拒时会自动试用，无需处理。若大量出现，可能是恢复了较旧的备份、放弃了丢失的加密主密钥，或有其他程序在使用同一第三方平台。")},
	{reconcile.Ended, say("WeChat refused its refresh token and lists no other one. Calls are refused until the merchant authorizes again: send a new invitation.",
		"微信拒绝了它的刷新令牌，列表中也没有其他令牌：商家重新授权之前无法调用，请重新发送邀请。")},
	{reconcile.Missing, say("WeChat no longer lists it. The platform asks WeChat whether the merchant withdrew, and calls go on until WeChat confirms that. Nothing to do; `platform authorizer show APPID` has the result after some minutes.",
		"微信已不再列出：平台会向微信核实商家是否取消授权，确认之前照常调用。无需处理；几分钟后可用 platform authorizer show APPID 查看结果。")},
}

// explain prints what the findings that there are mean.
func explain(out io.Writer, counts map[reconcile.Finding]int) error {
	var faults []error
	for _, m := range meanings {
		if counts[m.of] > 0 {
			_, err := fmt.Fprintf(out, "\n%s: %s\n%s：%s\n", m.of, m.en, m.of, m.zh)
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func summary(counts map[reconcile.Finding]int) string {
	var parts []string
	for _, m := range meanings {
		if n := counts[m.of]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", m.of, n))
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
func assign(ctx context.Context, p *platform, by audit.Actor, file string) (*assignedView, error) {
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

func (v *assignedView) bind(ctx context.Context, p *platform, by audit.Actor, some []authorizer.Assignment) error {
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
