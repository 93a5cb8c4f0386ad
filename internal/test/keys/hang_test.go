// Package keys_test has the issuer's keys and its discovery document: issuers that
// hang, keys that are withdrawn, and keys that are published too late.
package keys_test

import (
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// within fails the test if do takes longer.
func within(t *testing.T, limit time.Duration, do func()) {
	t.Helper()
	start := time.Now()
	do()
	if took := time.Since(start); took > limit {
		t.Errorf("got an answer after %v; want it within %v", took, limit)
	}
}

// An issuer whose discovery document and keys hang: whoever asks while a good copy
// is at hand gets the copy at once, during the first hang and all later ones. An app
// that nobody has used for more than an hour waits for newer keys for a moment,
// once.
func TestHangingIssuerKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		idle  time.Duration // from the first call to the first one in the hang
		limit time.Duration // of that one
	}{
		"busy":           {46 * time.Minute, 0},
		"idle for hours": {5 * time.Hour, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				issuer, client := testkit.New(t, &authpitest.Options{AccessTokenLifetime: 24 * time.Hour}, nil)
				verify := func() {
					t.Helper()
					if _, err := client.VerifyAccessToken(t.Context(), issuer.AccessToken(nil), ""); err != nil {
						t.Errorf("got %v; want the token accepted", err)
					}
				}
				login := func() {
					t.Helper()
					callback, auth := testkit.StartLogin(t, client, issuer, nil)
					if _, err := client.ExchangeCallback(t.Context(), callback, auth); err != nil {
						t.Errorf("got %v; want Ada signed in", err)
					}
				}
				verify()
				for _, endpoint := range []string{"discovery", "jwks"} {
					issuer.Inject(authpitest.Fault{Endpoint: endpoint, Delay: time.Hour, Times: -1})
				}
				time.Sleep(tc.idle)
				within(t, tc.limit, verify)
				for range 20 { // 18 hours
					within(t, 0, verify)
					within(t, 0, login)
					time.Sleep(time.Second)
					within(t, 0, login)
					time.Sleep(55 * time.Minute)
				}
				time.Sleep(time.Minute) // for what goes on in the background
			})
		})
	}
}

// A key that the issuer has withdrawn is refused after an hour at the latest, by an
// app that is busy and by one that nobody has used since.
func TestWithdrawnKeyIsRefusedWithinAnHour(t *testing.T) {
	t.Parallel()
	for name, every := range map[string]time.Duration{"busy": time.Minute, "idle": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				issuer, client := testkit.New(t, &authpitest.Options{AccessTokenLifetime: 24 * time.Hour}, nil)
				token := issuer.AccessToken(nil)
				if _, err := client.VerifyAccessToken(t.Context(), token, ""); err != nil {
					t.Fatal(err)
				}
				issuer.RotateKeys()
				issuer.WithdrawKeys()
				for asked := time.Duration(0); asked < time.Hour; asked += every {
					time.Sleep(every)
					_, _ = client.VerifyAccessToken(t.Context(), token, "")
				}
				_, err := client.VerifyAccessToken(t.Context(), token, "")
				testkit.WantCode(t, err, string(authpi.ErrInvalidToken), "kid")
			})
		})
	}
}
