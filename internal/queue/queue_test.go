package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// table keeps rows in memory. Rows are numbers.
type table struct {
	work func(ctx context.Context, row int) (time.Duration, error)

	mu        sync.Mutex
	due       map[int]time.Time
	others    []int // rows that another process takes just before we do
	listed    int
	atWork    int
	most      int // worked on at the same time
	finished  []int
	postponed []int
	errs      []error
}

func newTable(rows int, work func(ctx context.Context, row int) (time.Duration, error)) *table {
	t := &table{work: work, due: map[int]time.Time{}}
	for row := range rows {
		t.due[row] = time.Now()
	}
	return t
}

func (t *table) Due(_ context.Context, most int) ([]int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listed++
	var rows []int
	for row, at := range t.due {
		if !at.After(time.Now()) {
			rows = append(rows, row)
		}
	}
	slices.Sort(rows)
	return rows[:min(most, len(rows))], nil
}

const (
	lease    = time.Minute
	patience = 50 * time.Second
)

func (t *table) Lease(_ context.Context, row int) (int, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if slices.Contains(t.others, row) || t.due[row].After(time.Now()) {
		return row, false, nil
	}
	t.due[row] = time.Now().Add(lease)
	return row, true, nil
}

func (t *table) Work(ctx context.Context, row int) (time.Duration, error) {
	t.mu.Lock()
	t.atWork++
	t.most = max(t.most, t.atWork)
	t.mu.Unlock()
	again, err := t.work(ctx, row)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.atWork--
	return again, err
}

func (t *table) Finish(ctx context.Context, row int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() == nil {
		delete(t.due, row)
		t.finished = append(t.finished, row)
	}
	return ctx.Err()
}

func (t *table) Postpone(ctx context.Context, row int, again time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() == nil {
		t.due[row] = time.Now().Add(again)
		t.postponed = append(t.postponed, row)
	}
	return ctx.Err()
}

func (t *table) report(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errs = append(t.errs, err)
}

// run runs a queue of t for d; it works on four rows at the same time.
func run(t *table, d time.Duration) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error)
	go func() { ended <- New(t, 4, time.Second, patience).Run(ctx, t.report) }()
	time.Sleep(d)
	synctest.Wait()
	stop()
	<-ended
}

func instant(context.Context, int) (time.Duration, error) { return 0, nil }

func TestASlowRowDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := newTable(100, func(ctx context.Context, row int) (time.Duration, error) {
			if row < 3 {
				time.Sleep(40 * time.Second)
			}
			return 0, nil
		})
		run(rows, 500*time.Millisecond) // before the queue looks for rows again
		if len(rows.finished) != 100 || slices.Min(rows.finished[:97]) != 3 {
			t.Errorf("got %v finished in this order, want all, the slow ones last", rows.finished)
		}
	})
}

func TestNoMoreRowsAreWorkedAtOnceThanAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := newTable(20, func(context.Context, int) (time.Duration, error) { time.Sleep(10 * time.Second); return 0, nil })
		run(rows, 51*time.Second)
		if rows.most != 4 || len(rows.finished) != 20 {
			t.Errorf("got %d at once and %d finished, want 4 and 20 in five turns", rows.most, len(rows.finished))
		}
	})
}

func TestAFailureIsReportedAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom, tries := errors.New("boom"), 0
		rows := newTable(1, func(context.Context, int) (time.Duration, error) {
			if tries++; tries == 1 {
				return 10 * time.Second, boom
			}
			return 0, nil
		})
		run(rows, 9*time.Second)
		if tries != 1 || len(rows.errs) != 1 || !errors.Is(rows.errs[0], boom) || len(rows.postponed) != 1 {
			t.Errorf("got %d tries, %v reported, %v postponed, want one of each", tries, rows.errs, rows.postponed)
		}
		run(rows, 3*time.Second)
		if tries != 2 || len(rows.finished) != 1 {
			t.Errorf("got %d tries and %v finished, want it tried again after ten seconds", tries, rows.finished)
		}
	})
}

func TestAFailureThatNamesNoTimeIsTriedAgainWhenItsLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		rows := newTable(1, func(context.Context, int) (time.Duration, error) { tries++; return 0, errors.New("boom") })
		run(rows, lease-time.Second)
		if tries != 1 || len(rows.postponed)+len(rows.finished) != 0 {
			t.Errorf("got %d tries, %v postponed and %v finished, want one try", tries, rows.postponed, rows.finished)
		}
		run(rows, 3*time.Second)
		if tries != 2 {
			t.Errorf("got %d tries, want 2", tries)
		}
	})
}

func TestARowThatAnotherProcessTookIsNotWorked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := newTable(2, instant)
		rows.others = []int{0}
		run(rows, 10500*time.Millisecond)
		if !slices.Equal(rows.finished, []int{1}) {
			t.Errorf("got %v finished, want row 1 alone", rows.finished)
		}
		if rows.listed > 13 { // once a second, and once more after row 1
			t.Errorf("got rows looked for %d times in ten seconds", rows.listed)
		}
	})
}

func TestWorkIsGivenUpBeforeItsLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took time.Duration
		rows := newTable(1, func(ctx context.Context, _ int) (time.Duration, error) {
			began := time.Now()
			<-ctx.Done()
			took = time.Since(began)
			return time.Hour, ctx.Err()
		})
		run(rows, lease)
		if took != patience || len(rows.postponed) != 1 || len(rows.errs) != 1 {
			t.Errorf("got work that hangs given up after %v, %v postponed and %v reported, want %v and one of each", took, rows.postponed, rows.errs, patience)
		}
	})
}

func TestWorkInFlightAtTheEndIsFinishedAndStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := newTable(2, func(ctx context.Context, row int) (time.Duration, error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			return time.Duration(row) * time.Second, nil
		})
		run(rows, time.Second)
		if len(rows.finished) != 1 || len(rows.postponed) != 1 || len(rows.errs) != 0 {
			t.Errorf("got %v finished, %v postponed, %v reported, want one, one and none", rows.finished, rows.postponed, rows.errs)
		}
	})
}

func TestWakeLooksForRowsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := newTable(0, instant)
		q := New(rows, 1, time.Hour, patience)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- q.Run(ctx, rows.report) }()
		synctest.Wait()
		rows.mu.Lock()
		rows.due[7] = time.Now()
		rows.mu.Unlock()
		q.Wake()
		synctest.Wait()
		stop()
		<-ended
		if !slices.Equal(rows.finished, []int{7}) {
			t.Errorf("got %v finished, want row 7", rows.finished)
		}
	})
}
