// Command replicas runs a web app as three processes that share their sessions in
// Redis, and lets many requests of one signed-in user loose on them while the access
// tokens expire every two seconds:
//
//	redis-server --save '' & go run ./examples/replicas -for 10s
//
// It prints how many requests, token rotations and failures there were. Its exit
// status is 1 if one request failed, or one refresh token was spent twice.
// REDIS_URL names the Redis, redis://127.0.0.1:6379/0 where it is not set.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/internal/child"
)

func main() {
	duration := flag.Duration("for", 5*time.Second, "how long to send requests")
	flag.Parse()
	var err error
	if issuerURL := os.Getenv("REPLICAS_ISSUER"); issuerURL != "" {
		err = serve(issuerURL) // one of the three
	} else {
		err = run(*duration)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "replicas:", err)
		os.Exit(1)
	}
}

func run(duration time.Duration) error {
	issuer := authpitest.NewServer(&authpitest.Options{ClientID: clientID, AccessTokenLifetime: 2 * time.Second})
	defer issuer.Close()
	issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
	var sites []string
	for range 3 {
		site, stop, err := child.Start("REPLICAS_ISSUER=" + issuer.URL)
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

	const atOnce = 24
	var requests, failures atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(duration)
	for i := range atOnce {
		wg.Go(func() {
			for n := i; time.Now().Before(end); n++ {
				requests.Add(1)
				if err := visit(browser, sites[n%len(sites)]); err != nil && failures.Add(1) == 1 {
					fmt.Println("the first failure:", err)
				}
			}
		})
	}
	wg.Wait()
	spent, rotations := issuer.Grants("refresh_token"), issuer.Redemptions("refresh_token")
	fmt.Printf("processes %d\nrequests  %d\nrotations %d\nfailures  %d\n", len(sites), requests.Load(), rotations, failures.Load())
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
	browser := &http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	login, err := browser.Get(site + "/auth/login") // and on to the issuer
	if err != nil {
		return nil, err
	}
	_ = login.Body.Close()
	if login.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the login answered %s", login.Status)
	}
	callback, err := issuer.SignIn(login.Request.URL.String(), "usr_ada")
	if err != nil {
		return nil, err
	}
	if err := visit(browser, callback); err != nil {
		return nil, fmt.Errorf("the sign-in failed: is Redis running? REDIS_URL names it: %w", err)
	}
	return browser, nil
}

// visit fails unless it ends on the page of the user who is signed in.
func visit(browser *http.Client, url string) error {
	resp, err := browser.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err == nil && (resp.StatusCode != http.StatusOK || string(body) != "usr_ada\n") {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}
