package authpitest

import (
	"fmt"
	"io"
)

// Logs of test runs are kept for long and read by many, and some issuers under test
// have a real client's secret.

// Format prints a server's address for every verb and flag, and none of its secrets.
func (s *Server) Format(f fmt.State, _ rune) { show(f, "authpitest.Server{URL:%q}", s.URL) }

// Format prints the client without its secret, for every verb and flag.
func (c Client) Format(f fmt.State, _ rune) { show(f, "authpitest.Client{ID:%q}", c.ID) }

// Format prints the options without the secret, for every verb and flag.
func (o Options) Format(f fmt.State, _ rune) {
	show(f, "authpitest.Options{ClientID:%q Algorithm:%q Path:%q}", o.ClientID, o.Algorithm, o.Path)
}

func show(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
