package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/authpi/authpi-idp-go/internal/awake"
	"github.com/authpi/authpi-idp-go/internal/rotate"
)

// A request that panics in its turn is a failure that passes, and shares nothing.
func TestPanicOfACoordinatedRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shared []byte
		c := &rotate.Coordinator{
			Do: func(ctx context.Context, _ string, spend func(context.Context) ([]byte, error)) (_ []byte, err error) {
				shared, err = spend(ctx)
				return shared, err
			},
			ID: func(refreshToken string) string { return refreshToken }, Clock: &awake.Clock{},
			Once:    func(context.Context, rotate.Tokens, string, any) (*rotate.Answer, error) { panic("broken") },
			Refusal: func(error) (rotate.Refusal, bool) { return rotate.Refusal{}, false },
			Failed:  func(_ rotate.Tokens, _ string, cause error) error { return fmt.Errorf("%w: %w", errPassing, cause) },
			Turned:  func(context.Context, rotate.Tokens, rotate.Turn) {},
			Fault:   func(fault any) error { return fmt.Errorf("it panicked with a %T", fault) },
		}
		answer, err := c.Redeem(t.Context(), set("a.0"), "", nil)
		if !errors.Is(err, errPassing) || answer != nil || shared != nil {
			t.Errorf("got %v, and %d bytes shared; want a passing failure", err, len(shared))
		}
	})
}
