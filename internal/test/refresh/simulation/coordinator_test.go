package simulation_test

import (
	"context"
	"errors"
	"time"
)

// coordinator is a model of one that processes share, with leases as over Redis: one
// process at a time works for an id, and the others get what it got.
type coordinator struct {
	w *world

	// Guarded by w.mu:
	entries    map[string]*entry
	turns      []*turn // that have not ended
	fails      failure
	failsUntil time.Duration
}

// entry is what there is about one id.
type entry struct {
	holder     *turn
	leaseUntil time.Duration
	result     *turn // whose
	bytes      []byte
	until      time.Duration
	changed    chan struct{} // closed at a change
}

// turn is one call of Do.
type turn struct {
	p        *process
	c        *call
	id       string
	ctx      context.Context
	spending bool
	set      *set          // that came of it
	broken   string        // why others may not have its result
	until    time.Duration // until when they have
}

// seat is the coordinator as one process sees it.
type seat struct {
	k *coordinator
	p *process
}

var errCoordinator = errors.New("sim: the coordinator is unreachable")

// resultKept is how long a result stays.
const resultKept = time.Minute

// Do is authpi.RefreshCoordinator's.
func (s *seat) Do(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
	k, w, p := s.k, s.k.w, s.p
	t := &turn{p: p, c: callOf(ctx), id: id, ctx: ctx}
	w.mu.Lock()
	if p.killed {
		w.mu.Unlock()
		return nil, errKilled
	}
	k.begin(t)
	w.mu.Unlock()
	defer k.end(t)
	if err := k.reach(t); err != nil {
		return nil, err
	}
	for {
		w.mu.Lock()
		e := k.entry(id)
		if e.result != nil && w.now() < e.until {
			defer w.mu.Unlock()
			w.note(p, t.c, "the coordinator gives it the result of %v", e.result.p)
			p.told[e.result.set] = true
			return e.bytes, nil
		}
		if e.holder == nil || w.now() >= e.leaseUntil {
			k.take(e, t)
			w.mu.Unlock()
			return k.work(e, t, spend)
		}
		changed, rest := e.changed, e.leaseUntil-w.now()
		w.mu.Unlock()
		if err := k.waitFor(t, changed, rest); err != nil {
			return nil, err
		}
	}
}

// begin notes a Do. There is one at a time for each token and process. w.mu is held.
func (k *coordinator) begin(t *turn) {
	for _, other := range k.turns {
		if other.p == t.p && other.id == t.id && other.ctx.Err() == nil {
			k.w.violate(oneDo, t.p, t.c, "a second Do, while one goes on")
		}
	}
	k.turns = append(k.turns, t)
}

func (k *coordinator) end(t *turn) {
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	for n, other := range k.turns {
		if other == t {
			k.turns = append(k.turns[:n], k.turns[n+1:]...)
			return
		}
	}
}

// turnOf is the Do within which a process now spends for a call. w.mu is held.
func (k *coordinator) turnOf(ctx context.Context, p *process) *turn {
	for _, t := range k.turns {
		same := t.c == callOf(ctx) && t.ctx.Value(nestedKey{}) == ctx.Value(nestedKey{})
		if t.p == p && same && t.spending {
			return t
		}
	}
	return nil
}

func (k *coordinator) failing() failure {
	if k.w.now() < k.failsUntil {
		return k.fails
	}
	return works
}

// reach is the way to the coordinator.
func (k *coordinator) reach(t *turn) error {
	k.w.mu.Lock()
	fails := k.failing()
	takes := k.w.failing(t.c, fails, nil) / 4
	if fails == hangs || fails == deaf {
		takes *= 4
	}
	if fails != works {
		k.w.note(t.p, t.c, "asks the coordinator, which %v", fails)
	}
	k.w.mu.Unlock()
	if err := t.p.wait(t.ctx, takes, fails == deaf); err != nil {
		return err
	}
	if fails == refuses {
		return errCoordinator
	}
	return nil
}

func (k *coordinator) entry(id string) *entry {
	e := k.entries[id]
	if e == nil {
		e = &entry{changed: make(chan struct{})}
		k.entries[id] = e
	}
	return e
}

func (e *entry) change() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// take gives the lease to a turn, over one that has let it run out. w.mu is held.
func (k *coordinator) take(e *entry, t *turn) {
	if e.holder != nil {
		e.holder.broken = "its lease ran out"
		k.w.note(t.p, t.c, "takes over the lease of %v", e.holder.p)
	}
	e.holder, e.leaseUntil = t, k.w.now()+k.w.h.setup.lease
	t.spending = true
}

// waitFor waits for the holder of the lease, or for the end of the lease.
func (k *coordinator) waitFor(t *turn, changed <-chan struct{}, rest time.Duration) error {
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-t.ctx.Done():
		return t.ctx.Err()
	case <-t.p.dead:
		return errKilled
	}
	return t.p.run(t.ctx, false)
}

// work spends under the lease, and publishes what came of it.
func (k *coordinator) work(e *entry, t *turn, spend func(context.Context) ([]byte, error)) ([]byte, error) {
	over := make(chan struct{})
	go k.renew(e, t, over)
	bytes, err := spend(t.ctx)
	runs := t.p.run(t.ctx, true)
	close(over)
	w := k.w
	w.mu.Lock()
	t.spending = false
	if err != nil || runs != nil {
		if e.holder == t && runs == nil {
			e.holder = nil
			e.change()
		}
		w.mu.Unlock()
		return nil, errors.Join(err, runs)
	}
	w.mu.Unlock()
	k.publish(e, t, bytes)
	return bytes, nil
}

// renew keeps a lease while its holder runs and the coordinator can be reached.
func (k *coordinator) renew(e *entry, t *turn, over <-chan struct{}) {
	ticker := time.NewTicker(k.w.h.setup.lease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-over:
			return
		case <-t.p.dead:
			return
		case <-ticker.C:
		}
		k.w.mu.Lock()
		if fails := k.failing(); e.holder == t && t.p.resumed == nil && (fails == works || fails == loses) {
			e.leaseUntil = k.w.now() + k.w.h.setup.lease
		}
		k.w.mu.Unlock()
	}
}

// publish makes a result known. What somebody else has published stays.
func (k *coordinator) publish(e *entry, t *turn, bytes []byte) {
	w := k.w
	w.mu.Lock()
	fails := k.failing()
	takes := w.failing(t.c, fails, nil) / 4
	if fails == hangs || fails == deaf {
		takes *= 4
	}
	w.mu.Unlock()
	err := t.p.wait(context.WithoutCancel(t.ctx), min(takes, deafHigh), fails == deaf)
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.holder == t {
		e.holder = nil
		defer e.change()
	}
	if err != nil || fails != works && fails != slow {
		t.broken = "the coordinator " + fails.String()
		w.note(t.p, t.c, "its result is not published")
		return
	}
	t.until = w.now() + resultKept
	if e.result == nil || w.now() >= e.until {
		e.result, e.bytes, e.until = t, bytes, t.until
	}
}
