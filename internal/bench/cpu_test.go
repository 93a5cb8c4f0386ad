//go:build unix

package bench

import (
	"syscall"
	"time"
)

// processorTime is what this process has used, garbage collector included. Where
// others use the machine too it says more than the clock.
func processorTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
