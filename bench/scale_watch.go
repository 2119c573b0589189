package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"wxplatform/wechat/wechatsim"
)

const sampleEvery = 5 * time.Second

// sample is the state at one time.
type sample struct {
	at        time.Time
	start     int // of which start of the platform
	refreshes int
	platform  time.Duration // CPU
	database  time.Duration // CPU
	memory    float64       // MB
	backlog
}

// watch takes samples for half of the time.
func (s *scale) watch(ctx context.Context) error {
	end := time.Now().Add(s.time / 2)
	for time.Now().Before(end) {
		one, err := s.sample(ctx)
		if err != nil {
			return err
		}
		s.samples = append(s.samples, one)
		if len(s.samples)%6 == 1 {
			s.progress("%d refreshes, %d due, the oldest for %v, %d expired, %.0f MB, %s", one.refreshes, one.due, one.oldest.Round(time.Second), one.expired, one.memory, s.callers.text())
		}
		select {
		case <-time.After(sampleEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *scale) sample(ctx context.Context) (one sample, err error) {
	one.at, one.start, one.refreshes = time.Now(), len(s.starts), s.refreshes()
	var faults [4]error
	one.platform, faults[0] = s.platform.cpu()
	one.database, faults[1] = cpuOfServer(s.server)
	one.memory, faults[2] = s.platform.memory()
	one.backlog, faults[3] = s.readBacklog(ctx)
	return one, errors.Join(faults[:]...)
}

// callers call for authorizers whose tokens are not kept fresh.
type callers struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	off    bool
	took   []time.Duration
	failed int
	why    error
}

// admitCaller gives the one big tenant a client, and has it call its cold authorizers one after the
// other, a new one each time.
func (s *scale) admitCaller(ctx context.Context) error {
	if s.calls <= 0 {
		return nil
	}
	var client struct{ ID, Secret string }
	if err := s.operate(ctx, &client, "client", "create", "tbig"); err != nil {
		return err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client.ID}, "client_secret": {client.Secret}}
	got, err := s.platform.ask(ctx, "/oauth/token", "application/x-www-form-urlencoded", "", form.Encode())
	if err != nil {
		return err
	}
	ctx, s.callers.cancel = context.WithCancel(ctx)
	s.callers.done.Go(func() { s.callers.run(ctx, s, got["access_token"]) })
	return nil
}

func (c *callers) run(ctx context.Context, s *scale, jwt string) {
	tick := time.NewTicker(time.Duration(float64(time.Second) / s.calls))
	defer tick.Stop()
	for i := 0; i < s.n; i++ {
		if _, _, warm := s.mix.use(i); warm || tenantOf(i) != "tbig" {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if c.paused() {
			continue
		}
		c.done.Go(func() {
			began := time.Now()
			c.note(time.Since(began), callOnce(ctx, s, i, jwt), began)
		})
	}
}

func callOnce(ctx context.Context, s *scale, i int, jwt string) error {
	where := fmt.Sprintf("http://%s/v1/authorizers/%s/customservice/kfsession/getwaitcase", s.address, wechatsim.SyntheticAppID(i))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+jwt)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d for %s", response.StatusCode, wechatsim.SyntheticAppID(i))
	}
	return nil
}

func (c *callers) note(_ time.Duration, err error, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			c.failed, c.why = c.failed+1, err
		}
		return
	}
	c.took = append(c.took, time.Since(began))
}

func (c *callers) paused() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.off }
func (c *callers) pause()       { c.mu.Lock(); defer c.mu.Unlock(); c.off = true }
func (c *callers) goOn()        { c.mu.Lock(); defer c.mu.Unlock(); c.off = false }

func (c *callers) stop() {
	if c.cancel != nil {
		c.cancel()
	}
	c.done.Wait()
}

// text says how long callers waited for a token that had to be requested.
func (c *callers) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.took) == 0 {
		return fmt.Sprintf("no calls, %d failed", c.failed)
	}
	took := slices.Sorted(slices.Values(c.took))
	at := func(share float64) time.Duration {
		return took[int(share*float64(len(took)-1))].Round(time.Millisecond)
	}
	return fmt.Sprintf("%d calls on demand, %d failed, p50 %v, p99 %v, longest %v", len(took), c.failed, at(0.5), at(0.99), at(1))
}

