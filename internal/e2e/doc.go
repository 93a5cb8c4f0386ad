// Package e2e holds no code but tests: package authpi against a provider that
// we did not write, and against the Python package whose sessions it shares.
package e2e
