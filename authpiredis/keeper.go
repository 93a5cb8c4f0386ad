package authpiredis

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// keeper does what this process owes to Redis: it renews the leases of refreshes
// under way, and offers results until Redis has them. It has one goroutine, which
// runs while there is something to do. A process that was stopped finds it due at
// once when it goes on.
type keeper struct {
	c *Coordinator

	mu      sync.Mutex // guards all below, and what is in the holds
	held    map[string]*hold
	results int // how many of them are spent
	running bool
}

// hold is a lease of ours, from the claim until its result is published.
type hold struct {
	id, token string
	renewals  int
	sentAt    time.Time // of the last claim or offer
	last      *command  // nil: the claim
	lost      bool      // another process has it, and that was logged

	spent bool
	value []byte
	until time.Time // the result is of no use after this
}

const (
	maxResults  = 16_384          // of an outage, some kilobytes each
	publishWait = 2 * time.Second // a caller waits no longer for its result to be published
	releaseWait = 100 * time.Millisecond
)

func newKeeper(c *Coordinator) *keeper {
	return &keeper{c: c, held: make(map[string]*hold)}
}

func (k *keeper) add(id, token string, claimedAt time.Time) *hold {
	h := &hold{id: id, token: token, sentAt: claimedAt}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[id] = h
	if !k.running {
		k.running = true
		go k.run()
	}
	return h
}

func (k *keeper) run() {
	ticker := time.NewTicker(min(k.c.opts.renewEvery(), 250*time.Millisecond))
	defer ticker.Stop()
	for range ticker.C {
		if !k.beat(time.Now()) {
			return
		}
	}
}

// beat sends what is due. It returns false when nothing is left to keep.
func (k *keeper) beat(now time.Time) bool {
	k.mu.Lock()
	var due []*command
	for _, h := range k.held {
		if h.spent && now.After(h.until) {
			k.drop(h)
		} else if now.Sub(h.sentAt) >= k.c.opts.renewEvery() && !h.queued() {
			due = append(due, k.next(h, now))
		}
	}
	k.running = len(k.held) > 0
	running := k.running
	k.mu.Unlock()
	k.c.pipe.send(due...)
	return running
}

// next is what a hold needs next: its lease renewed, or its result offered. k.mu is
// held.
func (k *keeper) next(h *hold, now time.Time) *command {
	h.sentAt = now
	if h.spent {
		h.last = k.offer(h)
	} else {
		h.last = k.renew(h)
	}
	return h.last
}

// queued reports whether the last command has not even left for Redis. It may have
// left without an answer, and be lost.
func (h *hold) queued() bool { return h.last != nil && !h.last.taken.Load() }

// renew also takes the lease again if Redis has lost it. If another process holds it
// by now, that changes nothing for the refresh, whose request was sent. k.mu is held.
func (k *keeper) renew(h *hold) *command {
	h.renewals++
	cmd := k.c.claim(h.id, h.token, h.renewals, "")
	note := cmd.then
	cmd.then = func(cmd *command) {
		note(cmd)
		if k.closed(cmd, h) {
			return
		}
		seen, err := cmd.claimed()
		k.mu.Lock()
		news := err == nil && !seen.held && !h.lost && k.held[h.id] == h
		h.lost = h.lost || news
		k.mu.Unlock()
		if news {
			k.c.opts.Logger.Warn("authpiredis: another process took over a refresh under way; the token may be spent twice", "key", short(h.id))
		}
	}
	return cmd
}

func (k *keeper) offer(h *hold) *command {
	cmd := k.c.offer(h.id, h.token, h.value)
	note := cmd.then
	cmd.then = func(cmd *command) {
		note(cmd)
		if k.closed(cmd, h) {
			return
		}
		if cmd.err != nil {
			k.c.opts.Logger.Debug("authpiredis: a result could not be published", "key", short(h.id), "error", cmd.err)
			return
		}
		k.mu.Lock()
		k.drop(h)
		k.mu.Unlock()
		if cmd.reply != int64(1) {
			k.c.opts.Logger.Warn("authpiredis: another process published a result of the same refresh first; it stays", "key", short(h.id))
		}
	}
	return cmd
}

// closed gives up on a client that its owner has closed.
func (k *keeper) closed(cmd *command, h *hold) bool {
	if !errors.Is(cmd.err, redis.ErrClosed) {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(h)
	return true
}

// publish offers the result to the others. The lease of a process that was stopped
// is renewed first. If Redis does not answer, the keeper goes on.
func (k *keeper) publish(h *hold, value []byte) {
	now := time.Now()
	k.mu.Lock()
	var commands []*command
	if now.Sub(h.sentAt) >= 2*k.c.opts.renewEvery() {
		commands = append(commands, k.renew(h))
	}
	h.value, h.spent, h.until = slices.Clone(value), true, now.Add(k.c.opts.Memory)
	k.results++
	commands = append(commands, k.next(h, now))
	k.trim()
	k.mu.Unlock()
	k.send(publishWait, commands)
}

// release is for a lease that leads to no result.
func (k *keeper) release(h *hold) {
	k.mu.Lock()
	k.drop(h)
	k.mu.Unlock()
	k.send(releaseWait, []*command{k.c.release(h.id, h.token)})
}

func (k *keeper) send(wait time.Duration, commands []*command) {
	stop := make(chan struct{})
	timer := time.AfterFunc(wait, func() { close(stop) })
	defer timer.Stop()
	k.c.pipe.send(commands...)
	commands[len(commands)-1].wait(stop)
}

// drop is for who holds k.mu.
func (k *keeper) drop(h *hold) {
	if k.held[h.id] != h {
		return
	}
	delete(k.held, h.id)
	if h.spent {
		k.results--
	}
}

// trim drops the oldest result if there are too many. k.mu is held.
func (k *keeper) trim() {
	if k.results <= maxResults {
		return
	}
	var oldest *hold
	for _, h := range k.held {
		if h.spent && (oldest == nil || h.until.Before(oldest.until)) {
			oldest = h
		}
	}
	k.drop(oldest)
}

// unpublished returns a result that this process has and Redis has not.
func (k *keeper) unpublished(id string) ([]byte, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, ok := k.held[id]
	if !ok || !h.spent || time.Now().After(h.until) {
		return nil, false
	}
	return slices.Clone(h.value), true
}
