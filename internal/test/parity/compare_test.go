package parity_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go"
)

func (c *parityCount) String() string {
	return fmt.Sprintf("%d matched, %d differ on purpose, %d skipped (dynamic)", c.matched, c.different, c.skipped)
}

// parityDiff compares what came out with what was recorded. said are the error
// descriptions in the issuer's own words.
type parityDiff struct{ said []string }

// compare lists what came out otherwise than recorded, as "path=what came out".
// null, "", false and an empty list are one: fields here cannot be null.
func (d parityDiff) compare(got, want any) []string { return d.at("", got, want) }

func (d parityDiff) at(path string, got, want any) []string {
	if err, ok := got.(error); ok {
		return d.errors(path, err, want)
	}
	if parityEmpty(got) && parityEmpty(want) {
		return nil
	}
	switch got := got.(type) {
	case map[string]any:
		if want, ok := want.(map[string]any); ok || want == nil {
			return d.members(path, got, want)
		}
	case []any:
		if want, ok := want.([]any); ok || want == nil {
			return d.elements(path, got, want)
		}
	default:
		if got == want {
			return nil
		}
	}
	return []string{path + "=" + parityText(got)}
}

func (d parityDiff) elements(path string, got, want []any) []string {
	var found []string
	for i := range max(len(got), len(want)) {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case i >= len(got):
			found = append(found, at+"=none")
		case i >= len(want):
			found = append(found, d.at(at, got[i], nil)...)
		default:
			found = append(found, d.at(at, got[i], want[i])...)
		}
	}
	return found
}

