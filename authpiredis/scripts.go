package authpiredis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Each script may run twice: clients send a command again when its answer is lost.
// KEYS are the result and the lease. A lease's value is its holder's token and the
// number of the renewal, with a dot between them. ARGV[1] is the token of the one
// who asks.

// claimScript returns the result; if there is none it takes the lease, if it is
// free or has the stale value, or renews it, if it is the caller's own. ARGV: token,
// value, expiry in ms, stale value.
var claimScript = redis.NewScript(`
local result = redis.call('GET', KEYS[1])
if result then
  return {'done', result}
end
local holder = redis.call('GET', KEYS[2])
if not holder or holder == ARGV[4] or string.sub(holder, 1, #ARGV[1] + 1) == ARGV[1] .. '.' then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
  return {'held'}
end
return {'busy', holder, redis.call('PTTL', KEYS[2])}`)

// offerScript publishes a result, and never replaces one: if two processes spent the
// same token, the others have read the first result. A user without permission for
// the channel can still publish, hence pcall. ARGV: token, result, memory in ms,
// channel, id.
var offerScript = redis.NewScript(`
local before = redis.call('GET', KEYS[1])
if not before then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
local holder = redis.call('GET', KEYS[2])
if holder and string.sub(holder, 1, #ARGV[1] + 1) == ARGV[1] .. '.' then
  redis.call('DEL', KEYS[2])
end
redis.pcall('PUBLISH', ARGV[4], ARGV[5])
if before and before ~= ARGV[2] then
  return 0
end
return 1`)

// releaseScript gives the lease back, if it is the caller's own. ARGV: token,
// channel, id.
var releaseScript = redis.NewScript(`
local holder = redis.call('GET', KEYS[2])
if not holder or string.sub(holder, 1, #ARGV[1] + 1) ~= ARGV[1] .. '.' then
  return 0
end
redis.call('DEL', KEYS[2])
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1`)

// claimed is what a claim found: a result, the lease in our hands, or another's.
type claimed struct {
	done, held bool
	value      []byte
	holder     string        // the other's lease
	left       time.Duration // until Redis drops it; below zero: never
}

func (c *Coordinator) claim(id, token string, renewal int, stale string) *command {
	value := fmt.Sprintf("%s.%d", token, renewal)
	return c.command(claimScript, id, token, value, c.opts.expiry().Milliseconds(), stale)
}

func (c *Coordinator) offer(id, token string, value []byte) *command {
	cmd := c.command(offerScript, id, token, value, c.opts.Memory.Milliseconds(), c.opts.channel(), id)
	cmd.size = len(value)
	return cmd
}

// release is urgent, as renewals are, so that none of these comes after it.
func (c *Coordinator) release(id, token string) *command {
	cmd := c.command(releaseScript, id, token, c.opts.channel(), id)
	cmd.urgent = true
	return cmd
}

func (c *Coordinator) command(script *redis.Script, id string, args ...any) *command {
	return &command{
		script: script, keys: c.opts.keys(id), args: args,
		then: func(cmd *command) { c.outage.note(cmd.sent, cmd.err) },
	}
}

// claimed reads the reply to a claim.
func (c *command) claimed() (claimed, error) {
	if c.err != nil {
		return claimed{}, c.err
	}
	parts, _ := c.reply.([]any)
	texts := make([]string, 2)
	for n := range min(len(parts), len(texts)) {
		texts[n], _ = parts[n].(string)
	}
	switch {
	case len(parts) == 1 && texts[0] == "held":
		return claimed{held: true}, nil
	case len(parts) == 2 && texts[0] == "done":
		return claimed{done: true, value: []byte(texts[1])}, nil
	case len(parts) == 3 && texts[0] == "busy":
		if ms, ok := parts[2].(int64); ok {
			return claimed{holder: texts[1], left: time.Duration(ms) * time.Millisecond}, nil
		}
	}
	return claimed{}, fmt.Errorf("unexpected reply of type %T", c.reply)
}

// short is enough of an id to find a session's lines in a log.
func short(id string) string { return id[:min(12, len(id))] }

// await returns when woken, after d, or when ctx ends.
func await(ctx context.Context, wake <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-wake:
	case <-timer.C:
	case <-ctx.Done():
	}
}
