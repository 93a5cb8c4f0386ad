package testkit

import (
	"context"
	"sync"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
)

// Store is a session store that notes each call of its callbacks.
type Store struct {
	Mu       sync.Mutex // guards all below
	Current  authpi.TokenSet
	Saved    []authpi.TokenSet
	failures []error
	Loads    int
	SaveErr  error
	LoadErr  error
}

// Opts are the callbacks without Reload.
func (s *Store) Opts() *authpi.AgentOptions {
	return &authpi.AgentOptions{
		OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
			s.Mu.Lock()
			defer s.Mu.Unlock()
			if s.SaveErr != nil {
				return s.SaveErr
			}
			s.Current = tokens
			s.Saved = append(s.Saved, tokens)
			return nil
		},
		OnRefreshError: func(_ context.Context, err error) {
			s.Mu.Lock()
			defer s.Mu.Unlock()
			s.failures = append(s.failures, err)
		},
	}
}

// Reloading are the callbacks with Reload, which returns what is stored.
func (s *Store) Reloading() *authpi.AgentOptions {
	opts := s.Opts()
	opts.Reload = func(context.Context) (authpi.TokenSet, error) {
		s.Mu.Lock()
		defer s.Mu.Unlock()
		s.Loads++
		return s.Current, s.LoadErr
	}
	return opts
}

// Set stores tokens as another process would.
func (s *Store) Set(t authpi.TokenSet) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Current = t
}

// WantCalls checks how often OnRefresh succeeded and OnRefreshError was called.
func (s *Store) WantCalls(t testing.TB, saved, failures int) {
	t.Helper()
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if len(s.Saved) != saved || len(s.failures) != failures {
		t.Errorf("OnRefresh %d times, OnRefreshError %d times (%v); want %d and %d",
			len(s.Saved), len(s.failures), s.failures, saved, failures)
	}
}
