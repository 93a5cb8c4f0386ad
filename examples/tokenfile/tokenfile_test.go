package tokenfile

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// signedIn is a file with somebody's tokens, and who refreshes them.
func signedIn(t *testing.T) (*File, *authpitest.Server, *authpi.IdpClient) {
	t.Helper()
	issuer := authpitest.NewServer(nil)
	t.Cleanup(issuer.Close)
	issuer.AddUser(authpitest.User{ID: "usr_ada"})
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: issuer.URL, ClientID: issuer.ClientID(), RedirectURI: "http://127.0.0.1/callback",
	})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := client.CreateAuthorizationURL([]string{"openid"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := issuer.SignIn(auth.URL, "usr_ada")
	if err != nil {
		t.Fatal(err)
	}
	callback, err := authpi.ParseCallback(answer)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := client.ExchangeCallback(t.Context(), callback, *auth)
	if err != nil {
		t.Fatal(err)
	}
	file, err := Open(t.TempDir(), issuer.URL, issuer.ClientID())
	if err != nil {
		t.Fatal(err)
	}
	if last, err := file.Swap(t.Context(), agent.Tokens); err != nil || last != (authpi.TokenSet{}) {
		t.Fatalf("got %v, %v; want nothing before", last, err)
	}
	return file, issuer, client
}

func (f *File) stored(t *testing.T) authpi.TokenSet {
	t.Helper()
	tokens, err := f.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// A process that was killed blocks nobody for ever.
func TestAbandonedLock(t *testing.T) {
	t.Parallel()
	file, issuer, client := signedIn(t)
	tokens := file.stored(t)
	tokens.ExpiresAt = time.Now().Add(-time.Minute)
	if _, err := file.Swap(t.Context(), tokens); err != nil {
		t.Fatal(err)
	}
	name := file.name + ".lock"
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := file.Agent(ctx, client); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v; want to wait for another process's lock", err)
	}
	old := time.Now().Add(-2 * abandoned)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	agent, err := file.Agent(t.Context(), client)
	if err != nil || agent.ID != "usr_ada" || issuer.Grants("refresh_token") != 1 {
		t.Errorf("got %v, %v; want an agent after one refresh", agent, err)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("the lock was left behind")
	}
}

// Who has lost the lock takes nobody else's away.
func TestLostLock(t *testing.T) {
	t.Parallel()
	file, _, _ := signedIn(t)
	unlock, err := file.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	name := file.name + ".lock"
	// It stays for a moment, so that its inode is not used again at once.
	if err := os.Rename(name, name+".old"); err != nil {
		t.Fatal(err)
	}
	again, err := file.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := os.Stat(name); err != nil {
		t.Errorf("another process's lock is gone: %v", err)
	}
	again()
	if _, err := os.Stat(name); err == nil {
		t.Error("the lock was left behind")
	}
}

func TestOlderTokensAreNotStored(t *testing.T) {
	t.Parallel()
	file, _, _ := signedIn(t)
	now := file.stored(t)
	old := now
	old.AccessToken, old.ExpiresAt = "older", now.ExpiresAt.Add(-time.Hour)
	if err := file.save(t.Context(), old); err != nil || file.stored(t).AccessToken != now.AccessToken {
		t.Errorf("an older set was stored over a newer one (%v)", err)
	}
}

// What cannot be read is an error for who asks, and no hindrance to sign in or out.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	file, _, client := signedIn(t)
	now := file.stored(t)
	for _, next := range []authpi.TokenSet{now, {}, {}} {
		if err := os.WriteFile(file.name, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := file.Agent(t.Context(), client); !authpi.SessionEnded(err) {
			t.Errorf("got %v; want the session to be over", err)
		}
		if last, err := file.Swap(t.Context(), next); err != nil || last != (authpi.TokenSet{}) || file.stored(t) != next {
			t.Errorf("got %v, %v; want %v stored", last, err, next)
		}
	}
	if last, err := file.Swap(t.Context(), authpi.TokenSet{}); err != nil || last != (authpi.TokenSet{}) {
		t.Errorf("signed out twice: got %v, %v", last, err)
	}
}
