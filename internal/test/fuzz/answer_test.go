package fuzz_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// What was sent and may come back in an answer; a body names it by its placeholder.
const (
	sentToken  = "sent-token-5b1e-77d0"
	sentSecret = "client-secret-2f81-03aa"
)

// echoing puts what was sent in the place of the placeholders.
func echoing(body string) string {
	return strings.NewReplacer("$TOKEN", sentToken, "$SECRET", sentSecret).Replace(body)
}

func withSecret(cfg *authpi.Config) { cfg.ClientSecret = sentSecret }

// FuzzTokenAnswer reads the token endpoint's answer (RFC 6749 section 5.1) a second
// time.
func FuzzTokenAnswer(f *testing.F) {
	issuer := &answering{}
	client := issuer.client(f, withSecret)
	f.Fuzz(func(t *testing.T, status uint16, body string) {
		issuer.status, issuer.body = fuzzStatus(status), echoing(body)
		agent, err := client.ClientCredentials(context.Background(), []string{"projects:read"})
		want, ok := wantTokenAnswer(t, issuer.status, issuer.body)
		if (err == nil) != ok {
			t.Fatalf("got %v; want a refusal: %t", err, !ok)
		}
		if err != nil {
			wantIssuerError(t, err, issuer)
			if agent != nil {
				t.Errorf("got %v beside %v", agent, err)
			}
			return
		}
		want.IDToken = "" // nobody has signed it
		if agent.ID != fuzzClient || agent.Tokens != want || len(agent.Organizations) != 0 {
			t.Errorf("got %s, %+v; want %+v", agent, agent.Tokens, want)
		}
	})
}

// wantTokenAnswer is a token answer as encoding/json reads it.
func wantTokenAnswer(t testing.TB, status int, body string) (set authpi.TokenSet, ok bool) {
	o, ok := readObject(t, strings.TrimPrefix(body, "\ufeff"))
	if !ok || status != http.StatusOK {
		return authpi.TokenSet{}, false
	}
	set = authpi.TokenSet{AccessToken: o.text("access_token"), TokenType: "Bearer"}
	if ok = set.AccessToken != ""; o.has("token_type") {
		_, isText := o["token_type"].(string)
		set.TokenType, ok = o.text("token_type"), ok && isText
	}
	for name, field := range map[string]*string{"refresh_token": &set.RefreshToken, "id_token": &set.IDToken, "scope": &set.Scope} {
		text, isText := o.textOrNull(name)
		*field, ok = text, ok && isText
	}
	set.ExpiresAt = time.Unix(fuzzNow+lifetime(o["expires_in"]), 0).UTC()
	return set, ok
}

// lifetime is expires_in in seconds: a number, or digits in a text, within ten
// years.
func lifetime(v any) int64 {
	if text, ok := v.(string); ok {
		number := strings.Trim(text, " \t\r\n")
		if number == "" || !json.Valid([]byte(number)) || strings.Trim(number[:1], "-0123456789") != "" {
			return 3600
		}
		v = json.Number(number)
	}
	seconds, ok := withoutFraction(v)
	if !ok {
		return 3600
	}
	const tenYears = 10 * 366 * 24 * 3600
	return min(max(seconds, -tenYears), tenYears)
}

// wantIssuerError is what all refusals of an answer have in common.
func wantIssuerError(t testing.TB, err error, issuer *answering) *authpi.OAuthError {
	t.Helper()
	var e *authpi.OAuthError
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T); want an *OAuthError", err, err)
	}
	if e.Description == "" || e.StatusCode != issuer.status {
		t.Errorf("got %q, status %d; want a description and status %d", e.Description, e.StatusCode, issuer.status)
	}
	if len(e.Code)+len(e.Description)+len(e.URI) > 3*(512+len("…")) {
		t.Errorf("got an error of %d bytes; want it cut", len(err.Error()))
	}
	if strings.ContainsAny(err.Error(), "\r\n\x00") {
		t.Errorf("got %q; want one line", err)
	}
	testkit.WantSilent(t, err, sentToken, sentSecret)
	return e
}

