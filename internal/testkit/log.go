package testkit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// Buffer is what goroutines write a log to, some of them when nobody waits for them.
type Buffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write is for [io.Writer].
func (b *Buffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(text)
}

// String returns what was written until now.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Log is a slog.Handler that keeps every record, and knows what none may hold.
type Log struct {
	mu      sync.Mutex // guards all below
	lines   []string   // JSON
	Secrets map[string]bool
	errs    []string
	hook    func(message string) // called without the lock
}

func newLog() *Log { return &Log{Secrets: map[string]bool{}} }

// Enabled is for [slog.Handler], as are the next three.
func (l *Log) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs drops what it is given.
func (l *Log) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup drops the name.
func (l *Log) WithGroup(string) slog.Handler { return l }

// Handle keeps the record, and calls the hook with its message.
func (l *Log) Handle(_ context.Context, r slog.Record) error {
	var line bytes.Buffer
	_ = slog.NewJSONHandler(&line, &slog.HandlerOptions{Level: slog.LevelDebug}).Handle(context.Background(), r)
	l.mu.Lock()
	l.lines = append(l.lines, line.String())
	hook := l.hook
	l.mu.Unlock()
	if hook != nil {
		hook(r.Message)
	}
	return nil
}

// OnMessage sets the hook for each message.
func (l *Log) OnMessage(hook func(string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hook = hook
}

// With returns the lines that hold text.
func (l *Log) With(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// Secret notes what no line and no error may hold. Of a JWT the signature alone is
// one too.
func (l *Log) Secret(s string) {
	if len(s) < 8 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Secrets[s] = true
	if parts := strings.Split(s, "."); len(parts) == 3 && len(parts[2]) > 20 {
		l.Secrets[parts[2]] = true
	}
}

func (l *Log) secretsOf(body []byte) {
	var answer map[string]any
	if json.Unmarshal(body, &answer) != nil {
		return
	}
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		if text, ok := answer[name].(string); ok {
			l.Secret(text)
		}
	}
}

// Error keeps every way of printing err for the check.
func (l *Log) Error(err error) {
	if err == nil {
		return
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Error("x", "error", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range ErrorChain(err) { // reporters print whole chains
		l.errs = append(l.errs, fmt.Sprintf("%v %+v %#v %q %s", one, one, one, one, one)+logged.String())
	}
}

// Knows reports whether text holds a secret.
func (l *Log) Knows(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.Secrets {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

func (l *Log) check(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Join(l.lines, "")
	errs := strings.Join(l.errs, "\n")
	for s := range l.Secrets {
		if i := strings.Index(lines, s); i >= 0 {
			t.Errorf("a log line holds a secret near %q", lines[max(0, i-120):i])
		}
		if i := strings.Index(errs, s); i >= 0 {
			t.Errorf("an error holds a secret near %q", errs[max(0, i-120):i])
		}
	}
}
