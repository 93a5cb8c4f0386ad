package testkit

import "time"

// Change alters a token before it is signed.
type Change func(header, claims map[string]any)

func SetClaim(name string, value any) Change {
	return func(_, claims map[string]any) { claims[name] = value }
}

func SetHeader(name string, value any) Change {
	return func(header, _ map[string]any) { header[name] = value }
}

func DropClaim(name string) Change {
	return func(_, claims map[string]any) { delete(claims, name) }
}

// At moves a date claim to so long before or after the issuer's now.
func At(name string, d time.Duration) Change {
	return func(_, claims map[string]any) { claims[name] = NewClock().Now().Add(d).Unix() }
}

func Both(changes ...Change) Change {
	return func(header, claims map[string]any) {
		for _, c := range changes {
			c(header, claims)
		}
	}
}
