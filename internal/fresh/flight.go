package fresh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// flight is one fetch that callers share.
type flight[T any] struct {
	seq   uint64
	at    time.Time // when it began
	terms Terms[T]  // of the caller that began it; nil if it was due

	once sync.Once
	done chan struct{} // closed at the end, when copy and err are final
	late chan struct{} // closed when it has taken longer than a moment
	copy *Copy[T]      // nil if it failed
	err  error
}

// wait returns how f ended, or an error that wraps ctx.Err().
func (f *flight[T]) wait(ctx context.Context) (*Copy[T], error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		select {
		case <-f.done: // comes first, should there be both
		default:
			return nil, ctx.Err()
		}
	}
	return f.copy, f.err
}

// outcome returns what f has brought so far: nil while it is under way, or if it
// failed.
func (f *flight[T]) outcome() *Copy[T] {
	select {
	case <-f.done:
		return f.copy
	default:
		return nil
	}
}

// begin starts a fetch. v.mu is held, and there is no other flight.
//
// It does not end with ctx: others may wait for it by then, and will want the copy
// later.
func (v *Value[T]) begin(ctx context.Context, terms Terms[T]) *flight[T] {
	f := &flight[T]{
		seq:   v.begun.Add(1),
		at:    v.opts.Now(),
		terms: terms,
		done:  make(chan struct{}),
		late:  make(chan struct{}),
	}
	v.flight = f
	go v.run(context.WithoutCancel(ctx), f)
	return f
}

var (
	errNoAnswer = errors.New("the fetch ended without an answer")
	errDeaf     = fmt.Errorf("the fetch did not stop at its deadline: %w", context.DeadlineExceeded)
)

// run fetches and ends f, whatever the fetch does: neither a panic in it nor a round
// tripper that ignores its context may leave callers waiting.
func (v *Value[T]) run(ctx context.Context, f *flight[T]) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var value T
	lateness := time.AfterFunc(moment, func() { close(f.late) })
	defer lateness.Stop()
	deafness := time.AfterFunc(fetchTimeout+grace, func() { v.end(ctx, f, value, errDeaf) })
	defer deafness.Stop()

	got, err := value, errNoAnswer
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("the fetch panicked with a %T", fault) // its value may hold what was sent
		}
		v.end(ctx, f, got, err)
	}()
	got, err = v.opts.Fetch(ctx)
}

// end records how f ended, and lets its callers go.
func (v *Value[T]) end(ctx context.Context, f *flight[T], value T, err error) {
	f.once.Do(func() {
		defer close(f.done)
		if f.err = err; err == nil {
			f.copy = &Copy[T]{Value: value, seq: f.seq, at: f.at}
		}
		if f.terms != nil {
			v.mu.Lock()
			before := v.err
			v.mu.Unlock()
			f.terms.Ended(f.copy, before) // no other fetch can begin yet
		}
		serving := v.record(f)
		if v.opts.Report != nil {
			v.opts.Report(ctx, f.copy, serving, err)
		}
	})
}

// record takes f's outcome over, and returns the older copy that still serves if f
// failed.
func (v *Value[T]) record(f *flight[T]) (serving *Copy[T]) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.flight, v.err = nil, f.err
	if f.err == nil {
		v.misses = 0
		if v.opts.Usable > 0 {
			v.current.Store(f.copy)
		}
		return nil
	}
	v.failedSeq, v.failedAt, v.ended = f.seq, v.opts.Now(), time.Now()
	if c := v.current.Load(); c != nil && v.age(c) < v.opts.Usable {
		return c
	}
	if v.opts.Usable > 0 {
		v.misses++
	}
	return nil
}
