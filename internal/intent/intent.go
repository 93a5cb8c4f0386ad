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

// PassPreflight lets next answer a preflight, by which a browser asks what a page of
// another origin may send, and reports whether it was one. It carries no cookie and
// no token, so the app's CORS layer answers, wherever it is; but with a status and
// headers alone: whoever sends one has not signed in, and next may look at nothing
// but the path.
func PassPreflight(next http.Handler, w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodOptions || r.Header.Get("Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	next.ServeHTTP(&bodyless{w: w}, r)
	return true
}

// bodyless drops the body of an answer. What it wraps stays out of reach.
type bodyless struct {
	w     http.ResponseWriter
	wrote bool
}

func (b *bodyless) Header() http.Header { return b.w.Header() }

func (b *bodyless) Write(p []byte) (int, error) {
	if !b.wrote {
		b.WriteHeader(http.StatusOK)
	}
	return len(p), nil
}

func (b *bodyless) WriteHeader(status int) {
	b.wrote = true
	for _, describes := range [...]string{"Content-Length", "Content-Range", "Content-Encoding", "Etag", "Last-Modified"} {
		b.w.Header().Del(describes)
	}
	b.w.WriteHeader(status)
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
