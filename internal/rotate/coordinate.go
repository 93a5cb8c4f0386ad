package rotate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
	"github.com/authpi/authpi-idp-go/internal/record"
	"github.com/authpi/authpi-idp-go/internal/seal"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
	"github.com/authpi/authpi-idp-go/internal/tokens"
)

// Coordinator has a refresh token redeemed once among all processes that share its
// Do. What one process got is sealed under the refresh token itself: only who holds
// that can read it. Its Redeem and Peek are an [Engine]'s.
type Coordinator struct {
	// Do runs spend at most once for an id among all processes, and returns the
	// bytes that it returned, to everybody. An error of spend leaves the turn to the
	// next process.
	Do func(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error)
	// ID and Clock are the engine's.
	ID    func(refreshToken string) string
	Clock *awake.Clock
	// Once spends the token, as [Engine.Redeem].
	Once func(ctx context.Context, have Tokens, grant string, owner any) (*Answer, error)
	// Refusal returns what other processes are told of an error, false where it is
	// not final: another process may try.
	Refusal func(error) (Refusal, bool)
	// Refused makes the error of another process's refusal.
	Refused func(refreshToken string, r Refusal) error
	// Failed makes a passing failure of what went wrong with Do, or with what it
	// returned.
	Failed func(have Tokens, what string, cause error) error
	// Turned is told how the Do of each Redeem ended, for the log.
	Turned func(ctx context.Context, have Tokens, t Turn)
	// Fault names what panicked.
	Fault func(any) error
}

// Turn is how one Do ended.
type Turn struct {
	Source record.Source // Issuer where the token was spent here, else Process
	Began  time.Time
	Waited time.Duration // until the token was spent here, or another process's result came
	Err    error         // the coordinator's own failure, whatever became of the token
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
func (c *Coordinator) Redeem(ctx context.Context, have Tokens, grant string, owner any) (*Answer, error) {
	turn := Turn{Began: time.Now(), Source: record.Process}
	id := c.ID(have.RefreshToken)
	own := redemption{done: make(chan struct{})}
	sealed, err := c.do(ctx, id, own.done, func(context.Context) ([]byte, error) {
		// Under the flight's context: a coordinator that ends its own in the middle,
		// because its lease ran out, would only lose the answer.
		answer, err := own.run(func() (*Answer, error) { return c.once(ctx, have, grant, owner) })
		if err == errLate {
			return nil, c.Failed(have, err.Error(), nil)
		}
		return c.publish(id, have, answer, err)
	})
	turn.Waited = time.Since(turn.Began)
	defer func() { c.Turned(ctx, have, turn) }()
	switch {
	case own.finish(): // whatever became of the coordinator since
		turn.Source, turn.Waited = record.Issuer, own.began.Sub(turn.Began)
		if err != nil && c.shared(have, own.answer, own.err) != nil {
			turn.Err = c.Failed(have, "the result could not be shared", err)
		}
		return own.answer, own.err
	case err != nil:
		turn.Err = c.Failed(have, "failed", err)
		return nil, turn.Err
	}
	return c.open(id, have, sealed, &turn.Err)
}

// once is Once, whose panic is a passing failure: the token may be spent.
func (c *Coordinator) once(ctx context.Context, have Tokens, grant string, owner any) (answer *Answer, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			answer, err = nil, c.Failed(have, "", c.Fault(fault))
		}
	}()
	return c.Once(ctx, have, grant, owner)
}

// Peek returns what other processes have made of a token, if anything.
func (c *Coordinator) Peek(ctx context.Context, have Tokens) (*Answer, bool) {
	id := c.ID(have.RefreshToken)
	// An error brings nothing that could be opened.
	sealed, _ := c.do(ctx, id, nil, func(context.Context) ([]byte, error) { return nil, errPeek })
	var unreadable error
	answer, err := c.open(id, have, sealed, &unreadable)
	return answer, err == nil
}

