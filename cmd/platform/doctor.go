package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

type doctorCmd struct{ format }

// text is a sentence in both languages.
type text struct{ en, zh string }

func say(en, zh string) text { return text{en, zh} }

func sayf(en, zh string, args ...any) text {
	return text{fmt.Sprintf(en, args...), fmt.Sprintf(zh, args...)}
}

// finding is the result of one check, and what to do about it.
type finding struct {
	Check string `json:"check"`
	Level string `json:"level"` // "ok", "warning", "failure"
	EN    string `json:"en"`
	ZH    string `json:"zh"`
	Do    string `json:"do,omitempty"`
	DoZH  string `json:"do_zh,omitempty"`
}

func ok(check string, what text) finding {
	return finding{Check: check, Level: "ok", EN: what.en, ZH: what.zh}
}

func warn(check string, what, do text) finding {
	return finding{check, "warning", what.en, what.zh, do.en, do.zh}
}

func bad(check string, what, do text) finding {
	return finding{check, "failure", what.en, what.zh, do.en, do.zh}
}

// line formats the finding for people.
func (f finding) line() string {
	mark := map[string]string{"ok": "✓", "warning": "!", "failure": "✗"}[f.Level]
	line := fmt.Sprintf("%s %-13s %s  %s", mark, f.Check, f.EN, f.ZH)
	if f.Do != "" {
		line += fmt.Sprintf("\n                → %s\n                → %s", f.Do, f.DoZH)
	}
	return line
}

// checkup collects findings and passes each to tell as it comes.
type checkup struct {
	tell  func(finding)
	ended func() bool // the command was told to stop
	found []finding
}

// add drops findings of checks that may have failed only because the command was told to stop.
func (e *checkup) add(findings ...finding) {
	if e.ended() {
		return
	}
	for _, f := range findings {
		e.found = append(e.found, f)
		e.tell(f)
	}
}

func (e *checkup) failed() bool {
	return slices.ContainsFunc(e.found, func(f finding) bool { return f.Level == "failure" })
}

// Run makes all checks and prints their findings. It fails if one of them is a failure, or if it is
// told to stop; then it prints no JSON, which would look complete.
func (c doctorCmd) Run(s shell) error {
	e := &checkup{found: []finding{}, ended: func() bool { return s.ctx.Err() != nil }, tell: func(f finding) {
		if !c.JSON {
			_, _ = fmt.Fprintln(s.out, f.line())
		}
	}}
	err := e.run(s)
	if e.ended() {
		return context.Cause(s.ctx)
	}
	if c.JSON {
		err = errors.Join(err, printJSON(s.out, e.found))
	}
	if err == nil && e.failed() {
		return errSilent
	}
	return err
}

// run makes the checks in order. A check whose precondition already failed is skipped.
func (e *checkup) run(s shell) error {
	c, complete := e.configuration(s)
	if c.ring == nil {
		return nil
	}
	if complete {
		e.add(servingHere(s.ctx, c))
	}
	findings, usable := database(s.ctx, c)
	e.add(findings...)
	var greeted error
	if complete {
		findings, greeted = wechatAnswers(s.ctx, c)
		e.add(findings...)
		e.add(callback(s.ctx, c))
	}
	if !usable {
		return nil
	}
	p, err := wire(s.ctx, c, io.Discard)
	if err != nil {
		return err
	}
	e.platform(s.ctx, p, c, greeted, complete)
	return p.close()
}

// configuration checks the settings. If they are not complete, it returns those that the
// database needs.
func (e *checkup) configuration(s shell) (c config, complete bool) {
	do := say("set them in the environment or with NAME_FILE; `platform help config` lists all", "设置环境变量或 NAME_FILE；全部设置见 platform help config")
	c, err := loadConfig(s.lookup, needsAll)
	for _, name := range unknownSettings(s.environ()) {
		e.add(warn("configuration", sayf("%s is no setting", "%s 不是有效的设置项", name), say("correct the name; `platform help config` lists all", "请更正名称；全部设置见 platform help config")))
	}
	if err == nil {
		e.add(ok("configuration", say("all required settings are set", "配置齐全")))
		e.add(unusual(c)...)
		return c, true
	}
	_, faults, _ := strings.Cut(err.Error(), "\n")
	e.add(bad("configuration", say(strings.ReplaceAll(faults, "\n", "; "), "配置有误"), do))
	c, _ = loadConfig(s.lookup, needsTenants)
	return c, false
}

// platform makes the checks that need the database in working order.
func (e *checkup) platform(ctx context.Context, p *platform, c config, greeted error, complete bool) {
	e.add(redisAnswers(ctx, p, c))
	running, err := p.replicas.Running(ctx)
	if err != nil {
		e.add(bad("replicas", sayf("%v", "%v", err), say("see above", "见上")))
	}
	e.add(replicasRunning(running)...)
	if complete {
		e.add(ticket(ctx, p, greeted, running), componentToken(ctx, p))
	}
	e.add(backlog(ctx, p)...)
	e.add(authorizerStates(ctx, p)...)
	if complete {
		e.add(e.release())
	}
}

// beforeRelease are the checks whose warnings mean that WeChat's test would fail.
var beforeRelease = []string{"public-url", "wechat-url"}

// release says whether the release test can be started, and where.
func (e *checkup) release() finding {
	where := say("to go live: open.weixin.qq.com → 管理中心 → 第三方平台 → 详情 → 全网发布. WeChat then tests ticket, messages and API against this platform, which answers automatically (PLATFORM_RELEASE_TEST=on)",
		"准备上线时：微信开放平台 → 管理中心 → 第三方平台 → 详情 → 全网发布；微信的接入检测由本平台自动应答（PLATFORM_RELEASE_TEST=on）")
	notReady := say("not ready for the full-network release test", "尚不能进行全网发布检测")
	if e.failed() {
		return warn("release", notReady, say("fix what is marked ✗ first", "请先处理标 ✗ 的各项"))
	}
	for _, f := range e.found {
		if f.Level == "warning" && slices.Contains(beforeRelease, f.Check) {
			return warn("release", notReady, say(f.Do, f.DoZH))
		}
	}
	return finding{"release", "ok", "ready for the full-network release test", "可以进行全网发布检测", where.en, where.zh}
}
