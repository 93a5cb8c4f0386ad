package authpiredis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// pipe sends scripts to Redis in batches, one batch at a time. However many
// refreshes are under way, they need one connection of the client's pool together.
type pipe struct {
	client redis.UniversalClient

	mu    sync.Mutex // guards queue and busy
	queue []*command
	busy  bool
}

const (
	batchSize     = 256
	batchPatience = time.Second // a batch that takes longer does not hold up the next
)

// command is a script on its way.
type command struct {
	script *redis.Script
	keys   []string
	args   []any
	gone   <-chan struct{} // if closed before it is sent, it need not be sent

	sent  time.Time
	taken atomic.Bool // no longer in the queue
	reply any
	err   error
	done  chan struct{} // closed when reply and err are set, unless left

	state  atomic.Int32   // pending, answered or left
	then   func(*command) // called with the answer, before done is closed
	orphan func(*command) // called with the answer, if whoever waited has left
}

const (
	pending = iota
	answered
	left
)

func (p *pipe) send(commands ...*command) {
	now := time.Now()
	for _, c := range commands {
		c.sent, c.done = now, make(chan struct{})
	}
	p.mu.Lock()
	p.queue = append(p.queue, commands...)
	start := !p.busy && len(p.queue) > 0
	p.busy = p.busy || start
	p.mu.Unlock()
	if start {
		go p.run()
	}
}

func (p *pipe) run() {
	for {
		batch := p.next()
		if batch == nil {
			return
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			p.exec(batch)
		}()
		timer := time.NewTimer(batchPatience)
		select {
		case <-ended:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (p *pipe) next() []*command {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.queue), batchSize)
	if n == 0 {
		p.busy, p.queue = false, nil
		return nil
	}
	batch := p.queue[:n:n]
	p.queue = p.queue[n:]
	for _, c := range batch {
		c.taken.Store(true)
	}
	return batch
}

// exec sends a batch. Redis may have to be told the scripts first.
func (p *pipe) exec(batch []*command) {
	unknown := p.round(batch, (*redis.Script).EvalSha)
	p.round(unknown, (*redis.Script).Eval)
}

type eval func(*redis.Script, context.Context, redis.Scripter, []string, ...any) *redis.Cmd

// round returns the commands whose script Redis does not know. A batch has no
// context of its own, since it serves many callers: the client's timeouts end it.
func (p *pipe) round(batch []*command, eval eval) (unknown []*command) {
	ctx := context.Background()
	pipeline := p.client.Pipeline()
	replies := make([]*redis.Cmd, len(batch))
	for n, c := range batch {
		if !c.withdrawn() {
			replies[n] = eval(c.script, ctx, pipeline, c.keys, c.args...)
		}
	}
	if pipeline.Len() > 0 {
		_, _ = pipeline.Exec(ctx) // each command has its own error
	}
	for n, c := range batch {
		if replies[n] == nil {
			c.finish(nil, context.Canceled)
			continue
		}
		reply, err := replies[n].Result()
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			unknown = append(unknown, c)
			continue
		}
		c.finish(reply, err)
	}
	return unknown
}

func (c *command) withdrawn() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

func (c *command) finish(reply any, err error) {
	c.reply, c.err = reply, err
	if c.then != nil {
		c.then(c)
	}
	if c.state.CompareAndSwap(pending, answered) {
		close(c.done)
	} else if c.orphan != nil {
		c.orphan(c)
	}
}

// wait returns when there is an answer, and false if stop came first: the answer is
// then the orphan's.
func (c *command) wait(stop <-chan struct{}) bool {
	select {
	case <-c.done:
		return true
	case <-stop:
	}
	if c.state.CompareAndSwap(pending, left) {
		return false
	}
	<-c.done
	return true
}
