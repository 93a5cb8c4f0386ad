//go:build !race

package authpiredis_test

const raceDetector = false
