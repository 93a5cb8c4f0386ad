package authpihttp

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"mime"
	"net/http"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// BackchannelOptions configure [BackchannelLogout]. A nil one is fine.
type BackchannelOptions struct {
	// Replays remembers logout tokens that were used. Nil: in this process, at most
	// 16,384 of them. Set it where several processes answer for one client. They are
	// remembered for an hour after they expired: the client's ClockSkew must be shorter.
	Replays Replays
}

// BackchannelLogout answers the issuer's own requests to end sessions (OpenID
// Connect Back-Channel Logout 1.0). end gets each verified logout token once and
// ends the sessions that it names: those of its SessionID, or of its Subject where
// it has no SessionID. With scs, whose stores may be walked through:
//
//	mux.Handle("POST /auth/backchannel-logout", authpihttp.BackchannelLogout(client,
//		func(ctx context.Context, t authpi.LogoutToken) error {
//			return sessions.Iterate(ctx, func(ctx context.Context) error {
//				return app.EndSession(ctx, t)
//			})
//		}, nil))
//
// The issuer sends neither cookie nor origin: the sessions' middleware around it does
// nothing, [http.CrossOriginProtection] lets it pass, and protection against forged
// requests that asks for a token must leave it out. The answer is 200 once end
// has returned nil, and otherwise 400 as section 2.8 has it, for a failure here too;
// the token may then come again. Its context ends when the issuer hangs up.
func BackchannelLogout(client *authpi.IdpClient, end func(context.Context, authpi.LogoutToken) error, opts *BackchannelOptions) http.Handler {
	b := &backchannel{client: client, end: end}
	if opts != nil {
		b.replays = opts.Replays
	}
	if b.replays == nil {
		b.replays = newMemory()
	}
	return b
}

type backchannel struct {
	client  *authpi.IdpClient
	end     func(context.Context, authpi.LogoutToken) error
	replays Replays
}

func (b *backchannel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		writeJSON(w, http.StatusMethodNotAllowed, errorBody{"invalid_request", "post the logout token"})
		return
	}
	if refused := b.logout(w, r); refused != nil {
		writeJSON(w, http.StatusBadRequest, refused)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// logout does it, or tells why not.
func (b *backchannel) logout(w http.ResponseWriter, r *http.Request) *errorBody {
	raw, reason := logoutTokenOf(w, r)
	if reason != "" {
		return &errorBody{"invalid_request", reason}
	}
	ctx := r.Context()
	token, err := b.client.VerifyLogoutToken(ctx, raw)
	if err != nil {
		refused := refusalFor(err)
		if refused.code == "" {
			setRetryAfter(w, err)
			return &errorBody{"temporarily_unavailable", "the logout token cannot be verified now"}
		}
		return &errorBody{"invalid_request", quotable(refused.description)}
	}
	id := replayID(token)
	first, err := b.replays.Use(ctx, id, rememberUntil(token))
	if err == nil && !first {
		return &errorBody{"invalid_request", "jti: the logout token was used before"}
	}
	if err == nil {
		err = b.endOnce(ctx, id, *token)
	}
	if err != nil {
		setRetryAfter(w, err)
		return &errorBody{"logout_failed", "the sessions could not be ended; send it again"}
	}
	return nil
}

// endOnce takes the use of the token back if the sessions go on, also in a panic.
func (b *backchannel) endOnce(ctx context.Context, id string, token authpi.LogoutToken) error {
	done := false
	defer func() {
		if !done {
			_ = b.replays.Forget(context.WithoutCancel(ctx), id)
		}
	}()
	err := b.end(ctx, token)
	done = err == nil
	return err
}

// maxLogoutBody is far more than a logout token needs.
const maxLogoutBody = 128 << 10

func logoutTokenOf(w http.ResponseWriter, r *http.Request) (token, reason string) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return "", "the body must be a form"
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLogoutBody)
	if err := r.ParseForm(); err != nil {
		return "", "the form cannot be read, or is too large"
	}
	values := r.PostForm["logout_token"]
	if len(values) != 1 || values[0] == "" {
		return "", "the form must hold one logout_token"
	}
	return values[0], ""
}

// replayMargin is for clocks that differ: the client accepts a token for its
// ClockSkew after exp, which cannot be asked for and is hardly ever minutes.
const replayMargin = time.Hour

// rememberUntil counts from now where the token is accepted after its end.
func rememberUntil(token *authpi.LogoutToken) time.Time {
	until := token.ExpiresAt
	if now := time.Now(); until.Before(now) {
		until = now
	}
	return until.Add(replayMargin)
}

// replayID is a digest: a jti may be long, and is the issuer's alone.
func replayID(token *authpi.LogoutToken) string {
	sum := sha256.Sum256([]byte(token.Issuer + "\n" + token.JTI))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
