package authpi

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/authpi/authpi-idp-go/internal/redact"
	"github.com/authpi/authpi-idp-go/internal/seal"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// RefreshCoordinator lets several processes spend a refresh token once between
// them. Within one process nothing is needed: a shared flight always stands in
// front, so Do is called once for each id and process, with a context of its own
// that no caller's cancellation ends. Package authpiredis has one over Redis.
type RefreshCoordinator interface {
	// Do runs spend at most once for an id among all who share the coordinator,
	// and gives each of them the bytes that it returned, for a while after too. An
	// error of spend is not kept: it means that nothing final happened.
	//
	// id is a digest, safe to store and log. The bytes are sealed: only a holder
	// of the old refresh token can read them. An error means that nobody could be
	// asked; the refresh then fails for a passing reason and spends nothing.
	Do(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error)
}

// coordinate redeems the refresh token, or learns from another process what
// became of it.
func (c *IdpClient) coordinate(ctx context.Context, id string, current TokenSet, r *renewal) (rotation, error) {
	if c.cfg.Coordinator == nil {
		return c.redeem(ctx, current, r)
	}
	own := redemption{done: make(chan struct{})}
	sealed, err := c.ask(ctx, id, func(context.Context) ([]byte, error) {
		// Under the flight's context: a coordinator that ends its own in the middle,
		// because its lease ran out, would only lose the answer.
		rotated, err := own.once(func() (rotation, error) { return c.redeem(ctx, current, r) })
		switch {
		case err != nil && !isDead(err):
			return nil, err // nothing final: another process may try
		case rotated.kept:
			return nil, errKept
		}
		return seal.Seal(current.RefreshToken, id, appendResult(rotated, err))
	})
	if rotated, err, done := own.result(); done {
		return rotated, err // whatever became of the coordinator since
	}
	if err != nil {
		cause := masked(err, secretsOf(current)...)
		c.log.WarnContext(ctx, "authpi: refresh coordinator failed", "key", c.rotations.shortID(current.RefreshToken), "error", cause)
		return rotation{}, refreshFailed(codeTransport, "the coordinator failed: "+cause.Error(), cause)
	}
	return c.follow(ctx, current, id, sealed)
}

// errKept is what a spend returns where the issuer did not rotate: the token works
// for everybody, and what it gave would only stand in the way of the next refresh.
var errKept = errors.New("authpi: the issuer did not rotate, nothing to share")

// isDead tells whether a refresh token is no good any more, for any process: it was
// refused as such, or spent in vain.
func isDead(err error) bool {
	return !isPassing(err) && errors.Is(err, ErrInvalidGrant) || spentInVain(err) != nil
}

