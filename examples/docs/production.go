package docs

import (
	"net/http"
	"time"
)

// secure goes around the whole app, authpihttp's handlers included.
func secure(next http.Handler) http.Handler {
	next = http.NewCrossOriginProtection().Handler(next) // no form of another site
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Strict-Transport-Security", "max-age=31536000") // https only, for a year
		next.ServeHTTP(w, r)
	})
}

// newServer limits how long a request may take, and how large its header may be.
func newServer(app http.Handler) *http.Server {
	return &http.Server{
		Handler:           secure(app),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		MaxHeaderBytes:    64 << 10,
	}
}