// members compares objects. Where only one of them is an error, the other fields
// of that object say nothing, but for what happened on the way.
func (d parityDiff) members(path string, got, want map[string]any) []string {
	names := slices.Collect(maps.Keys(want))
	for name := range got {
		if _, known := want[name]; !known {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	_, failed := got["error"]
	_, shouldFail := want["error"]
	var found []string
	if shouldFail && !failed {
		found = append(found, strings.TrimPrefix(path+".error", ".")+"=none")
	}
	for _, name := range names {
		switch {
		case name == "error" && !failed,
			failed && !shouldFail && !slices.Contains([]string{"error", "requests", "events", "event"}, name):
			continue
		}
		below := strings.TrimPrefix(path+"."+name, ".")
		if name == "error" && !shouldFail {
			found = append(found, below+"="+parityErrorText(got[name].(error)))
			continue
		}
		if name == "joined_at" && want[name] == json.Number("0") {
			want[name] = nil // no date: the zero time here
		}
		found = append(found, d.at(below, got[name], want[name])...)
	}
	return found
}

// errors compares an error with a recorded one: class, code, status and subjects
// exactly. A description must be the same where the issuer gave it; where the
// Python package fills in a sentence of its own, the wording here may differ.
func (d parityDiff) errors(path string, err error, recorded any) []string {
	differs := []string{path + "=" + parityErrorText(err)}
	want, ok := recorded.(map[string]any)
	if !ok {
		return differs
	}
	var e *authpi.OAuthError
	var refresh *authpi.RefreshError
	var mismatch *authpi.SubjectMismatchError
	var configuration *authpi.ConfigurationError
	isOAuth, isRefresh := errors.As(err, &e), errors.As(err, &refresh)
	isMismatch, isConfiguration := errors.As(err, &mismatch), errors.As(err, &configuration)
	if !isOAuth && !isConfiguration {
		return differs // whatever is recorded, ours are typed
	}
	code, isText := want["code"].(string)
	_, described := want["description"].(string)
	same := false
	switch class := want["type"].(string); {
	case class == "PersistFailed":
		same = errors.Is(err, errPersistFailed)
	case class == "HandlerFailed":
		// The error that the handler was given comes out: see the script's finish.
		same = isRefresh || isOAuth
	case class == "ConfigurationError":
		same = isConfiguration
	case !strings.HasSuffix(class, "Error") || !isParityClass(class) || !isText, !described && want["description"] != nil:
		return nil // an accident of Python's: an error of ours, whichever
	case class == "RefreshError":
		status := "0"
		if n, ok := want["status_code"].(json.Number); ok {
			status = n.String()
		}
		same = isRefresh && e.Code == code && fmt.Sprint(e.StatusCode) == status
	case class == "SubjectMismatchError":
		same = isMismatch && e.Code == code && mismatch.Expected == want["expected_sub"] && mismatch.Actual == want["actual_sub"]
	default:
		same = isOAuth && e.Code == code
	}
	if !same {
		return differs
	}
	if text, _ := want["description"].(string); text != "" && slices.Contains(d.said, text) && e.Description != text {
		return []string{path + ".description=" + e.Description}
	}
	return nil
}

func isParityClass(class string) bool {
	_, known := paritySentinels[class]
	return known
}

// paritySentinels has the Python package's error classes, and the sentinel here
// where there is one.
var paritySentinels = map[string]error{
	"OAuthError":                  nil,
	"RefreshError":                nil,
	"SubjectMismatchError":        nil,
	"ConfigurationError":          nil,
	"TokenExpiredError":           authpi.ErrTokenExpired,
	"TokenParseError":             authpi.ErrInvalidToken,
	"InsufficientScopeError":      authpi.ErrInsufficientScope,
	"SessionExpiredError":         authpi.ErrSessionExpired,
	"UserBlockedError":            authpi.ErrUserBlocked,
	"AccountLinkingRequiredError": authpi.ErrAccountLinkingRequired,
	"InteractionRequiredError":    authpi.ErrInteractionRequired,
	"LoginRequiredError":          authpi.ErrLoginRequired,
	"ConsentRequiredError":        authpi.ErrConsentRequired,
}

// parityErrorText is an error as the list of differences writes it: its type,
// code and status, or its field.
func parityErrorText(err error) string {
	var e *authpi.OAuthError
	var refresh *authpi.RefreshError
	var mismatch *authpi.SubjectMismatchError
	var configuration *authpi.ConfigurationError
	kind := "OAuthError"
	switch {
	case errors.As(err, &configuration):
		return "ConfigurationError " + configuration.Field
	case !errors.As(err, &e):
		return "an error that is not typed: " + err.Error()
	case errors.As(err, &mismatch):
		kind = "SubjectMismatchError"
	case errors.As(err, &refresh):
		kind = "RefreshError"
	}
	text := kind + " " + e.Code
	if e.StatusCode != 0 {
		text += fmt.Sprintf(" %d", e.StatusCode)
	}
	return text
}

func parityText(v any) string {
	if s, ok := v.(string); ok {
		if strings.HasPrefix(s, "eyJ") {
			return "(ID token)"
		}
		return s
	}
	if parityEmpty(v) {
		return ""
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func parityEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// saidByIssuer are the descriptions in a case's scripted answers and callback.
func saidByIssuer(t *testing.T, c parityCase) []string {
	t.Helper()
	var input struct {
		Responses []struct{ Body string }
		Callback  any
		Call      struct{ Args struct{ Callback any } }
	}
	if c.Input[0] != '{' || json.Unmarshal(c.Input, &input) != nil {
		return nil
	}
	var said []string
	for _, r := range input.Responses {
		var answer struct {
			Text string `json:"error_description"`
		}
		if json.Unmarshal([]byte(r.Body), &answer) == nil {
			said = append(said, answer.Text)
		}
	}
	for _, callback := range []any{input.Callback, input.Call.Args.Callback} {
		switch callback := callback.(type) {
		case string:
			_, query, found := strings.Cut(callback, "?")
			if !found {
				query = callback
			}
			values, _ := url.ParseQuery(query)
			said = append(said, values["error_description"]...)
		case map[string]any:
			said = append(said, fmt.Sprint(callback["error_description"]))
		}
	}
	return said
}

func parityNumber[T int | int64](n T) json.Number { return json.Number(fmt.Sprint(n)) }

func parityTime(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return parityNumber(at.Unix())
}

func parityTexts(texts []string) []any {
	list := make([]any, len(texts))
	for i, text := range texts {
		list[i] = text
	}
	return list
}

func parityAgent(a *authpi.Agent) map[string]any {
	return map[string]any{
		"id": a.ID, "type": string(a.Type), "email": a.Email, "email_verified": a.EmailVerified,
		"org_id": a.OrgID, "tokens": parityTokens(a.Tokens), "organizations": parityOrganizations(a.Organizations),
	}
}

func parityTokens(s authpi.TokenSet) map[string]any {
	return map[string]any{
		"access_token": s.AccessToken, "token_type": s.TokenType, "expires_at": parityNumber(s.ExpiresAt.Unix()),
		"refresh_token": s.RefreshToken, "id_token": s.IDToken, "subject_hint": s.SubjectHint, "scope": s.Scope,
	}
}

func parityOrganizations(orgs []authpi.Organization) []any {
	list := []any{}
	for _, o := range orgs {
		list = append(list, map[string]any{
			"id": o.ID, "title": o.Title, "scopes": parityTexts(o.Scopes), "joined_at": parityTime(o.JoinedAt),
		})
	}
	return list
}

// parityURL is a URL as its place and its parameters in any order, repeats kept.
func parityURL(raw string) map[string]any {
	place, query, _ := strings.Cut(raw, "?")
	return map[string]any{"place": place, "query": parityPairs(query)}
}

func parityPairs(encoded string) any {
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return "cannot be read: " + encoded
	}
	pairs := map[string]any{}
	for name, list := range values {
		pairs[name] = parityTexts(list)
	}
	return pairs
}
