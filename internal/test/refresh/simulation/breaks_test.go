package simulation_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// flaw is a fault that somebody might put into the code, and the invariants that it
// breaks: any of them will do.
type flaw struct {
	name, file string
	good, bad  string // what is replaced, and by what
	breaks     []string
}

var flaws = []flaw{
	{
		"a refusal of one grant is everybody's", "internal/rotate/flight.go",
		"\tcase f.state != Unspent:\n\t\treturn c.tryStore(f.err)\n\tcase f.grant == c.Grant:\n", "\tcase f.state != Unspent:\n\t\treturn c.tryStore(f.err)\n\tdefault:\n",
		[]string{ownGrant},
	},
	{
		"an answer is shared whatever was asked for", "internal/rotate/call.go",
		" || !fate.Found && fate.Grant != c.Grant {", " {",
		[]string{ownGrant},
	},
	{
		"members of the wrong kind make an answer unusable", "internal/tokens/answer.go",
		`{ return a.Set.AccessToken != "" }`, `{ return a.Set.AccessToken != "" && len(a.Odd) == 0 }`,
		[]string{reasonToEnd, refusedStays, sentOnce},
	},
	{
		"an object without access token is tried again", "refresh.go",
		"if !answer.Object {", "if true {",
		[]string{sentOnce},
	},
	{
		"a page with status 200 ends the session", "refresh.go",
		"if !answer.Object {", "if false {",
		[]string{reasonToEnd},
	},
	{
		"an answer that cannot be read holds nothing back", "refresh.go",
		"const lostWait = 5 * time.Second", "const lostWait = 0 * time.Second",
		[]string{heldBack},
	},
	{
		"a code that nobody listed ends no session", "refresh.go",
		"http.StatusForbidden}, e.StatusCode):\n\t\te.verdict = endsIt", "http.StatusForbidden}, e.StatusCode):\n\t\te.verdict = leavesIt",
		[]string{endIsTold},
	},
	{
		"a Retry-After is only passed on", "refresh.go",
		"rotate.Cooling, rotate.Named, e.wait()", "rotate.Cooling, rotate.Named, 0",
		[]string{heldBack, retryTold},
	},
	{
		"a failure is followed by the next attempt at once", "internal/rotate/rotate.go",
		"softCooldown = 5 * time.Second", "softCooldown = 0 * time.Second",
		[]string{heldBack},
	},
	{
		"an issuer that is away fails those whose token is good", "refresh.go",
		"\tif r.stillGood {\n", "\tif false {\n",
		[]string{nobodyEarly},
	},
	{
		"an ID token that does not hold is left out", "refresh.go",
		"if err == nil || isRefused(err) {", "if err == nil {",
		[]string{refusedStays},
	},
	{
		"keys that lag refuse the set", "verify.go",
		"if jwks.IsUnknownKey(err) {", "if false {",
		[]string{reasonToEnd},
	},
	{
		"sets that nobody has picked up are forgotten", "internal/rotate/rotate.go",
		"orphanMemory = 24 * time.Hour", "orphanMemory = time.Minute",
		[]string{sentOnce, nothingLost},
	},
	{
		"a set that comes after everybody has left is dropped", "internal/rotate/flight.go",
		"\tfate, err := e.redeem(ctx, f)\n", "\tfate, err := e.redeem(ctx, f)\n\tif ctx.Err() != nil {\n\t\tfate, err = nil, ctx.Err()\n\t}\n",
		[]string{sentOnce, nothingLost},
	},
	{
		"the memory is not asked", "internal/rotate/call.go",
		"case newest != nil && c.suits(newest, now):", "case false:",
		[]string{quiet},
	},
	{
		"a revocation ends its own token alone", "internal/rotate/rotate.go",
		"\t\tfor _, from := range at.before {\n\t\t\ttodo = append(todo, from.id)\n\t\t}\n\t\tif at.next != nil {", "\t\tif false {",
		[]string{staysOut},
	},
	{
		"a revocation counts when the issuer has agreed", "client.go",
		"\tc.sessions.Revoke(token)\n\treturn c.revokeAtIssuer(ctx, token, tokenTypeHint)\n", "\terr := c.revokeAtIssuer(ctx, token, tokenTypeHint)\n\tif err == nil {\n\t\tc.sessions.Revoke(token)\n\t}\n\treturn err\n",
		[]string{staysOut},
	},
	{
		"what comes for a revoked token is used", "internal/rotate/flight.go",
		"\tcase f.at.is(Revoked):\n", "\tcase false:\n",
		[]string{staysOut},
	},
	{
		"what comes for a revoked token is not revoked", "internal/rotate/flight.go",
		"if discarded := e.land(f, fate, err); discarded != nil {", "if discarded := e.land(f, fate, err); false {",
		[]string{staysOut},
	},
	{
		"a revoked session's access token goes on", "agent.go",
		"if c.sessions.Revoked(tokens.RefreshToken) {", "if false {",
		[]string{staysOut},
	},
	{
		"what one store has is written to no other", "internal/rotate/store.go",
		"return c.Saves && !c.isOwn(&fate.Next) }", "return c.Saves && !fate.Found }",
		[]string{reachesStore},
	},
	{
		"a store that lags is believed", "internal/rotate/store.go",
		"case stored.RefreshToken == c.Have.RefreshToken, e.isBehind(stored, current, now):", "case stored.RefreshToken == c.Have.RefreshToken:",
		[]string{inOrder, sentOnce, quiet, reachesStore},
	},
	{
		"the store is not asked before a token is spent", "internal/rotate/flight.go",
		"\tif c.Loads {\n", "\tif false {\n",
		[]string{reloadHeeded},
	},
	{
		"a store that fails is passed over", "internal/rotate/store.go",
		"\tif err != nil {\n\t\treturn nil, err\n\t}\n\tahead, err := c.askOthers(", "\tif err != nil {\n\t\treturn nil, nil\n\t}\n\tahead, err := c.askOthers(",
		[]string{reloadHeeded},
	},
	{
		"a store without the session is passed over", "refresh.go",
		"\tcase stored.isZero():\n\t\treturn nil, refreshFailed(ErrSessionExpired, \"the session has ended meanwhile\", nil)\n", "\tcase stored.isZero():\n\t\treturn (*rotate.Tokens)(&r.tokens), nil\n",
		[]string{reloadHeeded, staysOut},
	},
	{
		"a store may give another user's tokens", "refresh.go",
		"if owner.ID != own.ID {", "if false {",
		[]string{ownSession},
	},
	{
		"an older set is stored after a newer one", "internal/rotate/store.go",
		"case newer == nil || newer.Next == fate.Next:", "case true:",
		[]string{inOrder},
	},
	{
		"a set is stored while its predecessor is", "internal/rotate/store.go",
		"if busy == nil {\n\t\t\treturn newest, err", "if true {\n\t\t\treturn newest, err",
		[]string{inOrder},
	},
	{
		"after four successors a call gives up", "internal/rotate/call.go",
		"\tfor range maxChain {\n\t\tfate, err := c.step()\n\t\tswitch {\n", "\tfor n := 0; ; n++ {\n\t\tfate, err := c.step()\n\t\tswitch {\n\t\tcase n > 4 && fate == nil:\n\t\t\treturn Way{}, ErrInside\n",
		[]string{causeless},
	},
	{
		"a request ends with its caller", "internal/rotate/flight.go",
		"go c.engine.runFlight(context.WithoutCancel(c.ctx), f)", "go c.engine.runFlight(c.ctx, f)",
		[]string{seenThrough},
	},
	{
		"whoever spends a token may leave", "internal/rotate/flight.go",
		"\tif f.leader == c {\n\t\tctx = context", "\tif false {\n\t\tctx = context",
		[]string{seenThrough},
	},
	{
		"waiting ends with the request", "internal/rotate/call.go",
		"\treturn c.engine.Timeout\n", "\treturn time.Hour\n",
		[]string{inTime},
	},
	{
		"a store that is deaf is waited for", "internal/awake/awake.go",
		"\terr = within.Wait(ctx, r.done)\n", "\terr = within.Wait(ctx, r.done)\n\t<-r.done\n",
		[]string{inTime},
	},
	{
		"a call inside a callback waits for it", "internal/rotate/call.go",
		"if c.isInside() {", "if false {",
		[]string{answersInside, inTime, causeless},
	},
	{
		"a source follows nothing", "source.go",
		"c.sessions.Follow(rotate.Tokens(first.Tokens))", "c.sessions.Follow(rotate.Tokens{})",
		[]string{sentOnce, newsKept},
	},
	{
		"user info is not remembered", "userinfo.go",
		"if !ok || !now.Before(known.until) {", "if !ok || known != nil {",
		[]string{askedOnce, goesOn},
	},
	{
		"OnRefreshError hears of callers that leave", "refresh.go",
		"if onError != nil && !hasLeft(ctx, err) {", "if onError != nil {",
		[]string{toldOnce},
	},
	{
		"a coordinator that fails is passed over", "internal/rotate/coordinate.go",
		"\tcase err != nil:\n\t\tturn.Err = c.Failed(have, \"failed\", err)\n\t\treturn nil, turn.Err\n", "\tcase err != nil:\n\t\treturn c.Once(ctx, have, grant, owner)\n",
		[]string{coordinated},
	},
	{
		"what was revoked while it waited for its turn is sent", "refresh.go",
		"\tif c.sessions.Revoked(have.RefreshToken) {\n\t\treturn nil, rotate.ErrRevoked\n\t}\n", "",
		[]string{staysOut},
	},
	{
		"a flight that has ended frees nobody", "internal/rotate/flight.go",
		"\tdefer close(f.done)\n", "",
		[]string{causeless, inTime, reachesStore, quiet, sentOnce, nothingLost, toldOnce},
	},
}

