package tokenfile

import (
	"os"
	"path/filepath"
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

func (f *File) dir() string { return filepath.Dir(f.name) }

// leaveLock leaves the lock file of a process that was killed an hour ago.
func (f *File) leaveLock(t *testing.T) {
	t.Helper()
	name := f.name + ".lock"
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
}

// expire ends the life of the stored access token.
func (f *File) expire(t *testing.T) {
	t.Helper()
	tokens := f.stored(t)
	tokens.ExpiresAt = time.Now().Add(-time.Minute)
	if _, err := f.Swap(t.Context(), tokens); err != nil {
		t.Fatal(err)
	}
}
