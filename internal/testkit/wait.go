package testkit

import (
	"context"
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
