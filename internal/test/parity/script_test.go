package parity_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/authpi/authpi-idp-go"
)

// parityScript is an issuer that answers from a list and writes down, in order,
// what it was sent and what the callbacks heard. Discovery and keys do not count.
type parityScript struct {
	in       parityWire
	issuer   string
	now      time.Time
	signed   map[string]string // by the ID token that was signed: the recorded one
	t        *testing.T
	mu       sync.Mutex // guards all below
	requests []any
	events   []any
	heard    error  // what OnRefreshError was given
	dialled  string // the last request, where it met a connect_error
}

func newParityScript(t *testing.T, in parityWire) *parityScript {
	return &parityScript{
		in: in, t: t, issuer: strings.TrimRight(in.Client.IssuerURL, "/"),
		now: parityClock(t, in.Now)(), signed: make(map[string]string),
	}
}

func (s *parityScript) onRefresh() func(context.Context, authpi.TokenSet) error {
	if s.in.Callbacks.OnRefresh == "" {
		return nil
	}
	return func(_ context.Context, tokens authpi.TokenSet) error {
		s.note(map[string]any{"event": "on_refresh", "tokens": parityTokens(tokens)})
		if s.in.Callbacks.OnRefresh == "raise" {
			return errPersistFailed
		}
		return nil
	}
}

// onRefreshError cannot fail, as it may in Python.
func (s *parityScript) onRefreshError(_ context.Context, err error) {
	s.note(map[string]any{"event": "on_refresh_error", "error": err})
	s.heard = err
}

func (s *parityScript) note(event map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event)
}

// finish is the case's outcome in the form of its want, with the recorded ID
// tokens in place of those that were signed from them.
func (s *parityScript) finish(result any, err error) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := map[string]any{"requests": s.requests, "events": s.events}
	if err != nil {
		if s.heard != nil && !errors.Is(err, s.heard) {
			s.t.Errorf("got %v; want the error that OnRefreshError was given, %v", err, s.heard)
		}
		got["error"] = err
	} else {
		got["result"] = result
	}
	return s.recorded(got).(map[string]any)
}

func (s *parityScript) recorded(v any) any {
	switch v := v.(type) {
	case string:
		if original, ok := s.signed[v]; ok {
			return original
		}
	case map[string]any:
		for name := range v {
			v[name] = s.recorded(v[name])
		}
	case []any:
		for i := range v {
			v[i] = s.recorded(v[i])
		}
	}
	return v
}

// RoundTrip answers the next request of the script.
func (s *parityScript) RoundTrip(req *http.Request) (*http.Response, error) {
	switch req.URL.Path {
	case s.path() + "/.well-known/openid-configuration":
		return answerOf(req, 200, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"token_endpoint":%q,"authorization_endpoint":%q,"response_types_supported":["code"]}`,
			s.issuer, s.issuer+"/jwks", s.issuer+"/token", s.issuer+"/authorize")), nil
	case s.path() + "/jwks":
		return answerOf(req, 200, parityKeys()), nil
	}
	if agent := req.Header.Get("User-Agent"); !strings.HasPrefix(agent, "authpi-idp-go/") {
		s.t.Errorf("got User-Agent %q; want authpi-idp-go/...", agent)
	}
	return s.answer(req)
}

func (s *parityScript) path() string {
	u, err := url.Parse(s.issuer)
	if err != nil {
		return ""
	}
	return u.Path
}

func (s *parityScript) answer(req *http.Request) (*http.Response, error) {
	body := ""
	if req.Body != nil {
		read, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		body = string(read)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("scripted fault")}
	// A request that certainly never left may be sent again, once.
	whole := req.Method + " " + req.URL.String() + "\n" + body
	if s.dialled == whole {
		s.dialled = ""
		return nil, dial
	}
	index := len(s.requests)
	s.requests = append(s.requests, parityRequest(req, body))
	s.events = append(s.events, map[string]any{"event": "request", "index": parityNumber(index)})
	if index >= len(s.in.Responses) {
		return answerOf(req, http.StatusServiceUnavailable, ""), nil // Python sent no such request
	}
	reply := s.in.Responses[index]
	switch reply.Fault {
	case "connect_error":
		s.dialled = whole
		return nil, dial
	case "read_timeout":
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}
	text := reply.Body
	if reply.BodyHex != "" {
		raw, err := hex.DecodeString(reply.BodyHex)
		if err != nil {
			return nil, err
		}
		text = string(raw)
	}
	resp := answerOf(req, reply.Status, s.sign(text))
	for name, value := range reply.Headers {
		resp.Header.Set(name, value)
	}
	return resp, nil
}

func answerOf(req *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Request: req,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

func parityRequest(req *http.Request, body string) map[string]any {
	headers := map[string]any{}
	for _, name := range []string{"Content-Type", "Authorization"} {
		if value := req.Header.Get(name); value != "" {
			headers[strings.ToLower(name)] = value
		}
	}
	return map[string]any{
		"method": req.Method, "url": parityRequestURL(req.URL.String()), "headers": headers, "form": parityPairs(body),
	}
}

// A JWT in a scripted answer, as the recorder wrote it.
var parityJWT = regexp.MustCompile(`eyJ[\w-]*\.([\w-]+)\.[\w-]+`)

// sign makes the ID tokens of a scripted answer hold: the payload is kept as it
// is but for iss, aud, exp and iat. One that is no JSON object stays.
func (s *parityScript) sign(body string) string {
	return parityJWT.ReplaceAllStringFunc(body, func(original string) string {
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(original, ".")[1])
		text := strings.TrimSpace(string(payload))
		if err != nil || !strings.HasPrefix(text, "{") || !strings.HasSuffix(text, "}") {
			return original
		}
		claims := fmt.Sprintf(`{"iss":%q,"aud":%q,"exp":%d,"iat":%d`,
			s.issuer, s.in.Client.ClientID, s.now.Add(time.Hour).Unix(), s.now.Unix())
		if rest := strings.TrimSpace(text[1:]); rest != "}" {
			claims += ","
		}
		object, err := paritySigner().Sign([]byte(claims + text[1:]))
		if err != nil {
			s.t.Error(err)
			return original
		}
		token, err := object.CompactSerialize()
		if err != nil {
			s.t.Error(err)
		}
		s.signed[token] = original
		return token
	})
}

var parityKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

func paritySigner() jose.Signer {
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: parityKey(), KeyID: "k1"},
	}, nil)
	if err != nil {
		panic(err)
	}
	return signer
}

func parityKeys() string {
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: parityKey().Public(), KeyID: "k1", Algorithm: string(jose.ES256), Use: "sig"},
	}})
	if err != nil {
		panic(err)
	}
	return string(bytes.TrimSpace(text))
}
