package authpiredis

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// outage logs when Redis becomes unreachable, and when it can be used again.
type outage struct {
	log   *slog.Logger
	alone bool // Options.AllowWithoutRedis

	mu      sync.Mutex // guards down and changed
	down    bool
	changed time.Time
}

// note takes the outcome of a command. One that began before the last change says
// nothing new, whenever it ends; nor does one that Redis was slow to answer.
func (o *outage) note(began time.Time, err error) {
	if isSlow(err) {
		return
	}
	o.mu.Lock()
	news := o.down == (err == nil) && began.After(o.changed)
	if news {
		o.down, o.changed = err != nil, time.Now()
	}
	o.mu.Unlock()
	switch {
	case !news:
	case err == nil:
		o.log.Info("authpiredis: Redis can be used again")
	case o.alone:
		o.log.Warn("authpiredis: Redis cannot be used; until it is back, refreshes are coordinated within this process only", "error", err)
	default:
		o.log.Warn("authpiredis: Redis cannot be used; refreshes fail until it is back", "error", err)
	}
}

// lasts reports whether Redis has been unreachable for longer than it takes to
// restart.
func (o *outage) lasts() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.down && time.Since(o.changed) > downPatience
}

// isSlow reports whether an error only says that there was no answer yet: Redis is
// busy, or so are all connections, the client's or the server's.
func isSlow(err error) bool {
	var timeout net.Error
	switch {
	case err == nil:
		return false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return true
	case errors.As(err, &timeout) && timeout.Timeout():
		return true
	}
	return redis.IsMaxClientsError(err) || redis.IsTryAgainError(err) || redis.HasErrorPrefix(err, "BUSY")
}
