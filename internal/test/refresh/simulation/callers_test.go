package simulation_test

import (
	"context"
	"errors"
	"net/http"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// call is one caller of a process's client, as a request to an app is.
type call struct {
	w       *world
	id      int
	p       *process
	home    *home
	session *session
	kind    callKind
	grant   int
	nested  bool // its Reload calls CreateAgent
	cancel  time.Duration
	source  int

	hasReload, hasOnRefresh bool
	have                    authpi.TokenSet
	haveSet                 *set

	// Guarded by w.mu:
	ops       uint64 // what it has drawn from chance
	start     time.Duration
	patient   bool          // its access token was still good then
	left      time.Duration // of its access token then
	reading   bool          // its Reload runs
	ended     time.Duration
	over      bool
	leftAt    time.Duration // when its context ended; negative: it has not
	reloads   []reloaded
	refreshed []*refreshing
	heard     []error // what its OnRefreshError was told
	led       []*send
	asked     int  // user info requests
	used      *set // the access token that a source gave
	agent     *authpi.Agent
	err       error
}

// reloaded is one answer of a caller's Reload.
type reloaded struct {
	at     time.Duration
	set    *set // nil: nothing is in the store
	failed bool
}

// refreshing is one OnRefresh.
type refreshing struct {
	c     *call
	set   *set
	began time.Duration
	ended time.Duration
	over  bool
	err   error
}

type callKey struct{}

type nestedKey struct{}

// callOf is the call that a context belongs to. The client passes the values of its
// callers' contexts on, so requests and callbacks tell whose they are.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// arrive is a step: somebody loads tokens and calls the client with them. w.mu is held.
func (w *world) arrive(p *process, s step) {
	h := w.sessions[s.session].homes[s.home]
	v := h.read()
	if n := len(h.versions); s.stale > 0 && n > s.stale && w.now()-h.versions[n-s.stale].at < w.memory()-5*time.Second {
		v = h.versions[n-1-s.stale]
	}
	if v.set == nil || h.readsFail() {
		w.note(p, nil, "%v: the app finds no tokens", s)
		return
	}
	c := w.newCall(p, h, v)
	c.kind, c.grant, c.nested, c.cancel, c.source = s.call, s.grant, s.nested && !s.blindly, s.cancel, s.source
	c.hasReload = c.hasReload && !s.blindly
	if h.setup.kind == worker {
		c.kind, c.grant, c.nested, c.source = source, 0, false, s.source%2
	}
	if c.kind == source && h.setup.kind == cookie {
		c.kind = create // whoever has a cookie makes no agent that outlives its request
	}
	w.note(p, c, "%v: %v", s, v)
	go c.run()
}

// newCall makes a caller with tokens from a home. w.mu is held.
func (w *world) newCall(p *process, h *home, v version) *call {
	stores := h.setup.kind == blind || h.setup.kind == conditional
	if h.setup.kind == worker {
		p = w.processes[0]
	}
	c := &call{
		w: w, id: len(w.calls) + 1, p: p, home: h, session: h.session, leftAt: -1, start: w.now(),
		have: v.tokens, haveSet: v.set, hasReload: stores, hasOnRefresh: stores,
	}
	w.calls = append(w.calls, c)
	return c
}

func (c *call) run() {
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), callKey{}, c))
	defer cancel()
	if c.p.run(ctx, true) != nil {
		c.finish(nil, errKilled)
		return
	}
	c.w.mu.Lock()
	c.start = c.w.now()
	c.left = c.have.ExpiresAt.Sub(c.p.clock())
	c.patient = c.kind != refresh && c.left > 0
	c.w.mu.Unlock()
	if c.cancel > 0 {
		timer := time.AfterFunc(c.cancel, func() {
			c.w.mu.Lock()
			c.leftAt = c.w.now()
			c.w.note(c.p, c, "its context ends")
			c.w.mu.Unlock()
			cancel()
		})
		defer timer.Stop()
	}
	agent, err := c.do(ctx)
	c.finish(agent, err)
}

