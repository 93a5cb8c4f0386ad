package fuzz_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/seal"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// refreshing is a client of issuer for one refresh: what becomes of a token is
// remembered.
func refreshing(t testing.TB, issuer *answering, with authpi.RefreshCoordinator) *authpi.IdpClient {
	return issuer.client(t, func(cfg *authpi.Config) { cfg.RefreshMemory, cfg.Coordinator = -1, with })
}

// storedSet is Ada's, long expired.
func storedSet() authpi.TokenSet {
	return authpi.TokenSet{
		AccessToken: "old-access-token-41f7", TokenType: "Bearer", RefreshToken: sentToken,
		IDToken: testkit.Unsigned(`{"sub":"` + testkit.Subject + `"}`), ExpiresAt: time.Unix(fuzzNow-60, 0).UTC(),
	}
}

// FuzzRefreshAnswer asks what becomes of a session by any answer to its refresh:
// tokens that came are stored or carried by the error, nobody else comes out of it,
// and no token shows.
func FuzzRefreshAnswer(f *testing.F) {
	issuer := &answering{}
	const access, refresh = "new-access-token-5d20", "new-refresh-token-a3f9"
	idToken := fuzzKey.Sign(`{"alg":"EdDSA","kid":"raw"}`, idClaims)
	f.Fuzz(func(t *testing.T, status uint16, body string) {
		body = strings.NewReplacer("$ACCESS", access, "$REFRESH", refresh, "$ID", idToken).Replace(echoing(body))
		issuer.status, issuer.body = fuzzStatus(status), body
		client := refreshing(t, issuer, nil) // what a token became is remembered
		var stored []authpi.TokenSet
		agent, err := client.CreateAgent(context.Background(), storedSet(), &authpi.AgentOptions{
			OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
				stored = append(stored, tokens)
				return nil
			},
		})
		if (agent != nil) != (err == nil) || len(stored) > 1 {
			t.Fatalf("got %v, %v, and %d sets to store", agent, err, len(stored))
		}
		testkit.WantSilent(t, err, sentToken, storedSet().AccessToken, storedSet().IDToken)
		o, strict := readObject(t, strings.TrimPrefix(body, "\ufeff"))
		for name, token := range map[string]string{"access_token": access, "refresh_token": refresh, "id_token": idToken} {
			if !strict || o.text(name) == token { // what came as something else is no token
				testkit.WantSilent(t, err, token)
			}
		}
		if err == nil && (agent.ID != testkit.Subject || len(stored) != 1 || agent.Tokens != stored[0] || agent.Tokens.AccessToken == "") {
			t.Errorf("got %v with %+v; want Ada, stored once", agent, agent.Tokens)
		}
		var e *authpi.RefreshError
		carried, isCarried := authpi.TokenSet{}, errors.As(err, &e)
		if isCarried {
			carried, isCarried = e.Tokens()
		}
		if strict && issuer.status == http.StatusOK && o.text("access_token") != "" && o.text("error") == "" &&
			len(stored) == 0 && (!isCarried || carried.AccessToken != o.text("access_token")) {
			t.Errorf("%s: the tokens are lost: %v", body, err)
		}
		if len(stored) > 0 && (issuer.status != http.StatusOK || !strict || o.text("access_token") == "") {
			t.Errorf("%s: stored %+v of a refused answer", body, stored)
		}
	})
}

// sharing is a coordinator with one result for whatever is asked first, and none for
// its successors.
type sharing struct {
	asked  int
	result func(id string) []byte
}

func (s *sharing) Do(_ context.Context, id string, _ func(context.Context) ([]byte, error)) ([]byte, error) {
	if s.asked++; s.asked > 1 {
		return nil, errors.New("nothing is known")
	}
	return s.result(id), nil
}

// FuzzSharedResult reads what another process published: as it is, or sealed as a
// process of another version might have. It is a whole set of the same user's, a
// refusal, or nothing at all.
func FuzzSharedResult(f *testing.F) {
	shared := &sharing{}
	issuer := &answering{status: http.StatusInternalServerError}
	f.Fuzz(func(t *testing.T, sealed bool, text string) {
		client := refreshing(t, issuer, shared)
		text = strings.NewReplacer("$ID", testkit.Unsigned(`{"sub":"`+testkit.Subject+`"}`), "$TOKEN", sentToken).Replace(text)
		*shared = sharing{result: func(id string) []byte {
			if !sealed {
				return []byte(text)
			}
			closed, err := seal.Seal(sentToken, id, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			return closed
		}}
		issuer.request = nil
		var stored []authpi.TokenSet
		agent, err := client.CreateAgent(context.Background(), storedSet(), &authpi.AgentOptions{
			OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
				stored = append(stored, tokens)
				return nil
			},
		})
		if (agent != nil) != (err == nil) || (len(stored) == 1) != (err == nil) || len(stored) > 1 {
			t.Fatalf("got %v, %v, and %d sets to store", agent, err, len(stored))
		}
		if issuer.request != nil && issuer.request.PostForm.Has("refresh_token") {
			t.Error("the refresh token was spent all the same")
		}
		o, _ := readObject(t, text)
		if !sealed {
			o = nil
		}
		if err == nil {
			tokens, _ := o["tokens"].(map[string]any)
			if agent.ID != testkit.Subject || o.has("refused") || object(tokens).text("access_token") != agent.Tokens.AccessToken {
				t.Errorf("%s: got %v with %+v", text, agent, agent.Tokens)
			}
			return
		}
		testkit.WantSilent(t, err, sentToken)
		if !o.has("tokens") && !o.has("refused") && authpi.SessionEnded(err) {
			t.Errorf("%s: %v ends the session; want it passing", text, err)
		}
	})
}
