// Command replicas runs a web app as three processes that share their sessions in
// Redis, and lets many requests of one signed-in user loose on them while the access
// tokens expire every two seconds:
//
//	go run ./examples/replicas -for 10s
//
// It prints how many requests, token rotations and failures there were. Its exit
// status is 1 if one request failed, or one refresh token was spent twice.
//
// REDIS_URL names the Redis, for example redis://127.0.0.1:6379/0. Without it the
// program starts a redis-server of its own, which must be installed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
)

func main() {
	duration := flag.Duration("for", 5*time.Second, "how long to send requests")
	users := flag.Int("at-once", 24, "how many requests are under way at a time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	var err error
	if os.Getenv("REPLICAS_WEB") != "" {
		err = serve(ctx)
	} else {
		err = run(ctx, os.Stdout, *duration, *users)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "replicas:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, duration time.Duration, users int) error {
	issuer := authpitest.NewServer(&authpitest.Options{AccessTokenLifetime: 2 * time.Second})
	defer issuer.Close()
	issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
	redisURL, stopRedis, err := openRedis(ctx)
	if err != nil {
		return err
	}
	defer stopRedis()
	var sites []string
	for range 3 {
		site, stop, err := startReplica(ctx, issuer.URL, issuer.ClientID(), redisURL)
		if err != nil {
			return err
		}
		defer stop()
		sites = append(sites, site)
	}
	browser, err := signIn(issuer, sites[0])
	if err != nil {
		return err
	}

	var requests, failures atomic.Int64
	var said sync.Once
	hammering, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() {
			for n := i; hammering.Err() == nil; n++ {
				requests.Add(1)
				if err := get(ctx, browser, sites[n%len(sites)]); err != nil {
					failures.Add(1)
					said.Do(func() { _, _ = fmt.Fprintln(out, "the first failure:", err) })
				}
			}
		})
	}
	wg.Wait()
	spent, rotations := issuer.Grants("refresh_token"), issuer.Redemptions("refresh_token")
	_, _ = fmt.Fprintf(out, "processes %d\nrequests  %d\nrotations %d\nfailures  %d\n", len(sites), requests.Load(), rotations, failures.Load())
	switch {
	case failures.Load() > 0:
		return errors.New("requests failed")
	case spent != rotations:
		return fmt.Errorf("%d of %d refreshes were refused", spent-rotations, spent)
	case issuer.Sessions("usr_ada") != 1:
		return errors.New("the session has ended at the issuer")
	}
	return nil
}

// signIn gives a browser that is signed in at the first process: its cookie is good
// at all of them.
func signIn(issuer *authpitest.Server, site string) (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	browser := &http.Client{
		Jar: jar, Timeout: 30 * time.Second,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 100},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	login, err := browser.Get(site + "/auth/login")
	if err != nil {
		return nil, err
	}
	_ = login.Body.Close()
	callback, err := issuer.SignIn(login.Header.Get("Location"), "usr_ada")
	if err != nil {
		return nil, err
	}
	answer, err := browser.Get(callback)
	if err != nil {
		return nil, err
	}
	return browser, answer.Body.Close()
}

func get(ctx context.Context, browser *http.Client, site string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, site+"/", nil)
	if err != nil {
		return err
	}
	resp, err := browser.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && (resp.StatusCode != http.StatusOK || string(body) != "usr_ada\n") {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}