// ask is the coordinator's Do. Its panic is an error, for the token may be spent,
// and so is a Do that goes on when its time is over: nobody waits for that.
func (c *IdpClient) ask(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
	type answer struct {
		sealed []byte
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		a := answer{err: errors.New("it ended without an answer")}
		defer func() {
			if fault := recover(); fault != nil {
				a.err = fmt.Errorf("it panicked with a %T", fault)
			}
			answered <- a
		}()
		a.sealed, a.err = c.cfg.Coordinator.Do(ctx, id, spend)
	}()
	select {
	case a := <-answered:
		return a.sealed, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// redemption is this process's turn in a coordinator's Do. A coordinator that
// calls it twice, in a goroutine of its own, or when it has given up already,
// still redeems once, and never behind our back.
type redemption struct {
	done     chan struct{} // closed when rotation and err are set
	rotation rotation
	err      error

	mu    sync.Mutex // guards all below
	begun bool
	over  bool // Do has returned
}

func (o *redemption) once(redeem func() (rotation, error)) (rotation, error) {
	o.mu.Lock()
	first, late := !o.begun, !o.begun && o.over
	o.begun = !late
	o.mu.Unlock()
	if late {
		return rotation{}, refreshFailed(codeTransport, "the coordinator has returned already", nil)
	}
	if first {
		defer close(o.done)
		o.err = refreshFailed(codeTransport, "the refresh ended without an answer", nil)
		o.rotation, o.err = redeem()
		return o.rotation, o.err
	}
	<-o.done
	return o.rotation, o.err
}

// result waits for a redemption that has begun, and prevents any other.
func (o *redemption) result() (r rotation, err error, done bool) {
	o.mu.Lock()
	o.over = true
	begun := o.begun
	o.mu.Unlock()
	if !begun {
		return rotation{}, nil, false
	}
	<-o.done
	return o.rotation, o.err, true
}

// follow opens what another process published under id, and goes on to what its
// successors became: an older set must not be stored over a newer one.
func (c *IdpClient) follow(ctx context.Context, spent TokenSet, id string, sealed []byte) (rotation, error) {
	found, err := unseal(spent.RefreshToken, id, sealed)
	if err != nil {
		return rotation{}, err
	}
	c.event(ctx, "refresh done by another process", spent)
	for range maxHops {
		if found.kept || found.tokens.RefreshToken == "" {
			break
		}
		newer := c.look(ctx, found.tokens)
		if newer == nil {
			break
		}
		found = *newer
	}
	return found, nil
}

// look asks what became of a successor. It takes the place of a flight, so that the
// coordinator is never asked twice at once for one id, and waits for a real one.
func (c *IdpClient) look(ctx context.Context, at TokenSet) (newer *rotation) {
	f, first := c.rotations.join(c.rotations.id(at.RefreshToken))
	if !first {
		select {
		case <-f.done:
			return f.outcome.rotation
		case <-ctx.Done():
			return nil
		}
	}
	defer func() { c.rotations.finish(f, outcome{rotation: newer}) }()
	sealed, err := c.ask(ctx, f.id, func(context.Context) ([]byte, error) { return nil, errLooking })
	if err != nil {
		return nil
	}
	found, err := unseal(at.RefreshToken, f.id, sealed)
	if err != nil {
		return nil
	}
	c.rotations.remember(at, found)
	return &found
}

// errLooking is what a spend returns that only wants to know what others spent.
var errLooking = errors.New("authpi: looking for a successor, nothing to spend")

// The sealed form of an outcome, which other processes read.
const (
	resultTokens  = "tokens"
	resultGrant   = "grant"
	resultKept    = "kept"
	resultRefused = "refused"
)

// appendResult writes a rotation, or the final refusal in its place.
func appendResult(rotated rotation, err error) []byte {
	var refused *OAuthError
	if errors.As(err, &refused) {
		dst := append([]byte(nil), `{"`+resultRefused+`":{"code":`...)
		dst = strictjson.AppendString(dst, refused.Code)
		dst = append(dst, `,"description":`...)
		dst = strictjson.AppendString(dst, refused.Description)
		dst = fmt.Appendf(dst, `,"status":%d`, refused.StatusCode)
		var mismatch *SubjectMismatchError
		if errors.As(err, &mismatch) {
			dst = append(dst, `,"subjects":`...)
			dst = strictjson.AppendStrings(dst, []string{mismatch.Expected, mismatch.Actual})
		}
		return append(dst, "}}"...)
	}
	tokens, _ := rotated.tokens.MarshalJSON() // never fails
	dst := append([]byte(nil), `{"`+resultTokens+`":`...)
	dst = append(dst, tokens...)
	dst = append(dst, `,"`+resultGrant+`":`...)
	dst = strictjson.AppendString(dst, rotated.grant)
	return fmt.Appendf(dst, `,"`+resultKept+`":%t}`, rotated.kept)
}

// unseal opens what another process published for a refresh token. The error is a
// *RefreshError: that process's final refusal, or a passing one where the text
// cannot be opened.
func unseal(refreshToken, id string, sealed []byte) (rotation, error) {
	plain, err := seal.Open(refreshToken, id, sealed)
	if err != nil {
		return rotation{}, refreshFailed(codeTransport, "the coordinator: "+err.Error(), err)
	}
	var found rotation
	var tokensErr error
	var refused *RefreshError
	r := strictjson.NewReader(string(plain))
	for m := r.Members(); m.Next(); {
		switch m.Name {
		case resultTokens:
			raw, _ := r.Raw()
			found.tokens, tokensErr = ParseTokenSet([]byte(raw))
		case resultGrant:
			found.grant, _ = r.Text()
		case resultKept:
			found.kept, _ = r.Bool()
		case resultRefused:
			refused = readRefusal(&r, refreshToken)
		}
	}
	err = errors.Join(r.End(), tokensErr)
	switch {
	case err == nil && refused != nil:
		return rotation{}, refused
	case err == nil && found.tokens.AccessToken != "":
		// Whatever it says: following a token to itself would wait for this very flight.
		found.kept = found.kept || found.tokens.RefreshToken == refreshToken
		return found, nil
	}
	// Neither tokens nor a refusal: what another version wrote ends no session.
	return rotation{}, refreshFailed(codeTransport, "the coordinator's result cannot be read", err)
}

// readRefusal gives nil for what names no code.
func readRefusal(r *strictjson.Reader, secret string) *RefreshError {
	refused := &OAuthError{op: opRefresh}
	var subjects []string
	for m := r.Members(); m.Next(); {
		switch m.Name {
		case "code":
			refused.Code, _ = r.Text()
		case "description":
			refused.Description, _ = r.Text()
			refused.Description = redact.Text(refused.Description, secret)
		case "status":
			status, _ := r.Int()
			refused.StatusCode = int(status)
		case "subjects":
			subjects, _ = r.TextsOrNull()
		}
	}
	if len(subjects) == 2 {
		return &RefreshError{cause: subjectMismatch(subjects[0], subjects[1], secret)}
	}
	if refused.Code == "" {
		return nil
	}
	return &RefreshError{cause: refused}
}
