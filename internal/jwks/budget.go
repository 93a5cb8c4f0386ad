package jwks

import "time"

const (
	burst       = 2
	replenished = 10 * time.Second
)

// budget is a token bucket: burst fetches at once, and one more for every ten seconds.
type budget struct {
	left int
	last time.Time // when the bucket was full, or was given its last fetch
}

// take takes one fetch from the bucket, unless it is empty.
func (b *budget) take(now time.Time) bool {
	b.replenish(now)
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}

// give gives back what take took.
func (b *budget) give() { b.left = min(b.left+1, burst) }

// empty reports whether take would take nothing.
func (b *budget) empty(now time.Time) bool {
	b.replenish(now)
	return b.left == 0
}

// refill gives back all that was taken.
func (b *budget) refill() { b.left = burst }

// replenish adds what has come in until now. A clock that was moved back adds nothing, and the
// wait for the next fetch begins again.
func (b *budget) replenish(now time.Time) {
	elapsed := now.Sub(b.last)
	if b.left == burst || elapsed < 0 {
		b.last = now
		return
	}
	n := elapsed / replenished
	b.left = int(min(time.Duration(b.left)+n, burst))
	b.last = b.last.Add(n * replenished)
}
