// Package compose runs the development issuer beside an app in containers. Its tests
// lint compose.yaml and the Dockerfile, and run what they say without Docker.
//
// The module is not in go.work: what the linters need is not to choose the versions of
// the other modules' dependencies.
package compose
