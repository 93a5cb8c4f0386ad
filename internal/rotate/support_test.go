package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
	"github.com/authpi/authpi-idp-go/internal/rotate"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// The limits of a world's engine.
const (
	memory   = time.Minute
	timeout  = 30 * time.Second
	patience = 5 * time.Second
	life     = 30 * time.Minute
)

// errPassing is what an issuer that is unreachable causes, errUnusable what one causes
// whose refusal is final.
var (
	errPassing  = errors.New("no answer")
	errUnusable = errors.New("its answer cannot be used")
)

// world is an engine with an issuer that rotates "a.0" into "a.1", and so on.
type world struct {
	*rotate.Engine
	t *testing.T
	// answers are the issuer's in place of a rotation, by the token that is sent.
	answers map[string]func(have rotate.Tokens, grant string) (rotate.Answer, error)
	padding string // of the next access tokens

	mu        sync.Mutex    // guards all below
	takes     time.Duration // each request
	sent      map[string]int
	discarded []string
}

// in runs test in a bubble.
func in(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, sent: map[string]int{}, answers: map[string]func(rotate.Tokens, string) (rotate.Answer, error){}}
		w.Engine = &rotate.Engine{
			IssuerAndClient: "issuer\x00client",
			Redeem:          w.redeem,
			Discard: func(_ context.Context, set rotate.Tokens) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.discarded = append(w.discarded, set.RefreshToken)
			},
			Fault:   func(fault any) error { return fmt.Errorf("%w: it panicked with a %T", errPassing, fault) },
			Passing: func(err error) bool { return errors.Is(err, errPassing) },
			Buffer:  func(rotate.Tokens) time.Duration { return time.Minute },
			Compare: func(set, another *rotate.Tokens) int { return set.ExpiresAt.Compare(another.ExpiresAt) },
			Memory:  memory, Timeout: timeout, Patience: patience,
			Now: time.Now, Clock: &awake.Clock{},
		}
		test(t, w)
	})
}

func (w *world) redeem(ctx context.Context, have rotate.Tokens, grant string, _ any) (*rotate.Answer, error) {
	w.mu.Lock()
	w.sent[have.RefreshToken]++
	takes := w.takes
	w.mu.Unlock()
	if err := testkit.Wait(ctx, takes); err != nil {
		return nil, fmt.Errorf("%w: %w", errPassing, err)
	}
	if answer := w.answers[have.RefreshToken]; answer != nil {
		got, err := answer(have, grant)
		return &got, err
	}
	answer := &rotate.Answer{Next: set(next(have.RefreshToken, 1)), Grant: grant}
	answer.Next.AccessToken += w.padding
	return answer, nil
}

// slow has each request take so long.
func (w *world) slow(takes time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.takes = takes
}

// next is the name of the token so many rotations later.
func next(name string, n int) string {
	session, generation, _ := strings.Cut(name, ".")
	was, err := strconv.Atoi(generation)
	if err != nil {
		panic(err)
	}
	return fmt.Sprint(session, ".", was+n)
}

// set is the set with a refresh token, fresh.
func set(name string) rotate.Tokens {
	return rotate.Tokens{AccessToken: "at-" + name, RefreshToken: name, ExpiresAt: time.Now().Add(life)}
}

// expired is the same set, as it is when it has to be refreshed.
func expired(name string) rotate.Tokens {
	s := set(name)
	s.ExpiresAt = time.Now().Add(-time.Second)
	return s
}

// caller is a [rotate.Caller] that notes what happens to it. The zero functions do
// nothing.
type caller struct {
	owner  error // of its own tokens
	load   func(context.Context) (rotate.Tokens, error)
	save   func(context.Context, rotate.Tokens) error
	accept func(*rotate.Fate) error
	got    rotate.Tokens   // what it has accepted last
	saved  []rotate.Tokens // what save was given
}

func (c *caller) Owner() (any, error) { return c, c.owner }

func (c *caller) Load(ctx context.Context) (*rotate.Tokens, error) {
	set, err := c.load(ctx)
	return &set, err
}

