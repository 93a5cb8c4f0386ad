package e2e

import (
	"os"
	"os/exec"
	"testing"
)

// needProgram gives the path of a program that a test cannot do without. Where it
// is missing the test is skipped; under CI, where .ci/run installs it, it fails.
func needProgram(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lacking(t, "the program %s is not installed here", name)
	}
	return path
}

// lacking ends a test for want of something that this machine does not have.
func lacking(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set, so nothing may be skipped: "+format, args...)
	}
	t.Skipf("skipped: "+format, args...)
}