// BREAKS=regexp puts the flaws whose names match into the code, one at a time, and wants
// the simulation to find each of them within so many histories.
func TestFindsFlaws(t *testing.T) {
	which := os.Getenv("BREAKS")
	if which == "" {
		t.Skip("BREAKS is not set")
	}
	wanted, err := regexp.Compile(which)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range flaws {
		if wanted.MatchString(f.name) {
			t.Run(f.name, f.find)
		}
	}
}

// Each flaw fits the code as it is.
func TestFlawsFit(t *testing.T) {
	for _, f := range flaws {
		t.Run(f.name, func(t *testing.T) { f.overlay(t) })
	}
}

const enoughToFind = "10000"

// find runs the simulation over code with the flaw, until a history breaks what it should.
func (f *flaw) find(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, "go", "test", "-overlay="+f.overlay(t), "-count=1", "-timeout=14m", "-run=^TestSimulate$", ".")
	run.Env = append(os.Environ(), "BREAKS=", "UNTIL="+strings.Join(f.breaks, ";"), "FIRST=1", "SIMULATE="+enoughToFind, "GOWORK=off")
	out, err := run.CombinedOutput()
	if err == nil {
		t.Fatalf("not found within %s histories", enoughToFind)
	}
	var found []string
	for _, invariant := range f.breaks {
		if strings.Contains(string(out), "  invariants broken: ") && strings.Contains(string(out), "  "+invariant+"\n") {
			found = append(found, invariant)
		}
	}
	if len(found) == 0 {
		t.Fatalf("found otherwise than by %q:\n%s", f.breaks, out)
	}
	figures := regexp.MustCompile(`(?m)\d+ histories, seeds .*$`).FindString(string(out))
	t.Logf("found by %q: %s", found, figures)
}

// overlay is the go command's description of the changed file.
func (f *flaw) overlay(t *testing.T) string {
	path, err := filepath.Abs(filepath.Join("../../../..", filepath.FromSlash(f.file)))
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(code), f.good); n != 1 {
		t.Fatalf("%s has %q %d times; want it once", f.file, f.good, n)
	}
	changed := filepath.Join(t.TempDir(), "changed.go")
	description := filepath.Join(t.TempDir(), "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{changed: strings.Replace(string(code), f.good, f.bad, 1), description: string(text)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return description
}
