package authpiredis

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// pipe sends scripts to Redis in batches, one batch at a time. However many
// refreshes are under way, they need one connection of the client's pool together.
type pipe struct {
	client redis.UniversalClient

	mu     sync.Mutex // guards all below
	urgent []*command // before those of queue
	queue  []*command
	busy   bool
}

const (
	batchSize     = 2048
	batchBytes    = 1 << 20     // of results
	batchPatience = time.Second // a batch that takes longer does not hold up the next
)

// command is a script on its way.
type command struct {
	script *redis.Script
	keys   []string
	args   []any
	size   int             // of the result in it
	urgent bool            // however many wait for others' leases, ours must be renewed
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

// spare is another pipe to the same Redis, over a connection that is not in the
// client's pool. It is closed by whoever asks for it. Of a client of an unknown kind
// it is the pipe itself.
func (p *pipe) spare() *pipe {
	switch client := p.client.(type) {
	case *redis.Client:
		o := *client.Options()
		o.PoolSize, o.MinIdleConns, o.MaxActiveConns = spareConns, 0, 0
		return &pipe{client: redis.NewClient(&o)}
	case *redis.ClusterClient:
		o := *client.Options()
		o.PoolSize, o.MinIdleConns, o.MaxActiveConns = spareConns, 0, 0
		return &pipe{client: redis.NewClusterClient(&o)}
	case *redis.Ring:
		o := *client.Options()
		o.PoolSize, o.MinIdleConns, o.MaxActiveConns = spareConns, 0, 0
		return &pipe{client: redis.NewRing(&o)}
	}
	return p
}

// spareConns is more than one, since a batch that takes long does not hold up the
// next.
const spareConns = 2

func (p *pipe) send(commands ...*command) {
	now := time.Now()
	p.mu.Lock()
	for _, c := range commands {
		c.sent, c.done = now, make(chan struct{})
		if c.urgent {
			p.urgent = append(p.urgent, c)
		} else {
			p.queue = append(p.queue, c)
		}
	}
	start := !p.busy && len(commands) > 0
	p.busy = p.busy || start
	p.mu.Unlock()
	if start {
		go p.run()
	}
}

// run sends batches until there are none left, or until one takes so long that the
// next run begins without it.
func (p *pipe) run() {
	for batch := p.next(); batch != nil; batch = p.next() {
		successor := time.AfterFunc(batchPatience, p.run)
		p.exec(batch)
		if !successor.Stop() {
			return
		}
	}
}

func (p *pipe) next() []*command {
	p.mu.Lock()
	defer p.mu.Unlock()
	var batch []*command
	bytes := 0
	for _, queue := range []*[]*command{&p.urgent, &p.queue} {
		n := 0
		for n < len(*queue) && len(batch) < batchSize && bytes < batchBytes {
			c := (*queue)[n]
			c.taken.Store(true)
			batch = append(batch, c)
			bytes += c.size
			n++
		}
		*queue = slices.Delete(*queue, 0, n)
	}
	p.busy = batch != nil
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
