package authorizer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"wxplatform/authorizer"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

// odds are what a history may meet, and how often. Each history has its own few troubles, so that
// no trouble hides another.
type odds struct {
	calm                                bool // nothing but trouble of Redis
	sql, redis, cut, late               float64
	kills, pauses, outages, clocks      bool
	exchanges, merchant, restores, idle bool
	skew                                time.Duration
	steps                               int
}

func (w *world) draw() {
	some := func(values ...float64) float64 { return values[w.rng.IntN(len(values))] }
	maybe := func(share float64) bool { return w.rng.Float64() < share }
	o := odds{redis: some(0, 0, 0.1, 0.5), calm: maybe(0.1), steps: 20 + w.rng.IntN(60)}
	w.wx.overlap = []time.Duration{0, overlap}[w.rng.IntN(2)]
	w.wx.rotation = rotation(w.rng.IntN(3))
	if !o.calm {
		o.sql, o.cut, o.late = some(0, 0, 0.05, 0.2), some(0, 0.1, 0.4), some(0.1, 0.4, 0.9)
		o.kills, o.pauses, o.outages, o.clocks = maybe(0.3), maybe(0.3), maybe(0.2), maybe(0.2)
		o.exchanges, o.merchant, o.restores, o.idle = maybe(0.3), maybe(0.15), maybe(0.1), maybe(0.25)
		o.skew = time.Duration(some(0, 0, 0, -2, 2)) * time.Minute
	}
	w.odds = o
}

// replay is one history from its seed.
func replay(t *testing.T, base *db.DB, ring *seal.Ring, seed uint64, counts *tally) *world {
	w := &world{codes: map[string]bool{}, t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), began: time.Now(), base: base, ring: ring, counts: counts}
	w.shelf = &shelf{w: w, values: map[string]shelved{}}
	w.wx = &weChat{w: w, component: issued{name: "component"}, access: issued{name: "access"}, refresh: "refresh 0", used: map[string]bool{}, sent: map[string]int{}, exchange: map[string]bool{}, asks: map[string]int{}}
	w.draw()
	w.begin()
	for step := 0; step < w.odds.steps && w.violation == ""; step++ {
		w.counts.steps++
		w.choose()
		w.settle()
		w.check()
	}
	if w.violation == "" {
		w.quiet()
	}
	for _, r := range w.replicas {
		w.kill(r)
	}
	w.counts.histories++
	return w
}

