package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
)

// faultChoice is a line of the page's list of faults.
type faultChoice struct {
	Name, Label string
	fault       authpitest.Fault
}

func faultChoices() []faultChoice {
	const refresh = "refresh_token"
	return []faultChoice{
		{"refresh-lost", "Refresh: tokens rotated, answer lost", authpitest.Fault{Endpoint: "token", Grant: refresh, DropAnswer: true}},
		{"refresh-cut", "Refresh: connection cut before it arrives", authpitest.Fault{Endpoint: "token", Grant: refresh, Drop: true}},
		{"refresh-slow", "Refresh: answer after 10 s", authpitest.Fault{Endpoint: "token", Grant: refresh, DelayAnswer: 10 * time.Second}},
		{"refresh-refused", "Refresh: invalid_grant", authpitest.Fault{Endpoint: "token", Grant: refresh, Status: http.StatusBadRequest, Body: `{"error":"invalid_grant"}`}},
		{"token-503", "Token endpoint: 503", authpitest.Fault{Endpoint: "token", Status: http.StatusServiceUnavailable}},
		{"token-429", "Token endpoint: 429, Retry-After 10", authpitest.Fault{Endpoint: "token", Status: http.StatusTooManyRequests, RetryAfter: "10"}},
		{"token-page", "Token endpoint: a proxy's page, status 200", authpitest.Fault{Endpoint: "token", Status: http.StatusOK, ContentType: "text/html", Body: "<h1>Welcome to the café's wifi</h1>"}},
		{"id-signature", "ID token: bad signature", authpitest.Fault{Endpoint: "token", IDToken: func(header, _ map[string]any) { header["_signature"] = "bad" }}},
		{"id-issuer", "ID token: another issuer", authpitest.Fault{Endpoint: "token", IDToken: func(_, claims map[string]any) { claims["iss"] = "https://other.example" }}},
		{"keys-503", "Keys (JWKS): 503", authpitest.Fault{Endpoint: "jwks", Status: http.StatusServiceUnavailable}},
		{"all-503", "Every endpoint: 503", authpitest.Fault{Status: http.StatusServiceUnavailable}},
	}
}

// inject queues a fault of the list, and reports whether there is such a one. times
// below zero is until the faults are cleared.
func (i *issuer) inject(name string, times int) bool {
	for _, c := range faultChoices() {
		if c.Name == name {
			c.fault.Times = times
			i.srv.Inject(c.fault)
			return true
		}
	}
	return false
}

// describeFault says what is to come, whoever queued it.
func describeFault(f authpitest.Fault) string {
	where := "any endpoint"
	if f.Endpoint != "" {
		where = f.Endpoint
	}
	if f.Grant != "" {
		where += " (" + f.Grant + ")"
	}
	times := fmt.Sprintf("%d more", f.Times)
	if f.Times < 0 {
		times = "until cleared"
	}
	return where + ": " + strings.Join(effects(f), ", ") + ", " + times
}

func effects(f authpitest.Fault) []string {
	var said []string
	say := func(happens bool, text string) {
		if happens {
			said = append(said, text)
		}
	}
	say(f.Drop || f.Refuse, "connection cut before")
	say(f.Status != 0, fmt.Sprintf("status %d%s", f.Status, errorCode(f.Body)))
	say(f.RetryAfter != "", "Retry-After "+f.RetryAfter)
	say(f.IDToken != nil, "wrong ID token")
	say(f.Malform != nil, "malformed answer")
	say(f.Delay+f.DelayAnswer > 0, fmt.Sprintf("%s late", f.Delay+f.DelayAnswer))
	say(f.DropAnswer, "answer lost")
	return said
}

// errorCode is the OAuth error in a fault's body, if there is one.
func errorCode(body string) string {
	var answer struct {
		Error string `json:"error"`
	}
	if json.Unmarshal([]byte(body), &answer) != nil || answer.Error == "" {
		return ""
	}
	return " " + answer.Error
}
