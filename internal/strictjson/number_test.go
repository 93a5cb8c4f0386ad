package strictjson_test

import (
	"math"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

func TestInt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       int64
		ok         bool
	}{
		{"zero", "0", 0, true},
		{"negative zero", "-0", 0, true},
		{"zero with all parts", "-0.000e-5", 0, true},
		{"zero with a huge exponent", "0e999999999", 0, true},
		{"small", "12", 12, true},
		{"negative", "-12", -12, true},
		{"time", "1700000000", 1700000000, true},
		{"empty fraction", "12.0", 12, true},
		{"exponent makes it whole", "1.2e1", 12, true},
		{"exponent", "1e3", 1000, true},
		{"capital exponent with plus", "1E+3", 1000, true},
		{"negative exponent", "12000e-3", 12, true},
		{"fraction and exponent", "-0.00120e4", -12, true},
		{"zeros in the middle", "100.0200e2", 10002, true},
		{"exponent zero", "7e0", 7, true},
		{"exponent with leading zeros", "7e0000000000000000000001", 70, true},
		{"half", "1.5", 0, false},
		{"smaller than one", "0.1", 0, false},
		{"exponent leaves a fraction", "1.25e1", 0, false},
		{"negative exponent leaves a fraction", "12e-1", 0, false},
		{"tiny", "1e-999999999", 0, false},
		{"fraction of 30 digits", "1.000000000000000000000000000001", 0, false},
		{"18 digits", "999999999999999999", 999999999999999999, true},
		{"19 digits", "1000000000000000001", 1000000000000000001, true},
		{"not exact in a float64", "9007199254740993", 9007199254740993, true},
		{"largest", "9223372036854775807", math.MaxInt64, true},
		{"largest with fraction", "9223372036854775807.000", math.MaxInt64, true},
		{"largest with exponent", "9.223372036854775807e18", math.MaxInt64, true},
		{"one too large", "9223372036854775808", 0, false},
		{"smallest", "-9223372036854775808", math.MinInt64, true},
		{"smallest with exponent", "-922337203685477580800e-2", math.MinInt64, true},
		{"one too small", "-9223372036854775809", 0, false},
		{"19 nines", "9999999999999999999", 0, false},
		{"20 digits", "18446744073709551616", 0, false},
		{"wraps in 64 bits", "18446744073709551617", 0, false},
		{"1e18", "1e18", 1e18, true},
		{"1e19", "1e19", 0, false},
		{"1e999999999", "1e999999999", 0, false},
		{"exponent beyond 64 bits", "1e99999999999999999999999999", 0, false},
		{"negative exponent beyond 64 bits", "1e-99999999999999999999999999", 0, false},
		{"long fraction undone by the exponent", "0." + strings.Repeat("0", 5000) + "12e5002", 12, true},
		{"long integer undone by the exponent", "12" + strings.Repeat("0", 5000) + "e-5000", 12, true},
		{"null", "null", 0, false},
		{"string", `"12"`, 0, false},
		{"array", "[12]", 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inList(t, tc.text, func(r *strictjson.Reader) {
				if got, ok := r.Int(); got != tc.want || ok != tc.ok {
					t.Errorf("got %d, %v; want %d, %v", got, ok, tc.want, tc.ok)
				}
			})
		})
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		ok         bool
	}{
		{"whole", "12", true},
		{"as written", "-12.50E+01", true},
		{"null", "null", false},
		{"string", `"12"`, false},
		{"array", "[12]", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			want := ""
			if tc.ok {
				want = tc.text
			}
			inList(t, tc.text, func(r *strictjson.Reader) {
				if got, ok := r.Number(); got != want || ok != tc.ok {
					t.Errorf("got %q, %v; want %q, %v", got, ok, want, tc.ok)
				}
			})
		})
	}
}

func TestNumberFaults(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"01", "1.", "1e", "-", "1.2.3", "12a", "1\"", "1-", "00"} {
		r := strictjson.NewReader(text)
		if n, ok := r.Int(); n != 0 || ok || r.Err() == nil {
			t.Errorf("Int of %s: got %d, %v; want a fault", text, n, ok)
		}
		r = strictjson.NewReader(text)
		if n, ok := r.Number(); n != "" || ok || r.Err() == nil {
			t.Errorf("Number of %s: got %q, %v; want a fault", text, n, ok)
		}
	}
}