// FuzzErrorAnswer reads refusals (RFC 6749 section 5.2), which may echo what was
// sent.
func FuzzErrorAnswer(f *testing.F) {
	issuer := &answering{}
	client := issuer.client(f, withSecret)
	f.Fuzz(func(t *testing.T, status uint16, body, retryAfter string) {
		issuer.status, issuer.body = fuzzStatus(status), echoing(body)
		issuer.header = http.Header{"Retry-After": {retryAfter}}
		err := client.RevokeToken(context.Background(), sentToken, "refresh_token")
		if (err == nil) != (issuer.status == http.StatusOK) {
			t.Fatalf("status %d: got %v", issuer.status, err)
		}
		if err == nil {
			return
		}
		e := wantIssuerError(t, err, issuer)
		o, _ := readObject(t, strings.TrimPrefix(issuer.body, "\ufeff"))
		if said, ok := o["error"].(string); !ok && e.Code != "revocation_error" || (said == "") != (e.Code == "") && ok {
			t.Errorf("got the code %q; the issuer said %q", e.Code, said)
		}
		if o.text("error") == "invalid_grant" && !errors.Is(err, authpi.ErrInvalidGrant) {
			t.Errorf("got the code %q; want invalid_grant", e.Code)
		}
		if e.RetryAfter < 0 || e.RetryAfter > 24*time.Hour {
			t.Errorf("got RetryAfter %v; want it within a day", e.RetryAfter)
		}
		if e.StatusCode >= 500 && authpi.SessionEnded(err) {
			t.Errorf("%v ends a session; want it passing", err)
		}
	})
}

// FuzzUserInfo reads user info, which may be another's.
func FuzzUserInfo(f *testing.F) {
	issuer := &answering{status: http.StatusOK}
	client := issuer.client(f, nil)
	f.Fuzz(func(t *testing.T, body string) {
		issuer.body = echoing(body)
		agent := &authpi.Agent{ID: testkit.Subject, Tokens: authpi.TokenSet{AccessToken: sentToken}}
		info, err := client.UserInfo(context.Background(), agent)
		o, strict := readObject(t, strings.TrimPrefix(issuer.body, "\ufeff"))
		if ok := strict && o.text("sub") == testkit.Subject; (err == nil) != ok {
			t.Fatalf("got %v; want a refusal: %t", err, !ok)
		}
		if err != nil {
			var mismatch *authpi.SubjectMismatchError
			if info != nil || errors.As(err, &mismatch) != (strict && o.text("sub") != "") {
				t.Errorf("got %v, %v; want a mismatch where there is a subject", info, err)
			}
			testkit.WantSilent(t, err, sentToken)
			return
		}
		if info.Subject != agent.ID || info.Email != o.text("email") || info.EmailVerified != (o["email_verified"] == true) ||
			info.Name != o.text("name") || info.GivenName != o.text("given_name") || info.FamilyName != o.text("family_name") ||
			info.Picture != o.text("picture") || info.Locale != o.text("locale") || info.PhoneNumber != o.text("phone_number") ||
			info.PhoneNumberVerified != (o["phone_number_verified"] == true) || info.OrgID != o.text("org_id") ||
			!info.CreatedAt.Equal(o.moment("created_at")) || !info.UpdatedAt.Equal(o.moment("updated_at")) {
			t.Errorf("got %+v; encoding/json says %v", info, o)
		}
		wantOrganizations(t, info.Organizations, o.organizations())
	})
}

// FuzzIntrospection reads introspection answers (RFC 7662 section 2.2).
func FuzzIntrospection(f *testing.F) {
	issuer := &answering{status: http.StatusOK}
	client := issuer.client(f, withSecret)
	f.Fuzz(func(t *testing.T, body string) {
		issuer.body = echoing(body)
		got, err := client.Introspect(context.Background(), sentToken, "")
		o, strict := readObject(t, strings.TrimPrefix(issuer.body, "\ufeff"))
		active, says := o["active"].(bool)
		if ok := strict && says; (err == nil) != ok {
			t.Fatalf("got %v; want a refusal: %t", err, !ok)
		}
		if err != nil {
			if got != nil {
				t.Errorf("got %v beside %v", got, err)
			}
			wantIssuerError(t, err, issuer)
			return
		}
		if got.Active != active || got.Subject != o.text("sub") || got.ClientID != o.text("client_id") || got.Scope != o.text("scope") ||
			got.TokenType != o.text("token_type") || !got.ExpiresAt.Equal(o.moment("exp")) || !got.IssuedAt.Equal(o.moment("iat")) {
			t.Errorf("got %+v; encoding/json says %v", got, o)
		}
	})
}
