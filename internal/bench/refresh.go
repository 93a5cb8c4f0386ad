package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"golang.org/x/oauth2"
)

// A Refresher has so many goroutines use one expired session at the same moment.
type Refresher struct {
	Name string
	New  func(url, idToken string) func(session, callers int) error
}

// Refreshers are the contenders for a burst. x/oauth2's is one source that all
// goroutines share, which a backend has only if it keeps a source for each session;
// no caller gets the new tokens to store.
func Refreshers() []Refresher {
	return []Refresher{
		{Ours, func(url, idToken string) func(int, int) error {
			client := newClient(url)
			return func(session, callers int) error {
				expired := authpi.TokenSet{
					AccessToken: accessToken, TokenType: "Bearer", ExpiresAt: time.Now().Add(-time.Minute),
					RefreshToken: fmt.Sprintf("session-%d", session), IDToken: idToken,
				}
				var stored atomic.Int64
				failed, err := together(callers, func() error {
					_, err := client.CreateAgent(context.Background(), expired, &authpi.AgentOptions{
						OnRefresh: func(context.Context, authpi.TokenSet) error { stored.Add(1); return nil },
					})
					return err
				})
				if err == nil && stored.Load() != int64(callers) {
					err = fmt.Errorf("%d callers were told", stored.Load())
				}
				return failures(failed, err)
			}
		}},
		{OAuth2, func(url, _ string) func(int, int) error {
			config := oauth2Config(url)
			ctx := context.WithValue(context.Background(), oauth2.HTTPClient, newHTTPClient())
			return func(session, callers int) error {
				source := config.TokenSource(ctx, &oauth2.Token{
					RefreshToken: fmt.Sprintf("session-%d", session), Expiry: time.Now().Add(-time.Minute),
				})
				return failures(together(callers, func() error {
					_, err := source.Token()
					return err
				}))
			}
		}},
	}
}

// together runs work in so many goroutines, counts its failures and gives the first.
func together(goroutines int, work func() error) (failed int, first error) {
	var failures atomic.Int64
	var once sync.Once
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			if err := work(); err != nil {
				failures.Add(1)
				once.Do(func() { first = err })
			}
		})
	}
	wg.Wait()
	return int(failures.Load()), first
}

func failures(failed int, first error) error {
	if first == nil {
		return nil
	}
	return fmt.Errorf("%d failed, first: %w", failed, first)
}
