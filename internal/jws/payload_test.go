package jws_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/jws"
)

// TestUnverifiedPayload shows that only the form counts: three parts, of which the
// second can be decoded.
func TestUnverifiedPayload(t *testing.T) {
	t.Parallel()
	p := b64(plainPayload)
	longest := strings.Repeat("A", jws.MaxLength-len("..ss"))
	tests := []struct {
		name, raw, part string // part is empty if raw is read
	}{
		{"whole", sign(plainHeader, plainPayload), ""},
		{"header and signature of no use", "?." + p + ".?", ""},
		{"nothing but the payload", "." + p + ".", ""},
		{"as long as may be", "." + longest + ".ss", ""},
		{"a byte longer", "." + longest + ".sss", "length"},
		{"empty", "", "format"},
		{"one part", p, "format"},
		{"two parts", "h." + p, "format"},
		{"four parts", "h." + p + ".s.s", "format"},
		{"payload padded", "h." + p + "=.s", "payload"},
		{"payload not base64url", "h.+.s", "payload"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := jws.UnverifiedPayload(tc.raw)
			if tc.part == "" {
				if err != nil || got == "" || len(tc.raw) < 1000 && got != plainPayload {
					t.Errorf("got %.40q, %v; want the payload", got, err)
				}
				return
			}
			var e *jws.Error
			if !errors.As(err, &e) || e.Part != tc.part || got != "" {
				t.Errorf("got %.40q, %v; want %s refused", got, err, tc.part)
			}
		})
	}
}
