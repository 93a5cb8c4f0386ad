package authpihttp_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go/authpihttp"
)

// manager keeps sessions as *scs.SessionManager (github.com/alexedwards/scs/v2) does:
// a request has its own copy of the data, which is written back whole.
type manager struct {
	Store       *store
	Lifetime    time.Duration
	IdleTimeout time.Duration
	ErrorFunc   func(http.ResponseWriter, *http.Request, error)
}

var _ authpihttp.Session = (*manager)(nil)

func newManager(s *store) *manager {
	return &manager{
		Store: s, Lifetime: 24 * time.Hour,
		ErrorFunc: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		},
	}
}

type status int

const (
	unmodified status = iota
	modified
	destroyed
)

type sessionData struct {
	mu       sync.Mutex // guards what follows
	token    string
	deadline time.Time
	status   status
	values   map[string]any
}

type sessionKey struct{ m *manager }

func (m *manager) data(ctx context.Context) *sessionData {
	d, ok := ctx.Value(sessionKey{m}).(*sessionData)
	if !ok {
		panic("no session data in context")
	}
	return d
}

func (m *manager) with(ctx context.Context, d *sessionData) context.Context {
	return context.WithValue(ctx, sessionKey{m}, d)
}

func (m *manager) Load(ctx context.Context, token string) (context.Context, error) {
	if _, ok := ctx.Value(sessionKey{m}).(*sessionData); ok {
		return ctx, nil
	}
	fresh := &sessionData{deadline: time.Now().Add(m.Lifetime), values: map[string]any{}}
	if token == "" {
		return m.with(ctx, fresh), nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stored, found, err := m.Store.Find(token)
	if err != nil {
		return nil, err
	}
	if !found {
		return m.with(ctx, fresh), nil
	}
	d, err := decode(token, stored)
	if err != nil {
		return nil, err
	}
	if m.IdleTimeout > 0 {
		d.status = modified
	}
	return m.with(ctx, d), nil
}

// storedSession is what a codec makes of it. As in many, a []byte would come back as
// a text.
type storedSession struct {
	Deadline time.Time
	Values   map[string]any
}

func decode(token string, stored []byte) (*sessionData, error) {
	var s storedSession
	if err := json.Unmarshal(stored, &s); err != nil {
		return nil, err
	}
	return &sessionData{token: token, deadline: s.Deadline, values: s.Values}, nil
}

func (m *manager) Commit(ctx context.Context) (string, time.Time, error) {
	d := m.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.token == "" {
		d.token = rand.Text()
	}
	stored, err := json.Marshal(storedSession{d.deadline, d.values})
	if err != nil {
		return "", time.Time{}, err
	}
	expiry := d.deadline
	if idle := time.Now().Add(m.IdleTimeout); m.IdleTimeout > 0 && idle.Before(expiry) {
		expiry = idle
	}
	if err := ctx.Err(); err != nil {
		return "", time.Time{}, err
	}
	if err := m.Store.Commit(d.token, stored, expiry); err != nil {
		return "", time.Time{}, err
	}
	return d.token, expiry, nil
}

func (m *manager) Destroy(ctx context.Context) error {
	d := m.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := m.Store.Delete(d.token); err != nil {
		return err
	}
	d.status, d.token, d.deadline = destroyed, "", time.Now().Add(m.Lifetime)
	clear(d.values)
	return nil
}

func (m *manager) RenewToken(ctx context.Context) error {
	d := m.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.token != "" {
		if err := m.Store.Delete(d.token); err != nil {
			return err
		}
	}
	d.status, d.token, d.deadline = modified, rand.Text(), time.Now().Add(m.Lifetime)
	return nil
}

func (m *manager) Token(ctx context.Context) string {
	d := m.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.token
}

func (m *manager) GetString(ctx context.Context, key string) string {
	d := m.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	text, _ := d.values[key].(string)
	return text
}

func (m *manager) Put(ctx context.Context, key string, val any) {
	d := m.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.values[key], d.status = val, modified
}

// Iterate calls fn for each session in the store.
func (m *manager) Iterate(ctx context.Context, fn func(context.Context) error) error {
	all, err := m.Store.All()
	if err != nil {
		return err
	}
	for token, stored := range all {
		d, err := decode(token, stored)
		if err != nil {
			return err
		}
		if err := fn(m.with(ctx, d)); err != nil {
			return err
		}
	}
	return nil
}

// LoadAndSave is the middleware: it commits with the first byte of the answer.
func (m *manager) LoadAndSave(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := ""
		if cookie, err := r.Cookie("session"); err == nil {
			token = cookie.Value
		}
		ctx, err := m.Load(r.Context(), token)
		if err != nil {
			m.ErrorFunc(w, r, err)
			return
		}
		sw := &sessionWriter{ResponseWriter: w, m: m, r: r.WithContext(ctx)}
		next.ServeHTTP(sw, sw.r)
		sw.save()
	})
}

