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
	spare   *pipe // for when the app keeps all connections of the client busy; or nil
}

// hold is a lease of ours, from the claim until its result is published.
type hold struct {
	id, token string
	renewals  int
	renewal   *command  // the last one; nil: the claim
	renewedAt time.Time // when it was sent
	heldAt    time.Time // when the last one that was answered was sent
	lost      bool      // another process has it, and that was logged

	spent bool
	value []byte
	until time.Time // the result is of no use after this

	offering  bool
	offeredAt time.Time
}

const (
	maxResults  = 16_384          // of an outage, some kilobytes each
	publishWait = 2 * time.Second // a caller waits no longer for its result to be published
	releaseWait = 100 * time.Millisecond
)

func newKeeper(c *Coordinator) *keeper {
	return &keeper{c: c, held: make(map[string]*hold)}
}

func (k *keeper) add(id, token string, renewals int, claimedAt time.Time) *hold {
	h := &hold{id: id, token: token, renewals: renewals, renewedAt: claimedAt, heldAt: claimedAt}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(k.held[id]) // a result that is of no use any more
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
	defer k.mu.Unlock()
	var due, late []*command
	for _, h := range k.held {
		if h.spent && now.After(h.until) {
			k.drop(h)
			continue
		}
		if now.Sub(h.renewedAt) < k.c.opts.renewEvery() {
			continue
		}
		sent := h.renewal == nil || h.renewal.taken.Load() // without an answer, it may be lost
		if now.Sub(h.heldAt) > k.c.opts.quiet() {
			late = append(late, k.next(h, now)...)
		}
		if sent {
			due = append(due, k.next(h, now)...)
		}
	}
	k.c.pipe.send(due...)
	k.sendLate(late)
	if k.running = len(k.held) > 0; !k.running {
		k.closeSpare()
	}
	return k.running
}

// sendLate sends by a connection outside of the client's pool as well: the app may
// keep all those in it busy for longer than the lease. k.mu is held.
func (k *keeper) sendLate(late []*command) {
	if len(late) == 0 {
		return
	}
	if k.spare == nil {
		k.spare = k.c.pipe.spare()
	}
	k.spare.send(late...)
}

// closeSpare is for who holds k.mu.
func (k *keeper) closeSpare() {
	if k.spare != nil && k.spare != k.c.pipe {
		_ = k.spare.client.Close()
	}
	k.spare = nil
}

// next is what a hold needs: its lease renewed, and its result offered. k.mu is
// held.
func (k *keeper) next(h *hold, now time.Time) []*command {
	commands := []*command{k.renew(h, now)}
	if h.spent && (!h.offering || now.Sub(h.offeredAt) > k.c.opts.quiet()) {
		commands = append(commands, k.offer(h, now))
	}
	return commands
}

// renew also takes the lease again if Redis has lost it. If another process holds it
// by now, that changes nothing for the refresh, whose request was sent. k.mu is
// held.
func (k *keeper) renew(h *hold, now time.Time) *command {
	h.renewals++
	cmd := k.c.claim(h.id, h.token, h.renewals, "")
	cmd.urgent = true
	h.renewal, h.renewedAt = cmd, now
	note := cmd.then
	cmd.then = func(cmd *command) {
		note(cmd)
		if k.renewed(h, cmd) {
			k.c.opts.Logger.Warn("authpiredis: another process took over a refresh under way; the token may be spent twice", "key", short(h.id))
		}
	}
	return cmd
}

// renewed takes the answer to a renewal. It reports that the lease was lost, once.
func (k *keeper) renewed(h *hold, cmd *command) (lost bool) {
	seen, err := cmd.claimed()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case errors.Is(err, redis.ErrClosed):
		k.drop(h) // the client's owner is done with it
	case err != nil:
	case seen.done && h.spent:
		k.drop(h) // it was offered, and the answer got lost
	default:
		h.heldAt = cmd.sent
		lost = !seen.held && !h.lost && k.held[h.id] == h
		h.lost = h.lost || lost
	}
	return lost
}

// offer is for who holds k.mu.
func (k *keeper) offer(h *hold, now time.Time) *command {
	cmd := k.c.offer(h.id, h.token, h.value)
	h.offering, h.offeredAt = true, now
	note := cmd.then
	cmd.then = func(cmd *command) {
		note(cmd)
		k.mu.Lock()
		h.offering = false
		if cmd.err == nil {
			k.drop(h)
		}
		k.mu.Unlock()
		switch log := k.c.opts.Logger; {
		case cmd.err != nil:
			log.Debug("authpiredis: a result could not be published", "key", short(h.id), "error", cmd.err)
		case cmd.reply != int64(1):
			log.Warn("authpiredis: another process published a result of the same refresh first; it stays", "key", short(h.id))
		}
	}
	return cmd
}

// publish offers the result to the others. The lease of a process that was stopped
// is renewed first. If Redis does not answer, the keeper goes on.
func (k *keeper) publish(h *hold, value []byte) {
	now := time.Now()
	k.mu.Lock()
	h.value, h.spent, h.until = slices.Clone(value), true, now.Add(k.c.opts.Memory)
	if k.held[h.id] == h {
		k.results++
	}
	var commands []*command
	if now.Sub(h.renewedAt) >= 2*k.c.opts.renewEvery() {
		commands = append(commands, k.renew(h, now))
	}
	commands = append(commands, k.offer(h, now))
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
	if h == nil || k.held[h.id] != h {
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
