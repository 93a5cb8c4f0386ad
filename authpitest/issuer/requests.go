package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxRequests is how many token requests the page shows, maxSeen how much of one
// request or answer is looked at.
const (
	maxRequests = 25
	maxSeen     = 1 << 20
)

// tokenRequest is what the page shows of one. Tokens and codes are short digests.
type tokenRequest struct {
	At                    time.Time
	Took                  time.Duration
	Client, Grant, Person string
	Sent, Got             string
	Status                int    // zero: the connection was cut
	Problem               string // why it failed
}

// requestLog has the last token requests.
type requestLog struct {
	mu   sync.Mutex // guards last
	last []tokenRequest
}

// watch notes what passes through next at the token endpoint's path.
func (l *requestLog) watch(path string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != path {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, maxSeen))
		if err != nil {
			http.Error(w, "the request did not arrive whole", http.StatusBadRequest)
			return
		}
		r.Body = rejoined{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
		note := noteRequest(r, body)
		seen := &copyWriter{ResponseWriter: w}
		defer func() { // also where next cuts the connection, by a panic
			note.Took = time.Since(note.At)
			note.readAnswer(seen.status, seen.body.Bytes())
			l.add(note)
		}()
		next.ServeHTTP(seen, r)
	})
}

// rejoined is a body whose beginning was read before.
type rejoined struct {
	io.Reader
	io.Closer
}

// copyWriter keeps the status and the beginning of an answer.
type copyWriter struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *copyWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *copyWriter) Write(p []byte) (int, error) {
	w.body.Write(p[:min(len(p), maxSeen-w.body.Len())])
	return w.ResponseWriter.Write(p)
}

func noteRequest(r *http.Request, body []byte) tokenRequest {
	form, _ := url.ParseQuery(string(body)) // what can be read of it
	basic, _, _ := r.BasicAuth()
	return tokenRequest{
		At:     time.Now(),
		Client: short(cmp.Or(form.Get("client_id"), basic)),
		Grant:  short(form.Get("grant_type")),
		Sent:   digest(cmp.Or(form.Get("refresh_token"), form.Get("code"))),
	}
}

func (n *tokenRequest) readAnswer(status int, body []byte) {
	var answer struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		Error        string `json:"error"`
		Description  string `json:"error_description"`
	}
	_ = json.Unmarshal(body, &answer) // a fault's answer may be anything
	n.Status = status
	n.Got = digest(answer.RefreshToken)
	n.Person = subject(answer.AccessToken)
	switch {
	case status == 0:
		n.Problem = "connection cut"
	case answer.Error != "" && answer.Description != "":
		n.Problem = short(answer.Error) + ": " + short(answer.Description)
	case answer.Error != "":
		n.Problem = short(answer.Error)
	case answer.AccessToken == "" && status == http.StatusOK:
		n.Problem = "no tokens in it"
	case answer.AccessToken == "":
		n.Problem = http.StatusText(status)
	}
}

// subject returns the sub of an access token that this issuer has just signed.
func subject(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Sub string `json:"sub"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Sub
}

// digest stands for a token that is not to be seen: enough to tell it from others.
func digest(token string) string {
	if token == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:4])
}

// short cuts what a client wrote.
func short(text string) string {
	const most = 80
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

func (l *requestLog) add(note tokenRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if note.Person == "" { // a refused refresh token is known by who got it
		for _, earlier := range l.last {
			if note.Sent != "" && (earlier.Got == note.Sent || earlier.Sent == note.Sent) && earlier.Person != "" {
				note.Person = earlier.Person
				break
			}
		}
	}
	l.last = slices.Insert(l.last, 0, note)
	l.last = l.last[:min(len(l.last), maxRequests)]
}

func (l *requestLog) newestFirst() []tokenRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.last)
}
