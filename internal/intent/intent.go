// Package intent reads out of a request what its sender is about to do with the
// answer.
package intent

import (
	"net/http"
	"strconv"
	"strings"
)

// Prefetch reports whether nobody looks at the answer yet, and perhaps never will.
func Prefetch(r *http.Request) bool {
	for _, header := range [...]string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if value := strings.ToLower(r.Header.Get(header)); strings.HasPrefix(value, "prefetch") || strings.HasPrefix(value, "preview") {
			return true
		}
	}
	return false
}

// AnswerPreflight answers a browser that asks what a page of another origin may
// send, and reports whether it did. Such a request carries no cookie and no token:
// what a guard protects must not see it. CORS middleware around the guard answers
// before, or has set its headers; without them the browser sends nothing.
func AnswerPreflight(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodOptions || r.Header.Get("Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

// Page reports whether a browser opens a page, which can follow a redirect to a
// login. Programs cannot, the page's own scripts included.
func Page(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		return false
	}
	return r.Header.Get("X-Requested-With") == "" && acceptsHTML(r)
}

func acceptsHTML(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, params, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(kind), "text/html") && !weighsNothing(params) {
			return true
		}
	}
	return false
}

// weighsNothing finds the weight 0 among the parameters of a media type (RFC 9110
// section 12.4.2).
func weighsNothing(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return err == nil && q == 0
		}
	}
	return false
}
