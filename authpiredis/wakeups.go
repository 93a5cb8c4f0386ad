package authpiredis

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// wakeups is told when a lease ends. All who wait in this process share one
// subscription, open only while somebody waits; a message is the id that it is
// about. One channel serves all ids: once the subscription is open, another waiter
// needs neither a round trip nor a connection of its own.
type wakeups struct {
	client  redis.UniversalClient
	channel string

	mu      sync.Mutex // guards waiting and open
	waiting map[string]chan struct{}
	open    *subscription
}

type subscription struct {
	confirmed bool // guarded by wakeups.mu
	cancel    context.CancelFunc
	ended     chan struct{}
}

func newWakeups(client redis.UniversalClient, channel string) *wakeups {
	return &wakeups{client: client, channel: channel, waiting: make(map[string]chan struct{})}
}

// join returns a channel that receives when there may be news of id, and once when
// the subscription is open: only from then on no message is missed, so that is when
// to look again. There is one waiter for each id, see turns.
func (w *wakeups) join(id string) (wake <-chan struct{}, leave func()) {
	news := make(chan struct{}, 1)
	if _, ring := w.client.(*redis.Ring); ring {
		return news, func() {} // publishes on the shard of the key, where nobody listens
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting[id] = news
	if w.open == nil {
		ctx, cancel := context.WithCancel(context.Background())
		w.open = &subscription{cancel: cancel, ended: make(chan struct{})}
		go w.listen(ctx, w.open)
	} else if w.open.confirmed {
		news <- struct{}{}
	}
	return news, sync.OnceFunc(func() { w.leave(id) })
}

// leaveWait is how long a caller that leaves waits for what it leaves behind, such
// as the end of the subscription. It takes longer only where Redis hangs.
const leaveWait = 100 * time.Millisecond

func (w *wakeups) leave(id string) {
	w.mu.Lock()
	delete(w.waiting, id)
	last := w.open
	if len(w.waiting) == 0 {
		w.open = nil
	} else {
		last = nil
	}
	w.mu.Unlock()
	if last != nil {
		last.cancel()
		await(context.Background(), last.ended, leaveWait)
	}
}

// listen passes messages on until ctx ends. The client connects again by itself;
// what was missed meanwhile is made up for by waking everybody.
func (w *wakeups) listen(ctx context.Context, s *subscription) {
	defer close(s.ended)
	pubsub := w.client.Subscribe(ctx, w.channel)
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = pubsub.Close()
	})
	defer func() {
		if !stop() {
			<-closed
		}
	}()
	for ctx.Err() == nil {
		message, err := pubsub.Receive(ctx)
		switch message := message.(type) {
		case *redis.Subscription:
			w.confirm(s)
		case *redis.Message:
			w.tell(message.Payload)
		}
		if err != nil {
			await(ctx, nil, 100*time.Millisecond) // polling goes on meanwhile
		}
	}
}

func (w *wakeups) confirm(s *subscription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.confirmed = true
	for _, news := range w.waiting {
		signal(news)
	}
}

func (w *wakeups) tell(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if news, ok := w.waiting[id]; ok {
		signal(news)
	}
}

func signal(news chan struct{}) {
	select {
	case news <- struct{}{}:
	default: // it has not looked since the last one
	}
}
