package simulation_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// issuer is a model of an OpenID Connect issuer whose refresh tokens are single-use: one
// that comes a second time ends its session.
type issuer struct {
	w *world

	// Guarded by w.mu:
	byRefresh, byAccess map[string]*set
	named               map[string]int
	plan                []planned
	userInfo, keys      failure
	userInfoUntil       time.Duration
	keysUntil           time.Duration
	key                 string // that signs
	publishes           time.Duration
}

// planned is how the next requests are answered.
type planned struct {
	answer *answer
	count  int
	only   int // the grant that it is for; -1: all
	until  time.Duration
}

// send is one refresh token on its way to the issuer.
type send struct {
	p     *process
	c     *call // who has caused it; nil: nobody knows
	set   *set
	at    time.Duration
	grant int
	turn  *turn // in the coordinator; nil: none
	plan  *answer
	good  bool // the access token was still good

	settled   bool // the process knows how it ended
	settledAt time.Duration
	means     meaning
	next      *set   // what the issuer made of it
	excuse    string // why it may be another one for the same token
}

// take gives the answer for a request. w.mu is held.
func (i *issuer) take(grant int) *answer {
	for n := range i.plan {
		p := &i.plan[n]
		if p.count > 0 && i.w.now() < p.until && (p.only < 0 || p.only == grant) {
			p.count--
			return p.answer
		}
	}
	return &answers[0]
}

// issue makes a session's next set. w.mu is held.
func (i *issuer) issue(s *session, parent *set, grant int, how *answer) *set {
	i.named["r"]++
	n := i.named["r"]
	next := &set{
		session: s, index: len(s.sets), grant: grant, parent: parent, name: fmt.Sprintf("r%d", n), sentAt: i.w.now(),
		refresh: fmt.Sprintf("secret~refresh~%d", n), access: fmt.Sprintf("secret~access~%d", n),
	}
	if parent != nil && !i.w.h.setup.rotates {
		next.refresh = parent.refresh
	}
	if parent == nil || i.w.h.setup.idTokens && !how.noID {
		next.id = idToken(i.key, s.subject, s.id)
	}
	if how.hostile {
		next.id = idToken(i.key, "usr_mallory", s.id)
		if strings.Contains(how.name, "signature") {
			next.id = forged(idToken("k1", s.subject, s.id)) // of a key that is known
		}
	}
	s.sets = append(s.sets, next)
	i.byRefresh[next.refresh], i.byAccess[next.access] = next, next
	return next
}

// process is what the issuer does when a refresh request has arrived. w.mu is held.
func (i *issuer) process(x *send) (how *answer) {
	s, session := x.set, x.set.session
	if x.plan.effect == nothing {
		return x.plan
	}
	refused := &answer{name: "invalid_grant", means: dead, effect: ends, status: 400, body: says("invalid_grant")}
	if session.ended != "" {
		return refused
	}
	if s.spentBy != nil && i.w.h.setup.rotates {
		why := x.excuse
		if why == "" {
			why = s.spentBy.excuse // the second one was faster
		}
		session.ended = "reuse: " + why
		i.w.note(nil, nil, "the issuer sees %v a second time, and ends %v", s, session)
		return refused
	}
	if x.plan.effect == ends {
		session.ended = "the issuer's will"
		i.w.note(nil, nil, "the issuer ends %v", session)
		return x.plan
	}
	s.spentBy = x
	x.next = i.issue(session, s, x.grant, x.plan)
	x.next.sentAt = x.at
	i.w.rotations++
	return x.plan
}

func (s *set) String() string     { return s.name }
func (s *session) String() string { return s.name }

// RoundTrip is the network between a process and the issuer.
func (p *process) RoundTrip(r *http.Request) (*http.Response, error) {
	c := callOf(r.Context())
	p.w.mu.Lock()
	killed := p.killed
	p.w.mu.Unlock()
	if killed {
		return nil, errKilled
	}
	form := url.Values{}
	if r.Body != nil {
		text, _ := io.ReadAll(r.Body)
		form, _ = url.ParseQuery(string(text))
	}
	switch r.URL.Path {
	case "/token":
		return p.tokenRequest(r, c, form)
	case "/revoke":
		return p.revokeRequest(r, c, form)
	case "/userinfo":
		return p.userInfoRequest(r, c)
	case "/jwks":
		return p.keysRequest(r, c)
	}
	return p.apiRequest(r, c)
}

