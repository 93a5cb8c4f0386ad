package authpiredis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// dials remembers why the client could last not connect. go-redis goes on trying
// until the command's time is over, and then says only that it is over.
type dials struct {
	last atomic.Pointer[dialFailure]
}

type dialFailure struct {
	at    time.Time
	cause error
}

// watch hooks into a client. A Cluster's and a Ring's own hooks see no dials, so
// there it hooks into the nodes that are met from now on.
func (d *dials) watch(client redis.UniversalClient) {
	if many, ok := client.(interface{ OnNewNode(func(*redis.Client)) }); ok {
		many.OnNewNode(func(node *redis.Client) { node.AddHook(d) })
		return
	}
	client.AddHook(d)
}

// explain adds the cause to a timeout, if a dial failed since began.
func (d *dials) explain(began time.Time, err error) error {
	last := d.last.Load()
	if last == nil || last.at.Before(began) || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w; the last dial: %w", err, last.cause)
}

// DialHook is for go-redis.
func (d *dials) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err != nil {
			d.last.Store(&dialFailure{time.Now(), err})
		}
		return conn, err
	}
}

// ProcessHook is for go-redis.
func (d *dials) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook is for go-redis.
func (d *dials) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
