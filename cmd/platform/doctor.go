package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

type doctorCmd struct{ format }

// text says one thing in both languages.
type text struct{ en, zh string }

func say(en, zh string) text { return text{en, zh} }

func sayf(en, zh string, args ...any) text {
	return text{fmt.Sprintf(en, args...), fmt.Sprintf(zh, args...)}
}

// finding is what one check found: one line, and what to do about it.
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

// line is the finding for people.
func (f finding) line() string {
	mark := map[string]string{"ok": "✓", "warning": "!", "failure": "✗"}[f.Level]
	line := fmt.Sprintf("%s %-13s %s  %s", mark, f.Check, f.EN, f.ZH)
	if f.Do != "" {
		line += fmt.Sprintf("\n                → %s\n                → %s", f.Do, f.DoZH)
	}
	return line
}

// examination tells each finding as it comes, and keeps all of them.
type examination struct {
	tell  func(finding)
	found []finding
}

func (e *examination) note(findings ...finding) {
	for _, f := range findings {
		e.found = append(e.found, f)
		e.tell(f)
	}
}

func (e *examination) failed() bool {
	return slices.ContainsFunc(e.found, func(f finding) bool { return f.Level == "failure" })
}

// Run checks one thing after the other, and fails if one is as it must not be.
func (c doctorCmd) Run(s stage) error {
	e := &examination{found: []finding{}, tell: func(f finding) {
		if !c.JSON {
			_, _ = fmt.Fprintln(s.out, f.line())
		}
	}}
	err := e.examine(s)
	if c.JSON {
		encoder := json.NewEncoder(s.out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		err = errors.Join(err, encoder.Encode(e.found))
	}
	if err == nil && e.failed() {
		return errSilent
	}
	return err
}

// examine asks each part its question. Those that need what is not there are passed over: what they would say follows from it.
func (e *examination) examine(s stage) error {
	c, whole := e.configuration(s)
	if c.ring == nil {
		return nil
	}
	if whole {
		e.note(servingHere(s.ctx, c))
	}
	findings, usable := database(s.ctx, c)
	e.note(findings...)
	if whole {
		e.note(greeting(s.ctx, c)...)
		e.note(callback(s.ctx, c))
	}
	if !usable {
		return nil
	}
	p, err := wire(s.ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	e.platform(s.ctx, p, c, whole)
	return p.close()
}

// configuration is what the settings say, whole or only as far as the database needs them.
func (e *examination) configuration(s stage) (c config, whole bool) {
	do := say("set them in the environment, or NAME_FILE; `platform help config` lists all", "设置环境变量或 NAME_FILE；全部设置见 platform help config")
	c, err := loadConfig(s.lookup, needsAll)
	if err == nil {
		e.note(ok("configuration", say("all settings are there", "配置齐全")))
		e.note(peculiar(c)...)
		return c, true
	}
	_, faults, _ := strings.Cut(err.Error(), "\n")
	e.note(bad("configuration", say(strings.ReplaceAll(faults, "\n", "; "), "配置有误"), do))
	c, _ = loadConfig(s.lookup, needsTenants)
	return c, false
}

func (e *examination) platform(ctx context.Context, p *platform, c config, whole bool) {
	e.note(redisAnswers(ctx, p, c))
	if whole {
		e.note(ticket(ctx, p), componentToken(ctx, p))
	}
	e.note(backlog(ctx, p)...)
	e.note(states(ctx, p)...)
	if whole {
		e.note(e.release())
	}
}

// release says where to begin what comes after all this.
func (e *examination) release() finding {
	where := say("when the merchants are to come: open.weixin.qq.com → 管理中心 → 第三方平台 → 详情 → 全网发布. WeChat then tests ticket, messages and API against this platform, which answers by itself (PLATFORM_RELEASE_TEST=on)",
		"准备上线时：微信开放平台 → 管理中心 → 第三方平台 → 详情 → 全网发布；微信的接入检测由本平台自动应答（PLATFORM_RELEASE_TEST=on）")
	if e.failed() {
		return warn("release", say("not ready for the full-network release test", "尚不能进行全网发布检测"), say("put right what is marked ✗ first", "请先处理标 ✗ 的各项"))
	}
	return finding{"release", "ok", "ready for the full-network release test", "可以进行全网发布检测", where.en, where.zh}
}
