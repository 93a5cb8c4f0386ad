// Package record writes what is logged: one record for each operation, when it
// ends. docs/observability.md promises messages and fields to users, so each is
// written once, here.
package record

import (
	"context"
	"log/slog"
	"time"
)

// Outcome is how an operation ended.
type Outcome string

// The outcomes.
const (
	OK       Outcome = "ok"
	Failed   Outcome = "failed"   // for now: the same may succeed later
	Refused  Outcome = "refused"  // for good
	Canceled Outcome = "canceled" // its caller left
)

// Source is where tokens came from.
type Source string

// The sources.
const (
	Issuer  Source = "issuer"
	Memory  Source = "memory"  // of this process
	Store   Source = "store"   // of sessions, or of machines' tokens
	Process Source = "process" // another one, through the coordinator
)

// KeyLength is how much of a digest a record shows: enough to find what belongs to
// one session.
const KeyLength = 12

// Names of fields. Those that one record alone has stand with it.
const (
	fieldOp       = "op"
	fieldOutcome  = "outcome"
	fieldDuration = "duration"
	fieldCode     = "code"
	fieldStatus   = "status"
	fieldPart     = "part"
	fieldError    = "error"
	fieldKey      = "key"
	fieldSource   = "source"
	fieldExpires  = "expires_at"
)

// End is how an operation ended, and how long it took.
type End struct {
	Took    time.Duration
	Outcome Outcome
	Code    string // of an OAuthError, or "configuration"
	Status  int    // of the issuer's answer; 0: there was none
	Part    string // the claim or header that a token was refused for
	Error   string
}

// line is a record, unless nobody reads its level.
type line struct {
	level   slog.Level
	message string
	op      string
}

func (l line) write(ctx context.Context, log *slog.Logger, end End, more func([]slog.Attr) []slog.Attr) {
	if !log.Enabled(ctx, l.level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 12), slog.String(fieldOp, l.op),
		slog.String(fieldOutcome, string(end.Outcome)), slog.Duration(fieldDuration, end.Took))
	if end.Outcome != OK {
		attrs = append(attrs, slog.String(fieldError, end.Error))
	}
	if end.Code != "" {
		attrs = append(attrs, slog.String(fieldCode, end.Code))
	}
	if end.Status != 0 {
		attrs = append(attrs, slog.Int(fieldStatus, end.Status))
	}
	if end.Part != "" {
		attrs = append(attrs, slog.String(fieldPart, end.Part))
	}
	if more != nil {
		attrs = more(attrs)
	}
	log.LogAttrs(ctx, l.level, l.message, attrs...)
}

// Refresh is what one caller was given who wanted newer tokens.
type Refresh struct {
	End
	Source    Source // where it ended well
	Shared    bool   // another caller of this process asked for them
	Held      bool   // nothing was tried, since the last attempt failed a moment ago
	StillGood bool   // it failed, and the caller goes on with the tokens that it has
}

// Log writes the record. key names the caller's refresh token.
func (r Refresh) Log(ctx context.Context, log *slog.Logger, key func() string) {
	l := line{slog.LevelDebug, "authpi: refreshed", "refresh"}
	switch {
	case r.Outcome == OK:
	case r.StillGood && !r.Held: // else it was said already
		l.level, l.message = slog.LevelWarn, "authpi: refresh failed for now; the access token is still good"
	default:
		l.message = "authpi: refresh failed"
	}
	l.write(ctx, log, r.End, func(attrs []slog.Attr) []slog.Attr {
		attrs = append(attrs, slog.String(fieldKey, key()), slog.Bool("shared", r.Shared))
		if r.Outcome == OK {
			return append(attrs, slog.String(fieldSource, string(r.Source)))
		}
		return append(attrs, slog.Bool("held", r.Held), slog.Bool("still_good", r.StillGood))
	})
}

// Spend is one request with a refresh token.
type Spend struct {
	End
	Expires time.Time // of the new access token
	Ended   bool      // the issuer says that the session is over
}

// Log writes the record. key names the refresh token.
func (s Spend) Log(ctx context.Context, log *slog.Logger, key func() string) {
	l := line{slog.LevelInfo, "authpi: refresh token spent", "spend"}
	if s.Outcome != OK {
		l.message = "authpi: refresh request failed"
	}
	if s.Outcome != OK && !s.Ended { // else there is nothing to be warned of
		l.level = slog.LevelWarn
	}
	l.write(ctx, log, s.End, func(attrs []slog.Attr) []slog.Attr {
		attrs = append(attrs, slog.String(fieldKey, key()))
		if s.Outcome == OK {
			attrs = append(attrs, slog.Time(fieldExpires, s.Expires))
		}
		return attrs
	})
}

// Coordinate is one call of the coordinator.
type Coordinate struct {
	End
	Source Source        // Issuer where the token was spent here, else Process
	Waited time.Duration // for the turn, or for what another process got
}

// Log writes the record. key names the refresh token.
func (c Coordinate) Log(ctx context.Context, log *slog.Logger, key func() string) {
	l := line{slog.LevelDebug, "authpi: refresh coordinated", "coordinate"}
	if c.Outcome != OK {
		l.level, l.message = slog.LevelWarn, "authpi: refresh coordinator failed"
	}
	l.write(ctx, log, c.End, func(attrs []slog.Attr) []slog.Attr {
		return append(attrs, slog.String(fieldKey, key()), slog.String(fieldSource, string(c.Source)),
			slog.Duration("waited", c.Waited))
	})
}

