//go:build !stores

package main

import (
	"context"
	"fmt"
)

// openStore knows no others in this build: the drivers of Redis and PostgreSQL are most
// of what there is to compile.
func openStore(_ context.Context, kind, _ string) (store, error) {
	if kind == "memory" {
		return store{}, nil
	}
	return store{}, fmt.Errorf("-store %s: want memory, or build with -tags stores", kind)
}
