// Package docs holds the code that the pages under docs/ show and that is in no other
// example. Its tests run it, and hold the pages to it: a Go block that no file here
// has, or a link that leads nowhere, fails them.
//
//	go test ./examples/docs/...
package docs