// Kinds of tokens that are verified.
const (
	Access = "access"
	ID     = "id"
	Logout = "logout"
	Stored = "stored" // those of a stored set
)

// VerifyLevel is that of all verifications: anybody may send a token, so a forged
// one is no reason to warn.
const VerifyLevel = slog.LevelDebug

// Verify is one verification.
type Verify struct {
	End
	Kind string
}

// Log writes the record.
func (v Verify) Log(ctx context.Context, log *slog.Logger) {
	l := line{VerifyLevel, "authpi: token verified", "verify"}
	if v.Outcome != OK {
		l.message = "authpi: token not verified"
	}
	l.write(ctx, log, v.End, func(attrs []slog.Attr) []slog.Attr {
		return append(attrs, slog.String("token", v.Kind))
	})
}

// Exchange is one authorization code.
type Exchange struct{ End }

// Log writes the record.
func (e Exchange) Log(ctx context.Context, log *slog.Logger) {
	l := line{slog.LevelInfo, "authpi: code exchanged", "exchange"}
	switch e.Outcome {
	case OK:
	case Failed:
		l.level = slog.LevelWarn
		fallthrough
	default:
		l.message = "authpi: code exchange failed"
	}
	l.write(ctx, log, e.End, nil)
}

// MachineToken is one token by client credentials.
type MachineToken struct {
	End
	Source  Source // Issuer or Store
	Expires time.Time
}

// Log writes the record.
func (m MachineToken) Log(ctx context.Context, log *slog.Logger) {
	l := line{slog.LevelInfo, "authpi: machine token received", "machine_token"}
	switch {
	case m.Outcome != OK:
		l.level, l.message = slog.LevelWarn, "authpi: machine token request failed"
	case m.Source == Store:
		l.level, l.message = slog.LevelDebug, "authpi: machine token taken from the store"
	}
	l.write(ctx, log, m.End, func(attrs []slog.Attr) []slog.Attr {
		attrs = append(attrs, slog.String(fieldSource, string(m.Source)))
		if m.Outcome == OK {
			attrs = append(attrs, slog.Time(fieldExpires, m.Expires))
		}
		return attrs
	})
}

// Fetch is one fetch of something that the issuer publishes.
type Fetch struct {
	End
	Age    time.Duration // of the older copy that still serves where it failed; negative: none does
	KeyIDs []string      // that came
}

// LogKeys writes the record of a fetch of keys.
func (f Fetch) LogKeys(ctx context.Context, log *slog.Logger) {
	l := line{slog.LevelDebug, "authpi: issuer's keys fetched", "keys"}
	if f.Outcome != OK {
		l.level, l.message = slog.LevelWarn, "authpi: issuer's keys could not be fetched"
	}
	l.write(ctx, log, f.End, func(attrs []slog.Attr) []slog.Attr {
		if f.Outcome == OK {
			return append(attrs, slog.Int("count", len(f.KeyIDs)), slog.Any("kids", f.KeyIDs))
		}
		return f.appendAge(attrs)
	})
}

// LogDiscovery writes the record of a fetch of the discovery document.
func (f Fetch) LogDiscovery(ctx context.Context, log *slog.Logger) {
	l := line{slog.LevelDebug, "authpi: issuer's discovery document fetched", "discovery"}
	if f.Outcome != OK {
		l.level, l.message = slog.LevelWarn, "authpi: issuer's discovery document could not be fetched"
	}
	l.write(ctx, log, f.End, f.appendAge)
}

func (f Fetch) appendAge(attrs []slog.Attr) []slog.Attr {
	if f.Outcome == OK || f.Age < 0 {
		return attrs
	}
	return append(attrs, slog.Duration("age", f.Age))
}

// Warnings about something that does not end the operation.

// OddAnswer is for a token answer whose optional members are of the wrong kind.
func OddAnswer(ctx context.Context, log *slog.Logger, key, fault string) {
	log.LogAttrs(ctx, slog.LevelWarn, "authpi: the answer to a refresh is odd",
		slog.String(fieldKey, key), slog.String("fault", fault))
}

// IDTokenLeftOut is for a refreshed set that goes on without its ID token.
func IDTokenLeftOut(ctx context.Context, log *slog.Logger, key string, err error) {
	log.LogAttrs(ctx, slog.LevelWarn, "authpi: ID token of a refresh could not be checked and is left out",
		slog.String(fieldKey, key), slog.String(fieldError, err.Error()))
}

// MachineIDTokenLeftOut is the same for client credentials, which bring none.
func MachineIDTokenLeftOut(ctx context.Context, log *slog.Logger, err error) {
	log.LogAttrs(ctx, slog.LevelWarn, "authpi: ID token of a client credentials answer left out",
		slog.String(fieldError, err.Error()))
}

// MachineStoreFailed is for a store of machines' tokens that is no help.
func MachineStoreFailed(ctx context.Context, log *slog.Logger, err error) {
	log.LogAttrs(ctx, slog.LevelWarn, "authpi: machine token store failed", slog.String(fieldError, err.Error()))
}

// NotRevoked is for tokens that nobody may have, and that could not be revoked.
func NotRevoked(ctx context.Context, log *slog.Logger, err error) {
	log.LogAttrs(ctx, slog.LevelWarn, "authpi: tokens that nobody may have could not be revoked",
		slog.String(fieldError, err.Error()))
}
