package rotate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
	"github.com/authpi/authpi-idp-go/internal/seal"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
	"github.com/authpi/authpi-idp-go/internal/tokens"
)

// Coordinator has a refresh token redeemed once among all processes that share its
// Do. What one process got is sealed under the refresh token itself: only who holds
// that can read it. Its Redeem and Peek are an [Engine]'s.
type Coordinator struct {
	// Do runs spend at most once for an id among all processes, and returns the
	// bytes that it returned, to everybody.
	Do func(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error)
	// ID and Clock are the engine's.
	ID    func(refreshToken string) string
	Clock *awake.Clock
	// Once spends the token, as [Engine.Redeem].
	Once func(ctx context.Context, have Tokens, grant string, owner any) (Answer, error)
	// Refusal returns what other processes are told of an error, false where it is
	// not final: another process may try.
	Refusal func(error) (Refusal, bool)
	// Refused makes the error of another process's refusal.
	Refused func(refreshToken string, r Refusal) error
	// Failed makes a passing failure of what went wrong with Do, or with what it
	// returned.
	Failed func(ctx context.Context, have Tokens, what string, cause error) error
	// Fault names what panicked.
	Fault func(any) error
}

// Refusal is an error as other processes read it.
type Refusal struct {
	Code, Description string
	Status            int
	Subjects          []string // the expected subject and the one that came, where they differ
}

// publishTime is how long a set that has come waits until the others can read it.
const publishTime = 5 * time.Second

// Redeem redeems the refresh token, or learns from another process what became of
// it.
func (c *Coordinator) Redeem(ctx context.Context, have Tokens, grant string, owner any) (Answer, error) {
	id := c.ID(have.RefreshToken)
	own := redemption{done: make(chan struct{})}
	sealed, err := c.call(ctx, id, own.done, func(context.Context) ([]byte, error) {
		// Under the flight's context: a coordinator that ends its own in the middle,
		// because its lease ran out, would only lose the answer.
		answer, err := own.once(func() (Answer, error) { return c.Once(ctx, have, grant, owner) })
		if err == errLate {
			return nil, c.Failed(ctx, have, err.Error(), nil)
		}
		return c.publish(id, have, answer, err)
	})
	if own.begun() {
		return own.answer, own.err // whatever became of the coordinator since
	}
	if err != nil {
		return Answer{}, c.Failed(ctx, have, "failed", err)
	}
	return c.open(ctx, id, have, sealed)
}

// Peek returns what other processes have made of a token, if anything.
func (c *Coordinator) Peek(ctx context.Context, have Tokens) (Answer, bool) {
	id := c.ID(have.RefreshToken)
	sealed, err := c.call(ctx, id, nil, func(context.Context) ([]byte, error) { return nil, errPeek })
	if err != nil {
		return Answer{}, false
	}
	answer, err := c.open(ctx, id, have, sealed)
	return answer, err == nil
}

// What a spend returns that has nothing to share: it only wants to know what others
// spent, or the issuer did not rotate, so that the token works for everybody.
var (
	errPeek   = errors.New("authpi: looking for a successor, nothing to spend")
	errReused = errors.New("authpi: the issuer did not rotate, nothing to share")
	errLate   = errors.New("it has returned already")
)

// publish seals what a redemption brought, final refusals included.
func (c *Coordinator) publish(id string, have Tokens, answer Answer, err error) ([]byte, error) {
	switch {
	case err != nil:
		refusal, final := c.Refusal(err)
		if !final {
			return nil, err // another process may try
		}
		return seal.Seal(have.RefreshToken, id, refusal.append(nil))
	case answer.Next.RefreshToken == have.RefreshToken:
		return nil, errReused
	}
	return seal.Seal(have.RefreshToken, id, answer.append(nil))
}

// call is Do, whose panic is an error, for the token may be spent. Nobody waits for
// a Do that is deaf: for longer than ctx, or than it takes to publish what has come.
func (c *Coordinator) call(ctx context.Context, id string, come <-chan struct{}, spend func(context.Context) ([]byte, error)) ([]byte, error) {
	done := make(chan struct{})
	var sealed []byte
	err := errors.New("it ended without an answer")
	go func() {
		defer close(done)
		defer func() {
			if fault := recover(); fault != nil {
				err = c.Fault(fault)
			}
		}()
		sealed, err = c.Do(ctx, id, spend)
	}()
	select {
	case <-done:
		return sealed, err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-come:
	}
	limit := c.Clock.Limit(publishTime)
	defer limit.Stop()
	if late := limit.Wait(ctx, done, 0); late != nil {
		return nil, late
	}
	return sealed, err
}

