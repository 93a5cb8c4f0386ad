package testkit

import (
	"context"
	"testing/synctest"
	"time"
)

// Wait lets time pass, unless the context ends first: the error is the context's then.
// No time is no wait: inside a bubble a timer that is over when it is looked at may
// crash the race detector (Go 1.26).
func Wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// After starts do once everybody else in the bubble waits, and returns when do waits,
// too. done is closed when do has returned.
func After(do func()) (done chan struct{}) {
	synctest.Wait()
	done = make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	synctest.Wait()
	return done
}
