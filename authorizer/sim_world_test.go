package authorizer_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wxplatform/authorizer"
	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/reconcile"
	"wxplatform/wechat"
)

// world is one history: some replicas of the code that serves before one database, one Redis and
// one WeChat. All that leaves a replica waits at a gate, and of all that wait one goes on at a
// time, chosen by the seed. Between two choices everything has come to rest, and time stands still.
type world struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	began time.Time
	base  *db.DB
	ring  *seal.Ring

	wx       *weChat
	shelf    *shelf
	replicas []*process
	odds     odds
	dbOff    time.Duration // by how much the database's clock was set
	sqlDown  bool
	dumped   bool
	restored bool
	names    int
	counts   *tally

	seen      seen  // what the checks saw last
	issued    int64 // the highest fence that they saw
	wrote     bool  // since then
	answers   []string
	codes     map[string]bool // auth codes: whether what they gave is stored
	violation string

	mu      sync.Mutex
	waiting []*gate
	tasks   int
	tied    bool // two gates could not be told apart: another replay may take the other one first
	trace   []string
	told    []string
}

const id = authorizer.ID

// epoch is when every history begins, by all clocks.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *world) passed() time.Duration { return time.Since(w.began) }
func (w *world) dbNow() time.Time      { return epoch.Add(w.passed() + w.dbOff) }

// note writes down what happens.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace = append(w.trace, w.line(format, args))
}

// tell writes down how what was begun ended. Several end at once, in no order, so they stand in
// that of their names.
func (w *world) tell(ctx context.Context, r *process, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, w.line("%s %s ends: %v", []any{r.name, taskOf(ctx), err}))
}

func (w *world) line(format string, args []any) string {
	return fmt.Sprintf("%10.3f  ", w.passed().Seconds()) + fmt.Sprintf(format, args...)
}

func (w *world) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.note("VIOLATION %s", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.violation == "" {
		w.violation = text
	}
}

// process is one replica.
type process struct {
	w      *world
	name   string
	number int
	skew   time.Duration // of its clock
	db     *db.DB
	mirror *mirror.Mirror
	reg    *authorizer.Registry
	rec    *reconcile.Service
	ctx    context.Context
	stop   context.CancelFunc

	booting bool
	paused  bool
	cut     bool // it alone has lost SQL
	hears   bool // its subscription stands
	inbox   []string
	polling bool // the mirror's rounds come one after the other

	dead bool // under w.mu
}

func (w *world) boot(number int) *process {
	w.names++
	r := &process{w: w, number: number, name: fmt.Sprintf("r%d.%d", number, w.names), booting: true, hears: true}
	r.ctx, r.stop = context.WithCancel(context.Background())
	if number == 2 {
		r.skew = w.odds.skew
	}
	r.db = w.base.OtherProcess()
	r.db.Clock, r.db.Gate = w.dbNow, r.sqlGate
	r.mirror = mirror.Simulated(r.ctx, hook{r}, func() time.Time { return epoch.Add(w.passed() + r.skew) }, r.db, w.ring)
	reg, componentTokens := authorizer.Wire(w.t, r.db, r.mirror, w.ring, wechat.Simulated(r.send))
	r.rec = reconcile.New(r.db, reg)
	r.reg, componentTokens.Spread, reg.Tokens().Spread = reg, w.spread, w.spread
	if err := reg.Component().Keep(r.ctx, component.Ticket{Value: seal.NewSecret("ticket"), Created: epoch, Received: epoch}); err != nil {
		w.t.Fatal(err)
	}
	r.booting = false
	return r
}

// spread is the same for all, so that it does not depend on who comes first.
func (w *world) spread() float64 { return float64(w.seed%16) / 16 }

type taskName struct{}

func taskOf(ctx context.Context) string {
	name, _ := ctx.Value(taskName{}).(string)
	return name
}

// spawn begins something on r that goes on by itself. ctx names it.
func (w *world) spawn(r *process, name string, act func(ctx context.Context)) {
	w.names++
	name = fmt.Sprintf("%s %d", name, w.names)
	w.note("%s begins %s", r.name, name)
	w.mu.Lock()
	w.tasks++
	w.mu.Unlock()
	go func() {
		defer func() {
			w.mu.Lock()
			w.tasks--
			w.mu.Unlock()
		}()
		act(context.WithValue(r.ctx, taskName{}, name))
	}()
}

type kind int

const (
	atSQL      kind = iota
	atAnswered      // by SQL
	atRedis
	atConnect // nothing was sent yet
	atAnswer  // a request is under way
	atTimeout // the call's time is over
	atCall    // a merchant's call
)

