package authpiredis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
)

var (
	_ authpihttp.Store            = (*authpiredis.Store)(nil)
	_ authpihttp.ConditionalStore = (*authpiredis.Store)(nil)
)

func TestStoreCommitIf(t *testing.T) {
	t.Parallel()
	store := authpiredis.NewStore(startServer(t).client(), nil)
	later, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for n, tc := range []struct {
		name    string
		stored  []byte // nil: nothing
		old     []byte
		expiry  time.Time
		written bool
	}{
		{"nothing over nothing", nil, nil, later, true},
		{"nothing over something", []byte("before"), nil, later, false},
		{"nothing over an empty value", []byte{}, nil, later, false},
		{"what was read", []byte("before"), []byte("before"), later, true},
		{"an empty value that was read", []byte{}, []byte{}, later, true},
		{"bytes", []byte("\x00\xff\r\n"), []byte("\x00\xff\r\n"), later, true},
		{"something else", []byte("before"), []byte("other"), later, false},
		{"its beginning", []byte("before"), []byte("befor"), later, false},
		{"what was read, and is gone", nil, []byte("before"), later, false},
		{"an empty value, and there is nothing", nil, []byte{}, later, false},
		{"what has expired by now", []byte("before"), []byte("before"), past, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			key := fmt.Sprintf("key%d", n)
			if tc.stored != nil {
				if err := store.Commit(key, tc.stored, later); err != nil {
					t.Fatal(err)
				}
			}
			written, err := store.CommitIf(t.Context(), key, tc.old, []byte("after\x00\xff"), tc.expiry)
			if written != tc.written || err != nil {
				t.Errorf("got %t, %v; want %t", written, err, tc.written)
			}
			want := tc.stored
			switch {
			case tc.written && tc.expiry == past:
				want = nil
			case tc.written:
				want = []byte("after\x00\xff")
			}
			b, found, err := store.Find(key)
			if string(b) != string(want) || found != (want != nil) || err != nil {
				t.Errorf("stored: got %q, %t, %v; want %q", b, found, err, want)
			}
		})
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store, other := authpiredis.NewStore(s.client(), nil), authpiredis.NewStore(s.client(), &authpiredis.StoreOptions{Prefix: "other:"})
	for n, want := range []string{"one", "two"} {
		if err := store.Commit("key", []byte(want), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if b, found, err := store.Find("key"); string(b) != want || !found || err != nil {
			t.Errorf("%d: got %q, %t, %v; want %q", n, b, found, err, want)
		}
	}
	if left := s.client().PTTL(t.Context(), "authpi:store:{key}").Val(); left < 59*time.Minute || left > time.Hour {
		t.Errorf("it expires in %v; want an hour", left)
	}
	if b, found, err := other.Find("key"); found || err != nil {
		t.Errorf("another prefix: got %q, %t, %v; want nothing", b, found, err)
	}
	if err := store.Commit("key", []byte("past"), time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if b, found, err := store.Find("key"); found || err != nil {
		t.Errorf("expired: got %q, %t, %v; want nothing", b, found, err)
	}
	for range 2 {
		if err := store.Delete("key"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	s.empty()
}

func TestStoreExpires(t *testing.T) {
	t.Parallel()
	store := authpiredis.NewStore(startServer(t).client(), nil)
	soon := time.Now().Add(300 * time.Millisecond)
	if err := store.Commit("a", []byte("x"), soon); err != nil {
		t.Fatal(err)
	}
	if written, err := store.CommitIf(t.Context(), "b", nil, []byte("x"), soon); !written || err != nil {
		t.Fatalf("got %t, %v", written, err)
	}
	eventually(t, "both have expired", func() bool {
		_, a, err1 := store.Find("a")
		_, b, err2 := store.Find("b")
		return !a && !b && errors.Join(err1, err2) == nil
	})
}

// Of many that have read the same, one writes.
func TestStoreAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for round, old := range [][]byte{nil, []byte("0")} {
		var written atomic.Int64
		var wg sync.WaitGroup
		for n := range 32 {
			store := authpiredis.NewStore(s.client(), nil)
			wg.Go(func() {
				ok, err := store.CommitIf(t.Context(), "key", old, fmt.Append(nil, round, n), time.Now().Add(time.Hour))
				if err != nil {
					t.Error(err)
				}
				if ok {
					written.Add(1)
				}
			})
		}
		wg.Wait()
		if got := written.Load(); got != 1 {
			t.Errorf("over %q: %d were written; want 1", old, got)
		}
		if err := authpiredis.NewStore(s.client(), nil).Commit("key", []byte("0"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}

// A write whose answer is lost is sent again by the client. It is still one write,
// and the same value written by another call is not taken for it.
func TestStoreAnswerIsLost(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var deaf deaf
	store, other := authpiredis.NewStore(s.client(deaf.use), nil), authpiredis.NewStore(s.client(), nil)
	later := time.Now().Add(time.Hour)
	for _, tc := range []struct {
		name    string
		old     []byte
		between func() error // before it is sent again
		want    bool
		stored  string
	}{
		{"over nothing", nil, nil, true, "after"},
		{"over something", []byte("before"), nil, true, "after"},
		{"and deleted meanwhile", []byte("before"), func() error { return other.Delete("key") }, true, ""},
		{"over nothing, and deleted meanwhile", nil, func() error { return other.Delete("key") }, true, ""},
		{"and written over meanwhile", []byte("before"), func() error {
			written, err := other.CommitIf(context.Background(), "key", []byte("after"), []byte("later"), later)
			if !written {
				return errors.Join(err, errors.New("not written over"))
			}
			return err
		}, false, "later"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := other.Delete("key"); err != nil {
				t.Fatal(err)
			}
			if tc.old != nil {
				if err := other.Commit("key", tc.old, later); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := store.Find("key"); err != nil { // it is connected
				t.Fatal(err)
			}
			deaf.next(tc.between)
			written, err := store.CommitIf(t.Context(), "key", tc.old, []byte("after"), later)
			if written != tc.want || err != nil {
				t.Errorf("got %t, %v; want %t", written, err, tc.want)
			}
			if b, found, err := other.Find("key"); string(b) != tc.stored || found != (tc.stored != "") || err != nil {
				t.Errorf("stored: got %q, %t, %v; want %q", b, found, err, tc.stored)
			}
		})
	}
	if written, err := store.CommitIf(t.Context(), "once", nil, []byte("used"), later); !written || err != nil {
		t.Errorf("the first use: got %t, %v", written, err)
	}
	if written, err := store.CommitIf(t.Context(), "once", nil, []byte("used"), later); written || err != nil {
		t.Errorf("the second use: got %t, %v; want false", written, err)
	}
}

// deaf is a network that loses one answer.
type deaf struct {
	mu   sync.Mutex // guards all below
	lose bool
	then func() error
}

func (d *deaf) next(then func() error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lose, d.then = true, then
}

func (d *deaf) use(o *redis.Options) {
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &deafConn{conn, d}, err
	}
}

type deafConn struct {
	net.Conn
	net *deaf
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if !c.net.lose || err != nil {
		return n, err
	}
	c.net.lose = false
	if c.net.then != nil {
		if err := c.net.then(); err != nil {
			panic(err)
		}
	}
	_ = c.Close()
	return 0, net.ErrClosed
}

func TestStoreFindIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	client := s.client()
	store := authpiredis.NewStore(client, nil)
	later := time.Now().Add(time.Hour)
	if written, err := store.CommitIf(t.Context(), "key", nil, []byte("0"), later); !written || err != nil { // Redis knows the script now
		t.Fatalf("got %t, %v", written, err)
	}
	var trips trips
	client.AddHook(&trips)
	for name, call := range map[string]func() error{
		"find":   func() error { _, _, err := store.Find("key"); return err },
		"commit": func() error { return store.Commit("key", []byte("1"), later) },
		"commitif": func() error {
			_, err := store.CommitIf(t.Context(), "key", []byte("1"), []byte("2"), later)
			return err
		},
		"delete": func() error { return store.Delete("key") },
	} {
		trips.n.Store(0)
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := trips.n.Load(); got != 1 {
			t.Errorf("%s: %d round trips; want 1", name, got)
		}
	}
}

// trips counts round trips.
type trips struct{ n atomic.Int64 }

func (*trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.n.Add(1)
		return next(ctx, cmd)
	}
}

func (h *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.n.Add(1)
		return next(ctx, cmds)
	}
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := authpiredis.NewStore(s.client(noRetries), nil)
	s.stop()
	later := time.Now().Add(time.Hour)
	_, found, err1 := store.Find("key")
	err2 := store.Commit("key", nil, later)
	written, err3 := store.CommitIf(t.Context(), "key", nil, nil, later)
	err4 := store.Delete("key")
	for n, err := range []error{err1, err2, err3, err4} {
		if err == nil {
			t.Errorf("call %d: no error", n)
		}
	}
	if found || written {
		t.Errorf("got found %t, written %t; want neither", found, written)
	}
}

// The permissions that README.md names are enough.
func TestStoreLeastPermissions(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if err := s.client().Do(t.Context(), "ACL", "SETUSER", "least", "on", ">secret", "resetchannels",
		"~authpi:store:*", "-@all", "+evalsha", "+eval", "+get", "+set", "+del").Err(); err != nil {
		t.Fatal(err)
	}
	store := authpiredis.NewStore(s.client(func(o *redis.Options) { o.Username, o.Password = "least", "secret" }), nil)
	later := time.Now().Add(time.Hour)
	written, err := store.CommitIf(t.Context(), "key", nil, []byte("x"), later)
	_, found, err2 := store.Find("key")
	if !written || !found || errors.Join(err, err2, store.Commit("key", nil, later), store.Delete("key")) != nil {
		t.Errorf("got %t, %t, %v, %v", written, found, err, err2)
	}
}
