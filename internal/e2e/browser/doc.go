// Package browser holds no code but tests: people with a real browser, Chromium
// without a window, in front of examples/webapp as a process of its own.
package browser