func (c *caller) Accept(fate *rotate.Fate) error {
	if c.accept != nil {
		if err := c.accept(fate); err != nil {
			return err
		}
	}
	c.got = fate.Next
	return nil
}

func (c *caller) Save(ctx context.Context, fate *rotate.Fate) error {
	c.saved = append(c.saved, fate.Next)
	return c.save(ctx, fate.Next)
}

// storing is a caller whose store has a set.
func storing(stored rotate.Tokens) *caller {
	return &caller{load: func(context.Context) (rotate.Tokens, error) { return stored, nil }}
}

// unsaved is a save that fails.
func unsaved(context.Context, rotate.Tokens) error { return errPassing }

// ask is a call with a set. Its grant is "", its urgency Needed unless edit says
// otherwise: optional, named or forGrant.
func (w *world) ask(ctx context.Context, c *caller, have rotate.Tokens, edit func(*rotate.Call)) error {
	call := rotate.Call{Have: &have, Urgency: rotate.Needed, Caller: c, Loads: c.load != nil, Saves: c.save != nil}
	if edit != nil {
		edit(&call)
	}
	_, err := w.Renew(ctx, call)
	return err
}

func optional(c *rotate.Call) { c.Urgency = rotate.Optional }

func named(c *rotate.Call) { c.Urgency = rotate.Named }

func forGrant(grant string) func(*rotate.Call) {
	return func(c *rotate.Call) { c.Grant = grant }
}

// mustAsk is a call for a grant, with a set that has expired. It fails the test for an
// error.
func (w *world) mustAsk(c *caller, name, grant string) {
	w.t.Helper()
	if err := w.ask(context.Background(), c, expired(name), forGrant(grant)); err != nil {
		w.t.Error(err)
	}
}

// get is a plain call with a set that has expired; it returns the refresh token that
// came.
func (w *world) get(name string) (string, error) {
	c := &caller{}
	err := w.ask(context.Background(), c, expired(name), nil)
	return c.got.RefreshToken, err
}

// want fails the test unless a plain call gets this token.
func (w *world) want(name, token string) {
	w.t.Helper()
	if got, err := w.get(name); err != nil || got != token {
		w.t.Errorf("%s: got %q, %v; want %s", name, got, err, token)
	}
}

// wantErr fails the test unless a plain call ends with this error.
func (w *world) wantErr(name string, want error) {
	w.t.Helper()
	if got, err := w.get(name); !errors.Is(err, want) {
		w.t.Errorf("%s: got %q, %v; want %v", name, got, err, want)
	}
}

// wantSent fails the test unless a token was sent so often.
func (w *world) wantSent(name string, times int) {
	w.t.Helper()
	if got := w.sentTimes(name); got != times {
		w.t.Errorf("%s was sent %d times; want %d", name, got, times)
	}
}

// failing has the issuer say so to one token.
func failing(failure rotate.Failure) func(w *world, token string) {
	return func(w *world, token string) {
		w.answers[token] = func(rotate.Tokens, string) (rotate.Answer, error) { return rotate.Answer{}, &failure }
		w.wantErr(token, failure.Err)
	}
}

// givenBack are the sets that were discarded.
func (w *world) givenBack() []string {
	synctest.Wait() // nobody waits for that
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.discarded)
}

func (w *world) sentTimes(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent[name]
}

// chain rotates a session's first token n times, by name.
func (w *world) chain(session string, n int) {
	w.t.Helper()
	for i := range n {
		name := fmt.Sprint(session, ".", i)
		if err := w.ask(context.Background(), &caller{}, set(name), named); err != nil {
			w.t.Fatalf("%s: %v", name, err)
		}
	}
}

// took fails the test unless do takes so long.
func (w *world) took(what string, want time.Duration, do func()) {
	w.t.Helper()
	start := time.Now()
	do()
	if got := time.Since(start); got != want {
		w.t.Errorf("%s: took %v; want %v", what, got, want)
	}
}