// tokenRequest is a refresh.
func (p *process) tokenRequest(r *http.Request, c *call, form url.Values) (*http.Response, error) {
	w := p.w
	w.mu.Lock()
	x := w.newSend(r.Context(), p, form)
	if x == nil {
		w.mu.Unlock()
		return reply(400, "", says("invalid_grant")(nil)), nil
	}
	up, down := w.draw(c, time.Millisecond, 150*time.Millisecond), w.draw(c, time.Millisecond, 150*time.Millisecond)
	switch x.plan.travel {
	case late:
		down = w.draw(c, slowLow, 20*time.Second)
	case deafHang, deafLate:
		down = w.draw(c, deafLow, deafHigh)
	case hang:
		down = 10 * time.Minute
	}
	w.trouble(x.set.session, x.troubleEnds(up+down))
	if x.plan.travel == dial {
		w.settle(x, undialled)
		w.mu.Unlock()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	w.mu.Unlock()

	isDeaf := x.plan.travel == deafHang || x.plan.travel == deafLate
	sent := p.wait(r.Context(), up, isDeaf) // cancelled or not, the request has left
	w.mu.Lock()
	how := w.issuer.process(x)
	w.mu.Unlock()
	if sent == nil {
		sent = p.wait(r.Context(), down, isDeaf)
	}
	return p.tokenAnswer(r.Context(), x, how, sent, isDeaf)
}

// troubleEnds is until when calls may fail for this answer.
func (x *send) troubleEnds(takes time.Duration) time.Duration {
	w := x.p.w
	until := w.now() + takes
	if x.plan.travel == hang {
		until = w.now() + w.timeout()
	}
	if takes < 3*time.Second && (x.plan.means == usable || x.plan.means == denied) {
		return 0
	}
	return until + max(5*time.Second, x.plan.holdBack())
}

// tokenAnswer has the answer arrive, or not.
func (p *process) tokenAnswer(ctx context.Context, x *send, how *answer, sent error, isDeaf bool) (*http.Response, error) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case sent != nil:
		w.checkSeenThrough(x)
		w.settle(x, lost)
		return nil, sent
	case how.travel == reset, how.travel == hang, how.travel == deafHang:
		w.settle(x, lost)
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	status, content := how.status, ""
	if status == 0 {
		status = 200
	}
	switch {
	case how.body != nil:
		content = how.body(x.next)
	case x.next != nil && status == 200:
		content = x.next.body()
	}
	means := how.means
	resp := reply(status, how.header, content)
	resp.Body = &answerBody{Reader: strings.NewReader(content), ctx: ctx, cut: how.travel == cut, isDeaf: isDeaf, ended: func(read bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !read && means != unread {
			means = lost
		}
		w.settle(x, means)
	}}
	return resp, nil
}

// answerBody tells when it has been read whole.
type answerBody struct {
	*strings.Reader
	ctx         context.Context
	cut, isDeaf bool
	ended       func(read bool)
	over        bool
}

