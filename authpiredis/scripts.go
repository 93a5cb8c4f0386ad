package authpiredis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// scripts are what runs inside Redis. Each may arrive twice: clients send a command
// again when its answer is lost. KEYS are the result and the lease, ARGV[1] the
// token of the one who asks.
type scripts struct {
	claim, publish, release *redis.Script
}

func newScripts() scripts {
	return scripts{
		claim:   redis.NewScript(claimScript),
		publish: redis.NewScript(publishScript),
		release: redis.NewScript(releaseScript),
	}
}

// claimScript reads the result; where there is none it takes the lease, if it is
// free, or renews it, if it is ours. ARGV: token, lease in ms.
const claimScript = `
local result = redis.call('GET', KEYS[1])
if result then
  return {'done', result}
end
local holder = redis.call('GET', KEYS[2])
if not holder or holder == ARGV[1] then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  return {'held'}
end
return {'busy', redis.call('PTTL', KEYS[2])}`

// publishScript never replaces a result: of two that spent the same token, the one
// that was first is what the others have read. A user without the channel's
// permission can still publish, hence pcall. ARGV: token, result, memory in ms,
// channel, id.
const publishScript = `
local before = redis.call('GET', KEYS[1])
if not before then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2])
end
redis.pcall('PUBLISH', ARGV[4], ARGV[5])
if before and before ~= ARGV[2] then
  return 0
end
return 1`

// releaseScript gives the lease back, if it is ours. ARGV: token, channel, id.
const releaseScript = `
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1`

// claimed is what a claim found: a result, the lease in our hands, or in another's
// for what is left of it.
type claimed struct {
	done, held bool
	value      []byte
	left       time.Duration
}

func (t *try) claim(ctx context.Context, limit time.Duration) (claimed, error) {
	reply, err := t.call(ctx, limit, t.c.scripts.claim, t.token, t.c.opts.Lease.Milliseconds())
	if err != nil {
		return claimed{}, err
	}
	parts, _ := reply.([]any)
	switch {
	case len(parts) == 1 && parts[0] == "held":
		return claimed{held: true}, nil
	case len(parts) == 2 && parts[0] == "done":
		if value, ok := parts[1].(string); ok {
			return claimed{done: true, value: []byte(value)}, nil
		}
	case len(parts) == 2 && parts[0] == "busy":
		if ms, ok := parts[1].(int64); ok {
			return claimed{left: time.Duration(ms) * time.Millisecond}, nil
		}
	}
	return claimed{}, fmt.Errorf("unexpected reply of type %T", reply)
}

// offer publishes value. It reports false where another result was there before.
func (t *try) offer(ctx context.Context, value []byte, limit time.Duration) (stands bool, err error) {
	o := &t.c.opts
	reply, err := t.call(ctx, limit, t.c.scripts.publish, t.token, value, o.Memory.Milliseconds(), t.c.wakeups.channel, t.id)
	return reply == int64(1), err
}

// release is for a lease that leads to no result. Where it fails, the lease runs
// out.
func (t *try) release(ctx context.Context, limit time.Duration) {
	_, _ = t.call(context.WithoutCancel(ctx), limit, t.c.scripts.release, t.token, t.c.wakeups.channel, t.id)
}

// call runs a script for at most limit, whether or not the client heeds contexts.
func (t *try) call(ctx context.Context, limit time.Duration, script *redis.Script, args ...any) (any, error) {
	type reply struct {
		value any
		err   error
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, limit)
	replies := make(chan reply, 1)
	go func() {
		defer cancel()
		value, err := script.Run(limited, t.c.client, t.keys(), args...).Result()
		replies <- reply{value, err}
	}()
	var got reply
	select {
	case got = <-replies:
	case <-limited.Done():
		select {
		case got = <-replies:
		default:
			got.err = limited.Err()
		}
	}
	got.err = t.c.dials.explain(began, got.err)
	if got.err == nil || ctx.Err() == nil { // else the caller left: that says nothing of Redis
		t.c.outage.note(ctx, began, got.err)
	}
	return got.value, got.err
}

// keys lie in one Cluster slot, by the hash tag.
func (t *try) keys() []string {
	base := t.c.opts.Prefix + "{" + t.id + "}:"
	return []string{base + "result", base + "lease"}
}