func (c *call) do(ctx context.Context) (*authpi.Agent, error) {
	switch c.kind {
	case refresh:
		off, err := c.p.client.CreateAgent(ctx, c.have, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
		if err != nil {
			return nil, err
		}
		opts := c.options()
		return c.p.client.Refresh(ctx, off, &authpi.RefreshOptions{
			OnRefresh: opts.OnRefresh, Reload: opts.Reload, Resources: opts.Resources,
		})
	case source:
		return nil, c.callAPI(ctx)
	}
	return c.p.client.CreateAgent(ctx, c.have, c.options())
}

func (c *call) resources() []string {
	if c.grant == 0 {
		return nil
	}
	return []string{resourceOf(c.grant)}
}

// options are the callbacks of a caller. Those of a source serve many calls, so they
// look for theirs in the context.
func (c *call) options() *authpi.AgentOptions {
	whose := func(ctx context.Context) *call {
		if found := callOf(ctx); found != nil && c.kind == source {
			return found
		}
		return c
	}
	opts := &authpi.AgentOptions{Resources: c.resources()}
	if c.hasReload {
		opts.Reload = func(ctx context.Context) (authpi.TokenSet, error) { return c.home.reload(ctx, whose(ctx)) }
	}
	if c.hasOnRefresh {
		opts.OnRefresh = func(ctx context.Context, tokens authpi.TokenSet) error {
			return c.home.save(ctx, whose(ctx), tokens)
		}
	}
	opts.OnRefreshError = func(ctx context.Context, err error) { c.w.heardError(whose(ctx), err) }
	return opts
}

// callAPI takes the token of one of the process's sources for the home.
func (c *call) callAPI(ctx context.Context) error {
	key := sourceKey{c.home, c.grant, c.source}
	c.w.mu.Lock()
	made := c.p.sources[key]
	c.hasReload = c.hasOnRefresh
	c.w.mu.Unlock()
	if made == nil {
		if err := c.makeSources(ctx); err != nil {
			return err
		}
	}
	c.w.mu.Lock()
	made = c.p.sources[key]
	c.haveSet, c.have = nil, authpi.TokenSet{} // nobody but the source knows
	c.w.mu.Unlock()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.sim.example/", nil)
	if err != nil {
		return err
	}
	resp, err := made.Do(r)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// makeSources makes two of a home's sources at first use. They share one agent.
func (c *call) makeSources(ctx context.Context) error {
	agent, err := c.p.client.CreateAgent(ctx, c.have, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
	if err != nil {
		return err
	}
	for _, n := range []int{c.source &^ 1, c.source | 1} {
		made := c.p.client.HTTPClient(agent, c.options())
		c.w.mu.Lock()
		if key := (sourceKey{c.home, c.grant, n}); c.p.sources[key] == nil {
			c.p.sources[key] = made
		}
		c.w.mu.Unlock()
	}
	return nil
}

// callInside is a store that needs an agent of the very session that it is asked about,
// and asks for it with the context that it was given, or with one of its own.
func (c *call) callInside(ctx context.Context) {
	began, limit := time.Now(), time.Second
	if c.id%4 == 0 {
		c.w.mu.Lock()
		limit = 2*c.w.timeout() + slack // it may wait first, and then lead
		c.w.trouble(c.session, c.w.now()+limit+pause)
		c.w.mu.Unlock()
		ctx = context.Background()
	}
	ctx = context.WithValue(ctx, callKey{}, (*call)(nil))
	ctx = context.WithValue(ctx, nestedKey{}, new(int)) // which tells it from others
	agent, err := c.p.client.CreateAgent(ctx, c.have, nil)
	took := time.Since(began)
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.carried(err)
	if err == nil {
		if s := c.w.issuer.lookUp(agent.Tokens); s != nil {
			s.returned = true
		}
	}
	identified := c.have.IDToken != "" && c.w.h.setup.idTokens && c.w.issuer.userInfoUntil == 0
	ran := c.w.now()-c.p.stopUntil > took // all of the time
	if took > limit && identified && ran && !c.p.killed {
		c.w.violate(answersInside, c.p, c, "CreateAgent inside a callback took %v", took)
	}
}

// finish has a call return to its app, which keeps what it got.
func (c *call) finish(agent *authpi.Agent, err error) {
	w := c.w
	w.mu.Lock()
	defer w.mu.Unlock()
	c.over, c.ended, c.agent, c.err = true, w.now(), agent, err
	if c.p.killed {
		return
	}
	got := c.got()
	w.note(c.p, c, "returns %v, %v", version{set: got}, said(err))
	w.judgeReturn(c, got)
	if got != nil && got != c.haveSet {
		got.returned = true
	}
	if got != nil && agent != nil {
		c.home.keep(got, agent.Tokens)
	}
	if s, tokens := w.carried(err); s != nil && !authpi.SessionEnded(err) {
		c.home.keep(s, tokens)
	}
}

// carried is the set that an error carries, nil for none. w.mu is held.
func (w *world) carried(err error) (*set, authpi.TokenSet) {
	var failed *authpi.RefreshError
	if !errors.As(err, &failed) {
		return nil, authpi.TokenSet{}
	}
	tokens, _ := failed.Tokens()
	s := w.issuer.lookUp(tokens)
	if s != nil {
		s.inError = true
	}
	return s, tokens
}

// keep puts what a call gave into a cookie. w.mu is held.
func (h *home) keep(s *set, tokens authpi.TokenSet) {
	if at := h.current().set; h.setup.kind == cookie && at != nil && s.index > at.index {
		h.write(version{set: s, tokens: tokens})
	}
}

// got is the set that a call gave, nil for none.
func (c *call) got() *set {
	switch {
	case c.err != nil:
		return nil
	case c.kind == source:
		return c.used
	case c.agent == nil:
		return nil
	}
	return c.w.issuer.lookUp(c.agent.Tokens)
}

// lookUp finds the set that tokens are.
func (i *issuer) lookUp(tokens authpi.TokenSet) *set {
	if s := i.byAccess[tokens.AccessToken]; s != nil {
		return s
	}
	return i.byRefresh[tokens.RefreshToken]
}

// lastVisits has somebody come to every home at every process when all is well again. A
// session that goes on must then be had.
func (w *world) lastVisits() {
	w.mu.Lock()
	var calls []*call
	for _, s := range w.sessions {
		for _, p := range w.processes {
			for _, h := range s.homes {
				calls = append(calls, w.visitors(p, h)...)
			}
		}
	}
	w.mu.Unlock()
	for _, c := range calls {
		w.mu.Lock()
		v := c.home.current()
		if v.set == nil {
			w.mu.Unlock()
			continue
		}
		c.have, c.haveSet = v.tokens, v.set
		w.note(c.p, c, "last visit to %v: %v", c.home, v)
		w.mu.Unlock()
		c.run()
		w.mu.Lock()
		w.judgeLastVisit(c)
		w.mu.Unlock()
	}
}

// visitors are those of one home at one process. w.mu is held.
func (w *world) visitors(p *process, h *home) []*call {
	switch {
	case h.current().set == nil || h.behind():
		return nil
	case h.setup.kind != worker:
		return []*call{w.newCall(p, h, h.current())}
	case p.slot > 0:
		return nil
	}
	one, other := w.newCall(p, h, h.current()), w.newCall(p, h, h.current())
	one.kind, other.kind, other.source = source, source, 1
	return []*call{one, other}
}

// behind reports whether another home has a newer set, which its own callers may
// learn of for as long as a memory reaches, and not at the end. w.mu is held.
func (h *home) behind() bool {
	for _, other := range h.session.homes {
		if s := other.current().set; s != nil && s.index > h.current().set.index {
			return true
		}
	}
	return false
}

// probe asks the processes for sets that nobody has picked up yet.
func (w *world) probe() {
	w.mu.Lock()
	var calls []*call
	for _, s := range w.sessions {
		for _, x := range s.sets {
			if w.waits(x) {
				c := w.newCall(x.receivedBy, s.homes[0], version{set: x.parent, tokens: x.parent.tokens(x.receivedBy.clock().Add(-time.Minute))})
				c.hasReload, c.hasOnRefresh = false, false
				calls = append(calls, c)
			}
		}
	}
	w.mu.Unlock()
	for _, c := range calls {
		w.mu.Lock()
		w.note(c.p, c, "comes with %v, whose successor nobody has picked up", c.haveSet)
		w.mu.Unlock()
		c.run()
		w.mu.Lock()
		w.judgeProbe(c)
		w.mu.Unlock()
	}
}
