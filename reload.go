package authpi

import (
	"context"
	"time"
)

// reloadNewer asks the caller's session store, if there is one, whether another
// process was first. It gives nil where the store knows nothing newer than current, and
// waits for the store until the given time.
func (c *IdpClient) reloadNewer(ctx context.Context, current TokenSet, r *renewal, until time.Time) (*rotation, error) {
	if r.reload == nil {
		return nil, nil
	}
	limited, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	stored, err := r.reload(limited)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, left(ctx) // whatever the store calls it
	case err != nil:
		cause := masked(err, secretsOf(stored, current, r.agent.Tokens)...)
		return nil, refreshFailed(codeTransport, "Reload: "+cause.Error(), cause)
	case stored.isZero():
		return nil, refreshFailed(ErrSessionExpired, "the session has ended meanwhile", nil)
	case !c.isNewer(stored, current, r.agent.Tokens):
		return nil, nil
	}
	owner, err := c.agentOf(stored)
	if err != nil {
		return nil, &RefreshError{cause: err}
	}
	if owner.ID != r.agent.ID {
		return nil, &RefreshError{cause: subjectMismatch(r.agent.ID, owner.ID, secretsOf(stored, r.agent.Tokens)...)}
	}
	if c.cfg.VerifyStoredTokens {
		if err := c.verifyStored(limited, &stored); err != nil {
			return nil, &RefreshError{cause: err}
		}
	}
	rotated := rotation{tokens: stored, stored: true, kept: stored.RefreshToken == current.RefreshToken}
	c.rotations.remember(current, rotated)
	c.event(ctx, "refresh found in the session store", current)
	return &rotated, nil
}

// reloadRefused asks the store once more when the issuer has refused current: another
// process may have been first, and its set would be there. Where none is, the refusal
// stands.
func (c *IdpClient) reloadRefused(ctx context.Context, current TokenSet, r *renewal, refusal error) (*rotation, error) {
	r.until = time.Time{} // the flight may have taken all of it
	c.startWaiting(r)
	newer, err := c.reloadNewer(ctx, current, r, r.until.Add(-r.spendTime()))
	if err == nil && newer == nil {
		err = refusal
	}
	return newer, err
}

// orNewer gives what others have made of the caller's tokens, if its own session store
// agrees, or what that holds in its place.
func (c *IdpClient) orNewer(ctx context.Context, known *rotation, r *renewal, until time.Time) (*rotation, error) {
	newer, err := c.reloadNewer(ctx, known.tokens, r, until)
	if err == nil && newer == nil {
		newer = known
	}
	return newer, err
}

// isNewer compares what the store holds with what the caller is about to spend, and
// with the tokens that it came with. A store that lags behind holds a token whose
// successor is known here.
func (c *IdpClient) isNewer(stored, current, own TokenSet) bool {
	if stored.RefreshToken == current.RefreshToken {
		return stored.ExpiresAt.Unix() > current.ExpiresAt.Unix()
	}
	if stored.RefreshToken == own.RefreshToken {
		return false
	}
	if c.rotations.newest(c.rotations.id(stored.RefreshToken)) != nil {
		return false
	}
	// What is about to be spent may come from the memory; a store that still holds
	// what was there before that lags behind by more than the memory reaches back.
	fromMemory := current.RefreshToken != own.RefreshToken
	return !fromMemory || !stored.ExpiresAt.Before(current.ExpiresAt)
}