// What a spend returns that has nothing to share: it only wants to know what others
// spent, the issuer did not rotate, so that the token works for everybody, or Do has
// returned without it.
var (
	errPeek   = errors.New("authpi: looking for a successor, nothing to spend")
	errReused = errors.New("authpi: the issuer did not rotate, nothing to share")
	errLate   = errors.New("it has returned already")
)

// publish seals what a redemption brought, final refusals included.
func (c *Coordinator) publish(id string, have Tokens, answer *Answer, err error) ([]byte, error) {
	plain := c.shared(have, answer, err)
	if plain == nil {
		return nil, cmp.Or(err, errReused)
	}
	return seal.Seal(have.RefreshToken, id, plain)
}

// shared returns what other processes are told of a redemption, nil for nothing:
// another process may try, or use the same token again.
func (c *Coordinator) shared(have Tokens, answer *Answer, err error) []byte {
	if err != nil {
		refusal, final := c.Refusal(err)
		if !final {
			return nil
		}
		return refusal.append(nil)
	}
	if answer.Next.RefreshToken == have.RefreshToken {
		return nil
	}
	return answer.append(nil)
}

// do is Do, whose panic is an error, for the token may be spent. Nobody waits for a
// Do that is deaf: for longer than ctx, or, once redeemed is closed, than it takes to
// publish what has come.
func (c *Coordinator) do(ctx context.Context, id string, redeemed <-chan struct{}, spend func(context.Context) ([]byte, error)) ([]byte, error) {
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
	case <-redeemed:
	}
	limit := c.Clock.Limit(publishTime)
	defer limit.Stop()
	if late := limit.Wait(ctx, done); late != nil {
		return nil, late
	}
	return sealed, err
}

// redemption is this process's turn in a Do. Even a coordinator that calls spend twice,
// in a goroutine of its own, or after Do has returned, redeems once, and never behind
// our back.
type redemption struct {
	done   chan struct{} // closed when answer and err are set
	began  time.Time
	answer *Answer
	err    error

	mu      sync.Mutex // guards all below
	started bool
	over    bool // Do has returned
}

// run redeems, or waits for what the first call of spend brings.
func (r *redemption) run(redeem func() (*Answer, error)) (*Answer, error) {
	r.mu.Lock()
	first, late := !r.started, !r.started && r.over
	r.started = !late
	r.mu.Unlock()
	switch {
	case late:
		return nil, errLate
	case first:
		defer close(r.done)
		r.began = time.Now()
		r.err = errors.New("the refresh ended without an answer")
		r.answer, r.err = redeem()
	default:
		<-r.done
	}
	return r.answer, r.err
}

// finish waits for a redemption that has begun, and prevents one that has not. It
// reports whether there was one.
func (r *redemption) finish() bool {
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

func (a *Answer) append(dst []byte) []byte {
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
	dst = fmt.Appendf(dst, `,"status":%d,"subjects":`, r.Status)
	dst = strictjson.AppendStrings(dst, r.Subjects)
	return append(dst, "}}"...)
}

// open reads what another process published for a refresh token. What another
// version wrote, and this one cannot read, ends no session: unreadable is then the
// error, too.
func (c *Coordinator) open(id string, have Tokens, sealed []byte, unreadable *error) (*Answer, error) {
	plain, err := seal.Open(have.RefreshToken, id, sealed)
	if err != nil {
		*unreadable = c.Failed(have, "", err)
		return nil, *unreadable
	}
	answer, refusal, err := readShared(string(plain))
	switch {
	case err != nil:
	case refusal != nil && refusal.Code != "":
		return nil, c.Refused(have.RefreshToken, *refusal)
	case answer.Next.AccessToken != "" && answer.Next.RefreshToken != have.RefreshToken:
		return answer, nil // nobody shares that a token became itself
	}
	*unreadable = c.Failed(have, "the result cannot be read", err)
	return nil, *unreadable
}

func readShared(plain string) (answer *Answer, refusal *Refusal, err error) {
	answer = &Answer{Shared: true}
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
