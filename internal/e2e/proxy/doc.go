// Package proxy holds authpihttp's handlers against reverse proxies that end TLS, take
// a path prefix away, and pass on another Host. Its tests need nginx.
package proxy