func (b *answerBody) Read(to []byte) (int, error) {
	if err := b.ctx.Err(); err != nil && !b.isDeaf {
		b.end(false)
		return 0, err
	}
	if b.cut && b.Len() < 20 {
		b.end(false)
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.Reader.Read(to[:min(len(to), max(1, b.Len()-10*truth(b.cut)))])
	if err == io.EOF {
		b.end(true)
	}
	return n, err
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (b *answerBody) end(read bool) {
	if !b.over {
		b.over = true
		b.ended(read)
	}
}

func (b *answerBody) Close() error {
	b.end(false)
	return nil
}

func reply(status int, retryAfter, content string) *http.Response {
	header := http.Header{"Content-Type": {"application/json"}}
	if retryAfter != "" {
		header.Set("Retry-After", retryAfter)
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(strings.NewReader(content)), ContentLength: -1,
	}
}

// newSend notes a refresh request, and judges whether it may be. It is nil for a token
// that the issuer never made. w.mu is held.
func (w *world) newSend(ctx context.Context, p *process, form url.Values) *send {
	c := callOf(ctx)
	w.requests++
	s := w.issuer.byRefresh[form.Get("refresh_token")]
	if s == nil {
		w.violate(ownSession, p, c, "a refresh token is sent that the issuer never made")
		return nil
	}
	grant := 0
	for n := range grants {
		if form.Get("resource") == resourceOf(n) {
			grant = n
		}
	}
	x := &send{p: p, c: c, set: s, at: w.now(), grant: grant, plan: w.issuer.take(grant)}
	if w.coordinator != nil {
		x.turn = w.coordinator.turnOf(ctx, p)
	}
	if c != nil {
		x.good = c.kind != refresh && c.have.ExpiresAt.After(p.clock())
	}
	w.note(p, c, "sends %v, grant %s; the answer is: %s", s, grantName(grant), x.plan.name)
	w.judgeSend(x)
	w.sends[s] = append(w.sends[s], x)
	return x
}

func resourceOf(grant int) string {
	if grant == 0 {
		return ""
	}
	return fmt.Sprintf("https://api%d.sim.example", grant)
}

// settle notes how a request has ended for its process. w.mu is held.
func (w *world) settle(x *send, means meaning) {
	x.settled, x.settledAt, x.means = true, w.now(), means
	if x.p.killed {
		x.means = lost
		return
	}
	w.note(x.p, x.c, "its request with %v has ended: %v%s", x.set, means, became(x.next))
	if means == unusable {
		x.set.session.unusable = true
	}
	if hold := x.plan.holdBack(); hold > 0 {
		w.trouble(x.set.session, w.now()+hold) // from here on, if the process was stopped
	}
	s := x.next
	if s == nil || means != usable && means != unusable {
		return
	}
	s.receivedBy, s.receivedAt, s.means = x.p, w.now(), means
	if x.turn != nil {
		x.turn.set = s
	}
}

func became(next *set) string {
	if next == nil {
		return ""
	}
	return ", " + next.name
}

func (p *process) userInfoRequest(r *http.Request, c *call) (*http.Response, error) {
	w := p.w
	w.mu.Lock()
	w.requests++
	access, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s := w.issuer.byAccess[access]
	fails := works
	if w.now() < w.issuer.userInfoUntil {
		fails = w.issuer.userInfo
	}
	w.note(p, c, "asks for the user info of %v; the endpoint %v", s, fails)
	w.judgeUserInfo(p, c, s)
	takes := w.failing(c, fails, nil)
	w.mu.Unlock()
	if err := p.wait(r.Context(), takes, false); err != nil {
		return nil, err
	}
	if fails == refuses || s == nil {
		return reply(503, "", ""), nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !p.killed {
		p.asked[s] = true
	}
	return reply(200, "", fmt.Sprintf(`{"sub":%q,"email":"a@b.example"}`, s.session.subject)), nil
}

// failing is how long an operation takes, and notes the trouble. w.mu is held.
func (w *world) failing(c *call, fails failure, s *session) time.Duration {
	takes := w.draw(c, time.Millisecond, 20*time.Millisecond)
	switch fails {
	case works, loses, lags:
		return takes
	case slow:
		takes = w.draw(c, slowLow, slowHigh)
	case hangs:
		takes = 5 * time.Minute
		w.trouble(s, w.now()+w.timeout()+5*time.Second)
		return takes
	case deaf:
		takes = w.draw(c, deafLow, deafHigh)
	}
	w.trouble(s, w.now()+takes+5*time.Second)
	return takes
}

func (p *process) keysRequest(r *http.Request, c *call) (*http.Response, error) {
	w := p.w
	w.mu.Lock()
	w.requests++
	fails := works
	if w.now() < w.issuer.keysUntil {
		fails = w.issuer.keys
	}
	both := w.issuer.key == "k2" && w.now() >= w.issuer.publishes
	w.note(p, c, "fetches the keys; the endpoint %v, newest key published: %v", fails, both || w.issuer.key == "k1")
	takes := w.failing(c, fails, nil)
	w.mu.Unlock()
	if err := p.wait(r.Context(), takes, false); err != nil {
		return nil, err
	}
	if fails == refuses {
		return reply(503, "", ""), nil
	}
	return reply(200, "", keySets[both]), nil
}

func (p *process) revokeRequest(r *http.Request, c *call, form url.Values) (*http.Response, error) {
	w := p.w
	w.mu.Lock()
	w.requests++
	s := w.issuer.byRefresh[form.Get("token")]
	if s == nil {
		w.violate(ownSession, p, c, "a token is revoked that the issuer never made")
		w.mu.Unlock()
		return reply(200, "", ""), nil
	}
	fails := works
	if who, ok := r.Context().Value(revokerKey{}).(*revoker); ok {
		fails = who.fails
		w.noteRevocation(p, s)
	}
	w.note(p, c, "revokes %v; the endpoint %v", s, fails)
	s.revoked = true
	takes := w.failing(c, fails, nil)
	w.mu.Unlock()
	err := p.wait(r.Context(), takes, false)
	if err == nil && fails == refuses {
		return reply(503, "", ""), nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if fails != hangs {
		w.issuer.revoke(s)
	}
	if err == nil && fails == loses {
		err = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	if err != nil {
		return nil, err
	}
	return reply(200, "", ""), nil
}

// revoke ends a token's session. w.mu is held.
func (i *issuer) revoke(s *set) {
	if s.session.ended == "" && (s.spentBy == nil || i.w.h.setup.spentEnds) {
		s.session.ended = "revoked"
		i.w.note(nil, nil, "the issuer ends %v", s.session)
	}
}

// apiRequest is a call of an API with the access token of a source.
func (p *process) apiRequest(r *http.Request, c *call) (*http.Response, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	access, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if c != nil {
		c.used = p.w.issuer.byAccess[access]
	}
	return reply(200, "", "fine"), nil
}