// begin is an authorization some time ago, and what became of its token since.
func (w *world) begin() {
	w.reset()
	base := w.base
	base.Clock = w.dbNow
	for n := range 3 {
		w.replicas = append(w.replicas, w.boot(n))
	}
	first := w.replicas[0]
	first.booting = true
	answer := token.Answer{Access: seal.NewSecret(w.wx.give(&request{}, true)), Refresh: seal.NewSecret(w.wx.refresh), ExpiresIn: tokenLife}
	err := base.Tx(first.ctx, func(tx *db.Tx) error {
		_, err := first.reg.Grant(first.ctx, tx, authorizer.Grant{AppID: id, Answer: answer, Sent: w.dbNow()})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	first.booting = false
	w.seen = w.look()
	time.Sleep([]time.Duration{20 * time.Second, 30 * time.Minute, 70 * time.Minute, 3 * time.Hour}[w.rng.IntN(4)])
	if w.odds.calm || w.rng.IntN(2) == 0 {
		w.reject() // or it has expired: each caller wants another
	}
}

// reject has WeChat refuse the newest access token from now on.
func (w *world) reject() {
	if w.passed() < w.wx.access.expires {
		w.note("WeChat rejects the newest access token from now on")
		w.fault("newest tokens rejected")
		w.wx.access.expires = w.passed()
	}
}

var tables = []string{"tokens", "authorizers", "walks", "pauses", "tickets"}

func (w *world) reset() {
	for _, table := range tables {
		w.exec(`DELETE FROM ` + table)
	}
	w.exec(`UPDATE meta SET changes = 1`)
}

func (w *world) exec(text string) {
	if _, err := db.Exec(context.Background(), w.base, text); err != nil {
		w.t.Fatal(err)
	}
}

// act is something that may happen now, and how often it does beside the others.
type act struct {
	weight int
	do     func()
}

func (w *world) choose() {
	open := w.open()
	if len(open) > 0 && w.rng.IntN(100) < 75 {
		w.goOn(open[w.rng.IntN(len(open))])
		return
	}
	acts := w.acts()
	if w.odds.calm {
		acts = w.calmActs()
	}
	total := 0
	for _, a := range acts {
		total += a.weight
	}
	if total == 0 {
		return
	}
	n := w.rng.IntN(total)
	for _, a := range acts {
		if n -= a.weight; n < 0 {
			a.do()
			return
		}
	}
}

func (w *world) calmActs() []act {
	some := []act{{1, func() { w.pass(time.Duration(w.rng.IntN(100)) * time.Millisecond) }}, {2, w.trouble}}
	for _, r := range w.replicas {
		some = append(some, act{4, func() { w.caller(r) }})
		some = append(some, r.rounds()...)
	}
	return some
}

func (w *world) acts() []act {
	some := []act{{12, w.passSome}, {2, w.trouble}}
	if len(w.wx.requests) > 0 {
		some = append(some, act{4, func() { w.wx.act(w.wx.requests[w.rng.IntN(len(w.wx.requests))]) }})
	}
	if w.odds.outages {
		some = append(some, act{1, w.toggleSQL}, act{1, w.cutOne})
	}
	if w.odds.clocks {
		some = append(some, act{1, w.setClock})
	}
	if w.odds.restores {
		some = append(some, act{4, w.dumpOrRestore})
	}
	if w.odds.merchant {
		some = append(some, act{1, w.merchant})
	}
	some = append(some, act{12, w.reject})
	for _, r := range w.replicas {
		if r.paused {
			some = append(some, act{2, func() { r.paused = false; w.note("%s goes on", r.name) }})
			continue
		}
		some = append(some, w.actsOf(r)...)
	}
	return some
}

func (w *world) actsOf(r *process) []act {
	some := []act{{5, func() { w.caller(r) }}, {3, func() { w.keeper(r) }}, {1, func() { w.walker(r) }}, {1, func() { w.checker(r) }}}
	if w.odds.exchanges {
		some = append(some, act{2, func() { w.exchange(r, fmt.Sprint("code ", w.names)) }})
	}
	hot := 1 // for a process that has the row in its hands
	if w.holds(r) {
		hot = 12
	}
	if w.odds.kills && !w.sqlDown {
		some = append(some, act{hot, func() { w.restart(r) }})
	}
	if w.odds.pauses {
		some = append(some, act{hot, func() { r.paused = true; w.fault("processes stopped"); w.note("%s stands still", r.name) }})
	}
	return append(some, r.rounds()...)
}

// holds reports whether r is about to ask, has asked, or is about to store what it was given.
func (w *world) holds(r *process) bool {
	return slices.ContainsFunc(w.open(), func(g *gate) bool {
		return g.r == r && (g.kind == atConnect || g.kind == atAnswer || g.kind == atAnswered || g.what == "transaction of token.(*attempt).settle")
	})
}

// rounds are what Run does by itself.
func (r *process) rounds() []act {
	var some []act
	if !r.polling {
		some = append(some, act{1, r.poll})
	}
	if len(r.inbox) > 0 && !r.polling {
		some = append(some, act{3, r.hear}, act{1, r.miss})
	}
	if !r.hears && !r.w.shelf.down && !r.polling {
		some = append(some, act{2, r.miss})
	}
	return some
}

func (r *process) poll() {
	r.polling = true
	r.w.spawn(r, "poll", func(ctx context.Context) {
		defer func() { r.polling = false }()
		r.mirror.Poll(ctx)
	})
}

func (r *process) hear() {
	news := r.inbox[0]
	r.inbox = r.inbox[1:]
	r.polling = true
	r.w.spawn(r, "news", func(ctx context.Context) {
		defer func() { r.polling = false }()
		r.mirror.Hear(ctx, news)
	})
}

// miss loses what was published, and subscribes again.
func (r *process) miss() {
	r.inbox, r.hears = nil, true
	r.w.note("%s subscribes anew", r.name)
	r.mirror.Hear(r.ctx, "")
}

func (w *world) caller(r *process) {
	w.spawn(r, "caller", func(ctx context.Context) {
		_, err := r.call(ctx)
		w.tell(ctx, r, err)
		if w.odds.calm && err != nil {
			w.fail("I5: a caller was not served although nothing failed: %v", err)
		}
		if err == nil {
			w.counts.served++
		}
	})
}

func (r *process) call(ctx context.Context) (wechat.Answer, error) {
	turn, err := r.reg.Begin(ctx, authorizer.Admitted{Authorizer: authorizer.Authorizer{AppID: id}})
	if err != nil {
		return wechat.Answer{}, err
	}
	defer turn.End()
	return turn.Call(ctx, wechat.Call{Method: http.MethodGet, Path: "/cgi-bin/merchant"})
}

func (w *world) keeper(r *process) {
	w.spawn(r, "keeper", func(ctx context.Context) {
		if err := r.keep(ctx); err != nil {
			w.tell(ctx, r, err)
		}
	})
}

func (r *process) keep(ctx context.Context) error {
	due, err := r.reg.Tokens().Due(ctx, 10)
	for _, id := range due {
		_, failed := r.reg.Renew(ctx, id)
		err = errors.Join(err, failed)
	}
	return err
}

func (w *world) walker(r *process) {
	w.spawn(r, "walker", func(ctx context.Context) {
		if err := r.rec.WalkDue(ctx); err != nil {
			w.tell(ctx, r, err)
		}
	})
}

func (w *world) checker(r *process) {
	w.spawn(r, "checker", func(ctx context.Context) { w.checkRound(ctx, r) })
}

func (w *world) checkRound(ctx context.Context, r *process) {
	report := func(err error) { w.tell(ctx, r, err) }
	r.reg.RunQueues(ctx, report)
	if err := r.reg.RecoverDue(ctx); err != nil {
		report(err)
	}
}

// exchange is what package invitation does with a code, that of the browser or that of the event.
func (w *world) exchange(r *process, code string) {
	w.codes[code] = false
	w.spawn(r, "exchange of "+code, func(ctx context.Context) {
		err := r.redeem(ctx, code)
		w.tell(ctx, r, err)
		if err == nil {
			w.mu.Lock()
			w.codes[code] = true
			w.mu.Unlock()
		}
	})
}

// redeemAgain is what the inbox does: an event is worked off until its code's answer is stored.
func (w *world) redeemAgain(r *process) {
	var open []string
	for code, done := range w.codes {
		if !done {
			open = append(open, code)
		}
	}
	slices.Sort(open)
	for _, code := range open {
		w.exchange(r, code)
		w.finish(time.Minute)
	}
}

func (r *process) redeem(ctx context.Context, code string) error {
	sent, err := db.Now(ctx, r.db)
	if err != nil {
		return err
	}
	if _, err := r.reg.Component().Token(ctx); err != nil {
		return err
	}
	answer, err := r.queryAuth(ctx, code)
	if wechat.Refused(err) == wechat.AuthCodeInvalid {
		var refresh seal.Secret
		refresh, err = r.reg.WeChatList().Token(ctx, id)
		answer = token.Answer{Refresh: refresh}
	}
	if err != nil {
		return err
	}
	return r.grant(ctx, authorizer.Grant{AppID: id, Answer: answer, Sent: sent})
}

func (r *process) queryAuth(ctx context.Context, code string) (token.Answer, error) {
	var got authorizer.Grant
	_, err := r.reg.Component().Call(ctx, wechat.Call{
		Method: http.MethodPost, Path: "/cgi-bin/component/api_query_auth", Body: wechat.JSON(map[string]string{"authorization_code": code}),
		Once: true, Read: got.Read,
	})
	return got.Answer, err
}

func (r *process) grant(ctx context.Context, g authorizer.Grant) error {
	for try := 1; ; try++ {
		var granted authorizer.Granted
		err := r.db.Tx(ctx, func(tx *db.Tx) (err error) {
			granted, err = r.reg.Grant(ctx, tx, g)
			return err
		})
		if err == nil {
			granted.Publish(ctx)
		}
		if err == nil || try == 3 {
			return err
		}
		rest(ctx, time.Duration(try)*100*time.Millisecond)
	}
}

func (w *world) restart(r *process) {
	w.fault("processes killed")
	w.note("%s is killed", r.name)
	w.kill(r)
	w.replicas[r.number] = w.boot(r.number)
	w.note("%s starts", w.replicas[r.number].name)
}

func (w *world) trouble() {
	switch w.rng.IntN(4) {
	case 0:
		w.fault("Redis flushed")
		w.note("Redis is flushed")
		clear(w.shelf.values)
	case 1:
		w.fault("Redis down")
		w.note("Redis goes down")
		w.shelf.goDown()
	default:
		if w.shelf.down {
			w.note("Redis is back")
		}
		w.shelf.down = false
	}
}

func (w *world) toggleSQL() {
	w.sqlDown = !w.sqlDown
	w.note("SQL is down: %v", w.sqlDown)
	if w.sqlDown {
		w.fault("SQL down")
	}
}

func (w *world) cutOne() {
	r := w.replicas[w.rng.IntN(len(w.replicas))]
	r.cut = !r.cut
	w.note("%s has lost SQL: %v", r.name, r.cut)
	if r.cut {
		w.fault("SQL lost by one replica")
	}
}

func (w *world) setClock() {
	w.dbOff += []time.Duration{-2 * time.Minute, -10 * time.Second, 10 * time.Second, 2 * time.Minute, -time.Hour}[w.rng.IntN(5)]
	w.fault("database's clock set")
	w.note("the database's clock is set to %v of the truth", w.dbOff)
}

func (w *world) dumpOrRestore() {
	if !w.dumped {
		w.note("a dump is taken")
		for _, table := range append(tables, "meta") {
			w.exec(`DROP TABLE IF EXISTS dumped_` + table)
			w.exec(`CREATE TABLE dumped_` + table + ` AS SELECT * FROM ` + table)
		}
		w.dumped = true
		return
	}
	w.note("the dump is restored")
	w.fault("dumps restored")
	for _, table := range tables {
		w.exec(`DELETE FROM ` + table)
		w.exec(`INSERT INTO ` + table + ` SELECT * FROM dumped_` + table)
	}
	w.exec(`UPDATE meta SET changes = (SELECT changes FROM dumped_meta)`)
	w.seen, w.restored = w.look(), true
}

// merchant does, or WeChat for him, what only an authorization undoes. Or an event says so that is
// not true.
func (w *world) merchant() {
	switch n := w.rng.IntN(4); {
	case n == 0 && !w.wx.withdrawn:
		w.note("the merchant withdraws")
		w.fault("merchants withdrew")
		w.wx.withdrawn, w.wx.ended = true, true
	case n == 1 && !w.wx.dead:
		w.note("WeChat refuses the refresh token for good")
		w.fault("refresh tokens died")
		w.wx.dead, w.wx.ended = true, true
	default:
		r := w.replicas[w.rng.IntN(len(w.replicas))]
		w.spawn(r, "event unauthorized", func(ctx context.Context) { _ = r.reg.Withdrawn(ctx, id) })
	}
}

func (w *world) passSome() {
	some := []time.Duration{10 * time.Millisecond, 300 * time.Millisecond, time.Second, time.Second, 3 * time.Second, 9 * time.Second, 13 * time.Second, 13 * time.Second, 13 * time.Second, 61 * time.Second}
	if w.odds.idle {
		some = append(some, 6*time.Minute, 70*time.Minute)
	}
	d := some[w.rng.IntN(len(some))]
	w.note("%v pass", d)
	w.pass(d)
}

// pass lets time go by. What was sent is acted on within a minute of its call's beginning, or
// never.
func (w *world) pass(d time.Duration) {
	for _, q := range slices.Clone(w.wx.requests) {
		if w.passed()+d < q.until {
			continue
		}
		if w.rng.IntN(2) == 0 {
			w.note("WeChat never acts on %s", q)
			w.fault("requests lost")
			w.wx.drop(q)
			continue
		}
		w.fault("requests acted on late")
		w.wx.act(q)
	}
	time.Sleep(d)
}

// goOn lets one goroutine past its gate, to the fate that is drawn.
func (w *world) goOn(g *gate) {
	switch g.kind {
	case atSQL:
		w.toSQL(g)
	case atRedis:
		w.toRedis(g)
	case atConnect:
		w.connect(g)
	case atAnswer:
		w.answer(g)
	case atTimeout:
		fate := answerLost
		if g.r.w.rng.IntN(3) == 0 {
			fate = answerComes // if there is one
		}
		w.let(g, fate, "")
	default:
		w.let(g, 0, "")
	}
}

func (w *world) let(g *gate, fate int, how string) {
	w.note("%s %s", g, how)
	w.wrote = w.wrote || g.writes()
	w.release(g, fate)
}

func (w *world) hits(share float64) bool { return share > 0 && w.rng.Float64() < share }

func (w *world) toSQL(g *gate) {
	fate := db.Done
	switch {
	case w.sqlDown, g.r.cut:
		fate = db.Refused
	case !w.hits(w.odds.sql):
	case g.writes():
		fate = db.Fate(1 + w.rng.IntN(4))
		w.fault([]string{"", "SQL refused", "commits undone", "commits unheard", "commits slow"}[fate])
	default:
		fate = db.Refused
		w.fault("SQL refused")
	}
	w.let(g, int(fate), []string{"", "fails", "is undone", "is done, unheard", "is done, the answer is late"}[fate])
}

func (w *world) toRedis(g *gate) {
	fate := redisDone
	switch {
	case w.shelf.down:
		fate = redisFails
	case w.hits(w.odds.redis):
		fate = redisFails + w.rng.IntN(2)
		w.fault("Redis commands failed")
	}
	w.let(g, fate, []string{"", "fails", "is done, unheard"}[fate])
}

func (w *world) connect(g *gate) {
	switch {
	case w.hits(w.odds.cut / 4):
		w.fault("requests not sent")
		w.let(g, unreachable, "cannot connect")
	case w.hits(w.odds.late):
		w.let(g, connected, "is sent")
	default:
		w.let(g, through, "is sent and answered")
	}
}

// answer has WeChat act, or the answer come or get lost.
func (w *world) answer(g *gate) {
	switch {
	case w.hits(w.odds.cut):
		w.fault("answers lost")
		w.let(g, answerLost, "is lost")
	case g.q.acted:
		w.let(g, answerComes, "comes")
	case w.hits(w.odds.cut):
		w.fault("WeChat busy")
		g.q.answer = []string{refusal(-1), "502", "", "<html>"}[w.rng.IntN(4)]
		w.wx.act(g.q)
	default:
		w.wx.act(g.q)
	}
}