// redemption is this process's turn in a Do. A coordinator that calls it twice, in a
// goroutine of its own, or when it has returned already, still redeems once, and
// never behind our back.
type redemption struct {
	done   chan struct{} // closed when answer and err are set
	answer Answer
	err    error

	mu      sync.Mutex // guards all below
	started bool
	over    bool // Do has returned
}

func (r *redemption) once(redeem func() (Answer, error)) (Answer, error) {
	r.mu.Lock()
	first, late := !r.started, !r.started && r.over
	r.started = !late
	r.mu.Unlock()
	switch {
	case late:
		return Answer{}, errLate
	case first:
		defer close(r.done)
		r.err = errors.New("the refresh ended without an answer")
		r.answer, r.err = redeem()
	default:
		<-r.done
	}
	return r.answer, r.err
}

// begun waits for a redemption that has begun, and prevents any other.
func (r *redemption) begun() bool {
	r.mu.Lock()
	r.over = true
	started := r.started
	r.mu.Unlock()
	if started {
		<-r.done
	}
	return started
}

// The sealed form of an outcome, which other processes read.
const (
	keyTokens  = "tokens"
	keyGrant   = "grant"
	keyRefused = "refused"
)

func (a Answer) append(dst []byte) []byte {
	dst = append(dst, `{"`+keyTokens+`":`...)
	dst = append(dst, a.Next.JSON()...)
	dst = append(dst, `,"`+keyGrant+`":`...)
	dst = strictjson.AppendString(dst, a.Grant)
	return append(dst, '}')
}

func (r Refusal) append(dst []byte) []byte {
	dst = append(dst, `{"`+keyRefused+`":{"code":`...)
	dst = strictjson.AppendString(dst, r.Code)
	dst = append(dst, `,"description":`...)
	dst = strictjson.AppendString(dst, r.Description)
	dst = fmt.Appendf(dst, `,"status":%d`, r.Status)
	if len(r.Subjects) > 0 {
		dst = append(dst, `,"subjects":`...)
		dst = strictjson.AppendStrings(dst, r.Subjects)
	}
	return append(dst, "}}"...)
}

// open reads what another process published for a refresh token. What another
// version wrote, and this one cannot read, ends no session.
func (c *Coordinator) open(ctx context.Context, id string, have Tokens, sealed []byte) (Answer, error) {
	plain, err := seal.Open(have.RefreshToken, id, sealed)
	if err != nil {
		return Answer{}, c.Failed(ctx, have, "", err)
	}
	answer, refusal, err := readShared(string(plain))
	switch {
	case err != nil:
	case refusal != nil && (refusal.Code != "" || len(refusal.Subjects) == 2):
		return Answer{}, c.Refused(have.RefreshToken, *refusal)
	case answer.Next.AccessToken != "" && answer.Next.RefreshToken != have.RefreshToken:
		return answer, nil // following a token to itself would never end
	}
	return Answer{}, c.Failed(ctx, have, "the result cannot be read", err)
}

func readShared(plain string) (answer Answer, refusal *Refusal, err error) {
	answer.Shared = true
	r := strictjson.NewReader(plain)
	for m := r.Members(); m.Next(); {
		switch m.Name {
		case keyTokens:
			raw, _ := r.Raw()
			answer.Next, err = tokens.Parse([]byte(raw))
		case keyGrant:
			answer.Grant, _ = r.Text()
		case keyRefused:
			refusal = readRefusal(&r)
		}
	}
	return answer, refusal, errors.Join(r.End(), err)
}

func readRefusal(r *strictjson.Reader) *Refusal {
	refusal := &Refusal{}
	for m := r.Members(); m.Next(); {
		switch m.Name {
		case "code":
			refusal.Code, _ = r.Text()
		case "description":
			refusal.Description, _ = r.Text()
		case "status":
			status, _ := r.Int()
			refusal.Status = int(status)
		case "subjects":
			refusal.Subjects, _ = r.TextsOrNull()
		}
	}
	return refusal
}