type sessionWriter struct {
	http.ResponseWriter
	m     *manager
	r     *http.Request
	saved bool
}

func (w *sessionWriter) save() {
	if w.saved {
		return
	}
	w.saved = true
	d := w.m.data(w.r.Context())
	d.mu.Lock()
	now := d.status
	d.mu.Unlock()
	cookie := &http.Cookie{Name: "session", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1}
	switch now {
	case unmodified:
		return
	case modified:
		token, expiry, err := w.m.Commit(w.r.Context())
		if err != nil {
			w.m.ErrorFunc(w.ResponseWriter, w.r, err)
			return
		}
		cookie.Value, cookie.MaxAge = token, int(time.Until(expiry)/time.Second)+1
	}
	http.SetCookie(w.ResponseWriter, cookie)
}

func (w *sessionWriter) Write(b []byte) (int, error) {
	w.save()
	return w.ResponseWriter.Write(b)
}

func (w *sessionWriter) WriteHeader(code int) {
	w.save()
	w.ResponseWriter.WriteHeader(code)
}

// store is an scs.IterableStore in memory, which can be away.
type store struct {
	mu      sync.Mutex // guards what follows
	items   map[string]item
	writes  int
	finds   int
	away    bool          // every call fails
	full    bool          // Commit and Delete fail
	onFind  func(n int)   // before the n-th Find
	failsAt map[int]error // the n-th Find fails
	changes int
	breaks  int // the change, Commit or Delete, that fails
}

type item struct {
	data   []byte
	expiry time.Time
}

var errAway = errors.New("store: connection refused by secret.internal:6379")

func newStore() *store { return &store{items: map[string]item{}} }

func (s *store) Find(token string) ([]byte, bool, error) {
	s.mu.Lock()
	s.finds++
	n, hook := s.finds, s.onFind
	s.mu.Unlock()
	if hook != nil {
		hook(n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, false, errAway
	}
	if err := s.failsAt[n]; err != nil {
		return nil, false, err
	}
	i, ok := s.items[token]
	if !ok || !time.Now().Before(i.expiry) {
		return nil, false, nil
	}
	return i.data, true, nil
}

func (s *store) Commit(token string, data []byte, expiry time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes++; s.away || s.full || s.changes == s.breaks {
		return errAway
	}
	s.writes++
	s.items[token] = item{data, expiry}
	return nil
}

func (s *store) Delete(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes++; s.away || s.full || s.changes == s.breaks {
		return errAway
	}
	delete(s.items, token)
	return nil
}

func (s *store) All() (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errAway
	}
	all := map[string][]byte{}
	for token, i := range s.items {
		if time.Now().Before(i.expiry) {
			all[token] = i.data
		}
	}
	return all, nil
}

// set changes how the store behaves.
func (s *store) set(change func(*store)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *store) copy() map[string]item {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.items)
}
