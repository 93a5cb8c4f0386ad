package simulation_test

import (
	"errors"
	"slices"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// judgeReturn judges what a call gives. w.mu is held.
func (w *world) judgeReturn(c *call, got *set) {
	w.judgeTime(c)
	w.judgeTold(c)
	switch {
	case c.err != nil:
		w.judgeFailure(c)
	case got == nil || got.session != c.session || c.agent != nil && !c.owns(c.agent):
		w.violate(ownSession, c.p, c, "it gets %v", version{set: got})
	case c.kind != source && got != c.haveSet:
		w.judgeGiven(c, got)
	default:
		if at, noted := c.p.notes[got]; noted && at < c.start {
			w.violate(staysOut, c.p, c, "it gets %v, which was revoked in this process", got)
		}
	}
}

func (c *call) owns(agent *authpi.Agent) bool {
	return agent.ID == c.session.subject && (agent.SessionID == "" || agent.SessionID == c.session.id)
}

// judgeGiven judges a set that a call gives to its caller. w.mu is held.
func (w *world) judgeGiven(c *call, got *set) {
	p := c.p
	if w.isOlder(p, got, c.haveSet) && !w.isForgotten(p, got, c.haveSet) {
		w.violate(inOrder, p, c, "it gets %v, which is older than its own %v", got, c.haveSet)
	}
	if got.isRefused() {
		w.violate(refusedStays, p, c, "it gets %v", got)
	}
	if c.signedOut() {
		w.violate(staysOut, p, c, "it gets %v after its Reload said that nobody is signed in", got)
	}
	if why := w.revokedHere(p, got); why != nil && p.notes[why] < c.start {
		w.violate(staysOut, p, c, "it gets %v after %v was revoked in this process", got, why)
	}
	if got.grant != c.grant && !got.stored() {
		w.violate(ownGrant, p, c, "it gets %v of grant %s", got, grantName(got.grant))
	}
	w.judgeStored(c, got)
}

// isRefused reports whether a set must not be used. Where its process was stopped since it
// came there was no time to fetch the keys: then it is used without its ID token.
func (s *set) isRefused() bool { return s.means == unusable && s.receivedBy.stopUntil < s.receivedAt }

// signedOut reports whether the last thing that the caller's store said is that nobody is
// signed in.
func (c *call) signedOut() bool {
	n := len(c.reloads)
	return n > 0 && c.reloads[n-1].set == nil && !c.reloads[n-1].failed
}

// stored reports whether a store could have given a set. Nobody knows what a set from a
// store was asked for with.
func (s *set) stored() bool {
	for _, h := range s.session.homes {
		for _, v := range h.versions {
			if v.set == s {
				return true
			}
		}
	}
	return false
}

// learn notes that only a store could tell a process what a set has become. Where a clock
// was set a process may take an older set for a newer one: that is nothing to know.
// w.mu is held.
func (p *process) learn(old, newer *set) {
	if newer.index < old.index {
		return
	}
	if _, before := p.heard[old]; !before && newer.receivedBy != p && !p.told[newer] {
		p.heard[old] = p.w.now()
	}
}

// judgeStored wants a set in its caller's own store, from where it came or by OnRefresh.
func (w *world) judgeStored(c *call, got *set) {
	for _, r := range c.reloads {
		if r.set == got {
			c.p.learn(c.haveSet, got)
			return
		}
	}
	for _, run := range c.refreshed {
		if run.set == got && run.over && run.err == nil {
			return
		}
	}
	if c.hasOnRefresh {
		w.violate(reachesStore, c.p, c, "it gets %v, which its OnRefresh has not stored", got)
	}
}

// judgeFailure judges an error that a call returns. w.mu is held.
func (w *world) judgeFailure(c *call) {
	p, s := c.p, c.session
	if strings.Contains(c.err.Error(), "secret~") {
		w.violate(secretFree, p, c, "the error shows a token")
	}
	if authpi.SessionEnded(c.err) {
		known := s.ended != "" || s.revocationAt >= 0 || s.unusable || s.mixed
		if !known && !c.foundNothing() {
			w.violate(reasonToEnd, p, c, "the session is said to have ended: %v", c.err)
		}
		return
	}
	if c.leftAt >= 0 {
		w.judgeLeaving(c)
		return
	}
	w.judgeEnd(c)
	if w.refusedAsAsked(c) {
		return
	}
	w.judgeCause(c)
	w.judgeEarly(c)
	w.judgeRetryAfter(c)
}

// judgeEnd wants the end of a session told to whoever got the issuer's word for it.
func (w *world) judgeEnd(c *call) {
	if len(c.led) == 0 || c.storeFailed() {
		return
	}
	var e *authpi.OAuthError
	var failed *authpi.RefreshError
	if w.coordinator != nil && errors.As(c.err, &e) && e.StatusCode == 0 {
		return // it did not wait until the others were told
	}
	if !errors.As(c.err, &failed) {
		return // it went on with what its store had, and asked whose that is
	}
	last := c.led[len(c.led)-1]
	if n := len(c.reloads); n > 0 && c.reloads[n-1].set != nil && c.reloads[n-1].set.index > last.set.index {
		return // it went on with what its store had
	}
	ofGrant := c.grant != 0 && last.plan.status == 403 // as far as the client can tell
	if last.means == dead && !ofGrant {
		w.violate(endIsTold, c.p, c, "after the answer %q: %v", last.plan.name, c.err)
	}
}

// judgeCause wants a reason for a failure that passes. w.mu is held.
func (w *world) judgeCause(c *call) {
	p := c.p
	if c.start > max(c.session.troubledUntil, w.troubledUntil) && !c.saveFailed() && !w.sharedFailure(c) {
		w.violate(causeless, p, c, "%v", c.err)
	}
	if c.kind == create && c.left > w.buffer()+time.Second && p.asked[c.haveSet] && p.jumpedAt < 0 {
		w.violate(goesOn, p, c, "%v", c.err)
	}
}

// judgeEarly wants nobody failed for a reason that passes while the access token is good.
func (w *world) judgeEarly(c *call) {
	p := c.p
	good := c.patient && c.have.ExpiresAt.After(p.clock())
	hadIdentity := c.have.IDToken != "" && !strings.Contains(c.err.Error(), "user info")
	if good && hadIdentity && !c.saveFailed() && mayPass(c.err) {
		w.violate(nobodyEarly, p, c, "the access token is still good: %v", c.err)
	}
}

// judgeRetryAfter wants the rest of an issuer's Retry-After in the error of a call for
// which nothing was sent. w.mu is held.
func (w *world) judgeRetryAfter(c *call) {
	if len(c.led) > 0 || c.storeFailed() || c.p.jumpedAt >= 0 || w.coordinator != nil {
		return
	}
	left := w.retryAfter(c)
	var failed *authpi.RefreshError
	e := &authpi.OAuthError{}
	_ = errors.As(c.err, &e)
	if errors.As(c.err, &failed) && left > 0 && (e.RetryAfter <= 0 || e.RetryAfter > left+time.Second) {
		w.violate(retryTold, c.p, c, "the error says otherwise than to wait for %v: %v", left, c.err)
	}
}

// retryAfter is what is left of what the issuer asked for. w.mu is held.
func (w *world) retryAfter(c *call) (left time.Duration) {
	for _, x := range w.sends[c.haveSet] {
		saysWhen := x.means == passing && x.plan.header != ""
		if saysWhen && x.p == c.p && x.settledAt < c.start {
			left = max(left, x.settledAt+x.plan.holdBack()-w.now())
		}
	}
	return left
}

// mayPass reports whether an error is about the issuer's or a store's state, and not
// about the request.
func mayPass(err error) bool {
	var e *authpi.OAuthError
	if !errors.As(err, &e) {
		return false
	}
	switch e.StatusCode {
	case 0, 200, 408, 425, 429:
		return true
	}
	return e.StatusCode >= 500
}

// foundNothing reports whether the caller's own store said that nobody is signed in.
func (c *call) foundNothing() bool {
	for _, r := range c.reloads {
		if r.set == nil && !r.failed {
			return true
		}
	}
	return false
}

// saveFailed reports whether a caller's OnRefresh failed, or had no time left, since that
// of others took all of it.
func (c *call) saveFailed() bool {
	var failed *authpi.RefreshError
	if errors.As(c.err, &failed) {
		if _, unsaved := failed.Tokens(); unsaved && c.w.storedMeanwhile(c) {
			return true
		}
	}
	for _, run := range c.refreshed {
		if !run.over || run.err != nil {
			return true
		}
	}
	return false
}

// sharedFailure reports whether a call waited for a request that failed, or a source's
// call for another one's, whose OnRefresh failed.
func (w *world) sharedFailure(c *call) bool {
	for _, x := range w.sendsOf(c.session) {
		if x.p == c.p && x.settled && x.settledAt >= c.start && (x.means == passing || x.lost()) {
			return true
		}
	}
	return c.kind == source && slices.ContainsFunc(w.besides(c), func(other *call) bool {
		return other.kind == source && other.over && other.ended >= c.start && other.saveFailed()
	})
}

// storeFailed reports whether a caller's own store failed, so that its error is about
// that.
func (c *call) storeFailed() bool {
	n := len(c.reloads)
	return c.saveFailed() || c.reading || n > 0 && c.reloads[n-1].failed
}

// refusedAsAsked reports whether the issuer has refused the client, or what this caller
// asks for beside the tokens. An answer about another grant is none of its business.
func (w *world) refusedAsAsked(c *call) bool {
	var e *authpi.OAuthError
	if !errors.As(c.err, &e) {
		return false
	}
	switch e.Code {
	case "invalid_client", "unauthorized_client":
		return true
	case "access_denied", "invalid_scope", "invalid_target":
	default:
		return false
	}
	for _, x := range w.sendsOf(c.session) {
		if (x.means == denied || x.means == dead) && x.grant == c.grant {
			return true
		}
	}
	w.violate(ownGrant, c.p, c, "it is refused what another has asked for: %v", c.err)
	return true
}

func (w *world) sendsOf(s *session) (all []*send) {
	for _, x := range s.sets {
		all = append(all, w.sends[x]...)
	}
	return all
}

// judgeLeaving wants a caller gone at once that only waited for others, and one that leads
// a flight stay. One that has a store may have to, too. w.mu is held.
func (w *world) judgeLeaving(c *call) {
	for _, x := range c.led {
		early := c.ended-c.start < min(w.timeout(), patience)-time.Second/2
		if !x.settled && early && c.kind != source {
			w.violate(seenThrough, c.p, c, "it leaves its request with %v", x.set)
		}
	}
	if w.coordinator != nil || c.hasReload || len(c.led) > 0 || len(c.refreshed) > 0 || c.asked > 0 {
		return
	}
	if late := c.ended - c.leftAt; late > tolerance && c.p.stopUntil < c.start {
		w.violate(mayLeave, c.p, c, "it returns %v after its context ended", late)
	}
}

// judgeTime judges how long a call took. w.mu is held.
func (w *world) judgeTime(c *call) {
	if c.p.stopUntil > c.start {
		return
	}
	limit := w.budget(c)
	if took := c.ended - c.start; took > limit+slack {
		w.violate(inTime, c.p, c, "it took %v; want at most %v", took, limit)
	}
}

// budget is how long a call may take: as long as a refresh may, and longer where it has
// to do more than that. w.mu is held.
func (w *world) budget(c *call) time.Duration {
	limit := w.timeout()
	if c.patient && c.have.ExpiresAt.After(c.p.clock()) && c.p.jumpedAt < c.start { // else its token may have ended
		limit = min(limit, patience)
	}
	once := limit
	for _, run := range c.refreshed {
		limit += min(run.lasted(), w.timeout())
	}
	for _, more := range []struct {
		is   bool
		time time.Duration
	}{
		{len(c.reloads)+truth(c.reading) > 1, once},             // its store was asked once more, since the token was refused
		{w.waited(c) || c.hasReload && !c.patient, w.timeout()}, // whoever leads a flight has all of the time for that
		{w.storedMeanwhile(c), w.timeout()},
		{c.asked > 0 || c.have.IDToken == "" || w.lacksIDToken(c), 31 * time.Second}, // of the user info endpoint
	} {
		if more.is {
			limit += more.time
		}
	}
	return limit
}

// lacksIDToken reports whether a call may have got a set whose identity comes from the
// user info endpoint. Another one may have asked that.
func (w *world) lacksIDToken(c *call) bool {
	return slices.ContainsFunc(c.session.sets, func(s *set) bool { return s.id == "" })
}

func (run *refreshing) lasted() time.Duration {
	if run.over {
		return run.ended - run.began
	}
	return run.c.w.now() - run.began
}

// waited reports whether a call may have waited for another one's flight at first.
func (w *world) waited(c *call) bool {
	for _, other := range w.besides(c) {
		if other.start <= c.start && (!other.over || other.ended > c.start) {
			return true
		}
	}
	for _, x := range w.sendsOf(c.session) {
		if x.p == c.p && x.at <= c.start && (!x.settled || x.settledAt > c.start) {
			return true
		}
	}
	return false
}

// storedMeanwhile reports whether others stored a set of the session during a call, for
// which its own OnRefresh has to wait.
func (w *world) storedMeanwhile(c *call) bool {
	for _, other := range w.besides(c) {
		for _, run := range other.refreshed {
			if !run.over || run.ended > c.start {
				return true
			}
		}
	}
	return false
}

// besides are the other calls for a session in the same process.
func (w *world) besides(c *call) (others []*call) {
	for _, other := range w.calls {
		if other != c && other.p == c.p && other.session == c.session {
			others = append(others, other)
		}
	}
	return others
}
