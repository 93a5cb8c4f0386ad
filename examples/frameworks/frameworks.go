// Package frameworks mounts authpihttp on chi, gin and echo: one small app on each,
// with pages for people and the same for API callers under /api. Run its test:
//
//	go test ./examples/frameworks
//
// Two things differ from net/http's own mux: handlers and middleware may have to be
// wrapped, and the organization must get from the route into r.PathValue.
package frameworks

import (
	"fmt"
	"net/http"

	"github.com/authpi/authpi-idp-go/authpihttp"
)

// org is the organization that a request is about.
func org(r *http.Request) string { return r.PathValue("org") }

func home(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	_, _ = fmt.Fprintln(w, "Hello,", agent.Email)
}

func projects(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	_, _ = fmt.Fprintf(w, "The projects of %s, for %s\n", org(r), agent.ID)
}
