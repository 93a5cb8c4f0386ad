package redact

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Printed is all that fmt and log/slog show of a type that embeds it, whatever the
// verb and flags. Empty: a mark, for types that have nothing worth printing but
// secrets.
type Printed string

// String returns what may be shown.
func (p Printed) String() string { return cmp.Or(string(p), Mark) }

// Format prints String for every verb and flag.
func (p Printed) Format(f fmt.State, _ rune) { Print(f, p.String()) }

// MarshalJSON is String, for what logs a whole struct or list as JSON.
func (p Printed) MarshalJSON() ([]byte, error) { return json.Marshal(p.String()) }

// LogValue is String, for log/slog.
func (p Printed) LogValue() slog.Value { return slog.StringValue(p.String()) }
