package record

import (
	"strings"
	"sync"
	"time"
)

// Bounds of notices.
const (
	maxNotices    = 256 // at all
	hourlyNotices = 10
)

// Notices hold back lines of the log that anybody can cause, by texts of their own
// choice: there is one for each text, a few in an hour, and a bounded number at all.
// The zero value is ready for use, by several goroutines at once.
type Notices struct {
	mu     sync.Mutex // guards what follows
	texts  map[string]bool
	hour   time.Time // when it began
	inHour int
}

// First reports whether a text is to be written. It keeps the text, which must be
// short.
func (n *Notices) First(text string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if age := now.Sub(n.hour); age >= time.Hour || age < 0 {
		n.hour, n.inHour = now, 0
	}
	if n.texts[text] || len(n.texts) == maxNotices || n.inHour == hourlyNotices {
		return false
	}
	if n.texts == nil {
		n.texts = map[string]bool{}
	}
	n.texts[strings.Clone(text)] = true // it may be a part of a whole request
	n.inHour++
	return true
}
