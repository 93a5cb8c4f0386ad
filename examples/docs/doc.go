// Package docs holds every page of the repository to what it says: its Go blocks run
// together, as they stand there, in a program of testdata/pages that asserts what the
// page promises; its other blocks run, or a table says why not; links lead somewhere,
// and nothing is said twice.
//
//	go test ./examples/docs
package docs