// gate is where a goroutine of a replica waits before something that others can see.
type gate struct {
	r     *process
	task  string // of those for whom it is done, one: of several who share a flight any may have begun it
	kind  kind
	what  string
	q     *request // atAnswer
	order chan order
}

type order struct {
	die  bool
	fate int
}

func (g *gate) compare(h *gate) int {
	return cmp.Or(cmp.Compare(g.r.name, h.r.name), cmp.Compare(g.kind, h.kind), cmp.Compare(g.what, h.what), cmp.Compare(g.task, h.task))
}

// writes reports whether SQL may be another one behind g.
func (g *gate) writes() bool { return g.kind == atSQL && !strings.HasPrefix(g.what, "SELECT") }

func (g *gate) String() string { return fmt.Sprintf("%s %s: %s", g.r.name, g.task, g.what) }

// enter puts a gate up; nil is for a process that was killed, whose goroutines end here.
func (r *process) enter(ctx context.Context, g *gate) *gate {
	g.r, g.task, g.order = r, taskOf(ctx), make(chan order, 1)
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if r.dead {
		return nil
	}
	r.w.waiting = append(r.w.waiting, g)
	return g
}

// wait is the fate of what is about to be done.
func (r *process) wait(ctx context.Context, kind kind, what string) int {
	g := r.enter(ctx, &gate{kind: kind, what: what})
	if g == nil {
		runtime.Goexit()
	}
	o := <-g.order
	if o.die {
		runtime.Goexit()
	}
	return o.fate
}

// leave takes a gate down whose goroutine goes on by itself.
func (w *world) leave(g *gate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = slices.DeleteFunc(w.waiting, func(other *gate) bool { return other == g })
}

func (w *world) release(g *gate, fate int) {
	w.leave(g)
	g.order <- order{fate: fate}
}

// open are the gates of running replicas, in an order that the goroutines' own does not touch.
func (w *world) open() []*gate {
	w.mu.Lock()
	defer w.mu.Unlock()
	var some []*gate
	for _, g := range w.waiting {
		if !g.r.paused {
			some = append(some, g)
		}
	}
	slices.SortStableFunc(some, (*gate).compare)
	for i := 1; i < len(some); i++ {
		w.tied = w.tied || some[i-1].compare(some[i]) == 0
	}
	return some
}

func (w *world) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tasks > 0 || len(w.waiting) > 0
}

// kill ends a process: nothing of it goes on, and what it sent is at WeChat.
func (w *world) kill(r *process) {
	w.mu.Lock()
	r.dead, r.paused = true, false
	var its []*gate
	w.waiting = slices.DeleteFunc(w.waiting, func(g *gate) bool {
		if g.r == r {
			its = append(its, g)
		}
		return g.r == r
	})
	w.mu.Unlock()
	for _, g := range its {
		g.order <- order{die: true}
	}
	r.stop()
	synctest.Wait()
	_ = r.mirror.Close()
	synctest.Wait()
}

// rest is a sleep that a kill ends.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// settle lets everything come to rest.
func (w *world) settle() {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.told)
	w.trace, w.told = append(w.trace, w.told...), nil
}

func (r *process) sqlGate(ctx context.Context, text string, args []any) db.Fate {
	switch {
	case r.booting:
		return db.Done
	case text == "" && len(args) > 0:
		return db.Fate(r.wait(ctx, atAnswered, "answer to "+caller()))
	case text == "":
		return db.Fate(r.wait(ctx, atSQL, "transaction of "+caller()))
	}
	return db.Fate(r.wait(ctx, atSQL, brief(text, args)))
}

// brief names a statement by its first word, its table and the row.
func brief(text string, args []any) string {
	words := strings.Fields(text)
	for i, word := range words {
		if word == "FROM" || word == "UPDATE" || word == "INTO" {
			text = words[0] + " " + words[i+1]
		}
	}
	return fmt.Sprint(text, " ", args[:min(len(args), 2)])
}

// caller is the function of ours that wants a transaction.
func caller() string {
	var some [8]uintptr
	frames := runtime.CallersFrames(some[:runtime.Callers(3, some[:])])
	for {
		f, more := frames.Next()
		name := f.Function[strings.LastIndex(f.Function, "/")+1:]
		if !more || !strings.HasPrefix(name, "db.") && !strings.HasSuffix(name, ").change") {
			return name
		}
	}
}

// tally is what histories had in them.
type tally struct {
	histories, asks, calls, served, steps int
	faults                                map[string]int
}

func (c *tally) add(d *tally) {
	c.histories, c.asks, c.calls, c.served, c.steps = c.histories+d.histories, c.asks+d.asks, c.calls+d.calls, c.served+d.served, c.steps+d.steps
	for what, n := range d.faults {
		c.faults[what] += n
	}
}

func (w *world) fault(what string) { w.counts.faults[what]++ }