// print writes Markdown, and fails if a token in use expired.
func (s *scale) print(ctx context.Context) error {
	size, err := s.databaseSize(ctx)
	redis, err2 := redisMemory(s.redis)
	late, err3 := s.renewedTooLate(ctx)
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 1, ' ', 0)
	_, _ = fmt.Fprintf(table, "| %d authorizers\t| first start\t| after the restart\t|\n|---\t|---\t|---\t|\n", s.n)
	for _, line := range s.lines() {
		_, _ = fmt.Fprintf(table, "| %s\t| %s\t| %s\t|\n", line.name, line.of(1), line.of(2))
	}
	_, _ = fmt.Fprintf(table, "| database, MB\t| \t| %d\t|\n| Redis, MB\t| \t| %d\t|\n", size>>20, redis>>20)
	if err := table.Flush(); err != nil {
		return err
	}
	expired := 0
	for _, one := range s.samples {
		expired = max(expired, one.expired)
	}
	for _, one := range s.took {
		_, _ = fmt.Fprintf(s.out, "\n%s: %v", one.what, one.time.Round(time.Millisecond))
	}
	_, _ = fmt.Fprintf(s.out, "\n%s\ntokens in use that expired: %d; that were renewed after they had: %d\n", s.callers.text(), expired, late)
	if expired > 0 || late > 0 || s.callers.failed > 0 {
		return fmt.Errorf("%d tokens in use expired, %d were renewed too late, %d calls failed (the last: %v)\n%.2000s", expired, late, s.callers.failed, s.callers.why, logOf(s.binaries))
	}
	return nil
}

// line is one line of the table.
type line struct {
	name string
	of   func(start int) string
}

func (s *scale) lines() []line {
	between := func(start int, value func(a, b sample) float64) string {
		own := s.of(start)
		return fmt.Sprintf("%.1f", value(own[0], own[len(own)-1]))
	}
	highest := func(value func(sample) float64) func(int) string {
		return func(start int) string {
			most := 0.0
			for _, one := range s.of(start) {
				most = max(most, value(one))
			}
			return fmt.Sprintf("%.0f", most)
		}
	}
	rate := func(a, b sample) float64 { return float64(b.refreshes-a.refreshes) / b.at.Sub(a.at).Seconds() }
	cores := func(used time.Duration, a, b sample) float64 { return used.Seconds() / b.at.Sub(a.at).Seconds() }
	return []line{
		{"ready after, ms", func(n int) string { return fmt.Sprint(s.starts[n-1].ready.Milliseconds()) }},
		{"tokens due at the start", func(n int) string { return fmt.Sprint(s.starts[n-1].due) }},
		{"refreshes in the first 10 s", func(n int) string { return fmt.Sprint(s.starts[n-1].first) }},
		{"refreshes a second", func(n int) string { return between(n, rate) }},
		{"refreshes a CPU second of the platform", func(n int) string {
			return between(n, func(a, b sample) float64 { return rate(a, b) / cores(b.platform-a.platform, a, b) })
		}},
		{"refreshes a CPU second, PostgreSQL's too", func(n int) string {
			return between(n, func(a, b sample) float64 {
				return rate(a, b) / cores(b.platform-a.platform+b.database-a.database, a, b)
			})
		}},
		{"cores, the platform's and PostgreSQL's", func(n int) string {
			return between(n, func(a, b sample) float64 { return cores(b.platform-a.platform, a, b) }) + ", " +
				between(n, func(a, b sample) float64 { return cores(b.database-a.database, a, b) })
		}},
		{"oldest due age, most, s", highest(func(one sample) float64 { return one.oldest.Seconds() })},
		{"oldest due age at the end, s", func(n int) string { own := s.of(n); return fmt.Sprintf("%.0f", own[len(own)-1].oldest.Seconds()) }},
		{"memory of the platform, most, MB", highest(func(one sample) float64 { return one.memory })},
	}
}

// of returns the samples of one start.
func (s *scale) of(start int) (own []sample) {
	for _, one := range s.samples {
		if one.start == start {
			own = append(own, one)
		}
	}
	return own
}

// renewedTooLate reads the platform's own histogram, since its last start.
func (s *scale) renewedTooLate(ctx context.Context) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.private+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), `wxplatform_token_left_seconds_bucket{kind="authorizer",le="0"} `); ok {
			return strconv.Atoi(value)
		}
	}
	return 0, errors.New("the platform does not tell how long tokens lived when they were renewed")
}

// redisMemory is the memory that Redis reports as used, in bytes.
func redisMemory(address string) (int64, error) {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := c.Write([]byte("INFO memory\r\n")); err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "used_memory:"); ok {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, errors.New("no used_memory in what Redis tells of itself")
}
