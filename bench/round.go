package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// round is the result of loading one program once.
type round struct {
	cpu    float64 // µs a request, user and system
	rate   float64 // requests a second
	p50    float64 // ms
	p99    float64
	memory float64 // MB
}

// heard is the output of load.lua.
type heard struct {
	Requests, Micros, P50, P99 int64
	Wrong                      int64 // answers that were not the one expected
	Broken                     int64 // connections refused, cut or timed out
}

// rest is the pause after a round, so that the next one starts from the same quiet and buffered log
// lines are written.
const rest = 500 * time.Millisecond

// load has wrk send the program its requests for a while, and fails if a single answer was wrong.
func (b *bench) load(ctx context.Context, p *program, d time.Duration) (round, error) {
	before, err := p.cpu()
	if err != nil {
		return round{}, err
	}
	h, err := b.wrk(ctx, p, d)
	if err != nil {
		return round{}, fmt.Errorf("%s: %w", p.name, err)
	}
	after, err := p.cpu()
	if err != nil {
		return round{}, err
	}
	memory, err := p.memory()
	time.Sleep(rest)
	if err := p.checkLog(h.Requests); err != nil {
		return round{}, err
	}
	return round{
		cpu:    float64((after - before).Microseconds()) / float64(h.Requests),
		rate:   float64(h.Requests) / (float64(h.Micros) / 1e6),
		p50:    float64(h.P50) / 1000,
		p99:    float64(h.P99) / 1000,
		memory: memory,
	}, err
}

func (b *bench) wrk(ctx context.Context, p *program, d time.Duration) (heard, error) {
	command := exec.CommandContext(ctx, "wrk", "--threads", "1", "--connections", strconv.Itoa(b.connections),
		"--duration", fmt.Sprintf("%ds", int(d.Seconds())), "--script", b.script, p.url)
	command.Env = append(os.Environ(), "BENCH_CALLS="+b.callsFile(p.passes), "BENCH_ANSWER="+answerOK)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return heard{}, fmt.Errorf("wrk: %w", err)
	}
	var h heard
	last := bytes.TrimSpace(out)
	last = last[bytes.LastIndexByte(last, '\n')+1:]
	if err := json.Unmarshal(last, &h); err != nil {
		return heard{}, fmt.Errorf("wrk printed %q", last)
	}
	if h.Wrong > 0 || h.Broken > 0 || h.Requests == 0 {
		return heard{}, fmt.Errorf("of %d answers %d were wrong, and %d connections broke", h.Requests, h.Wrong, h.Broken)
	}
	return h, nil
}

// checkLog fails unless a program that does the whole job wrote a log line for each of so many
// requests, and empties the log.
func (p *program) checkLog(requests int64) error {
	if p.passes {
		return nil
	}
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err
	}
	if lines := int64(bytes.Count(text, []byte(`"msg":"request"`))); lines < requests {
		return fmt.Errorf("%s logged %d lines for %d requests", p.name, lines, requests)
	}
	return p.log.Truncate(0)
}
