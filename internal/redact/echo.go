package redact

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

const (
	// minRun is how many bytes of a secret in a row give it away in part. A secret
	// that is shorter is looked for as a whole.
	minRun = 12
	// maxRounds is how many encodings on top of each other are seen through.
	maxRounds = 4
)

// shows reports whether a text has a secret or minRun bytes of one, in either case,
// as it is or encoded. Its cost is linear in the length of the text and of the
// secrets.
//
// The secrets are decoded too, since one may hold what looks like an encoding.
func shows(text string, secrets []string) bool {
	if !slices.ContainsFunc(secrets, worthHiding) {
		return false // most refusals: nothing was sent that could come back
	}
	views := decodings(text)
	has := newRuns(views)
	for _, secret := range secrets {
		if worthHiding(secret) && slices.ContainsFunc(forms(secret), func(form string) bool {
			if len(form) < minRun {
				return worthHiding(form) && slices.ContainsFunc(views, func(v string) bool { return strings.Contains(v, form) })
			}
			return has.partOf(form)
		}) {
			return true
		}
	}
	return false
}

func worthHiding(secret string) bool { return len(secret) >= minSecret }

// runs are the runs of minRun bytes that a text has.
type runs struct {
	known  map[string]bool
	begins [1 << 16]bool // by their first two bytes: most runs of secrets fail here, quickly
}

func newRuns(views []string) *runs {
	r := &runs{known: map[string]bool{}}
	for _, view := range views {
		for at := 0; at+minRun <= len(view); at++ {
			r.known[view[at:at+minRun]] = true
			r.begins[beginning(view[at:])] = true
		}
	}
	return r
}

// partOf reports whether form has one of the runs.
func (r *runs) partOf(form string) bool {
	for at := 0; at+minRun <= len(form); at++ {
		if r.begins[beginning(form[at:])] && r.known[form[at:at+minRun]] {
			return true
		}
	}
	return false
}

func beginning(run string) int { return int(run[0])<<8 | int(run[1]) }

// forms returns what a secret may look like once a text is decoded.
func forms(secret string) []string {
	all := decodings(secret)
	// In base64 it depends on what is before it, modulo 3: there may be a user name,
	// as in HTTP's Basic scheme. What is shared with neighbours is left out, and so
	// is padding.
	for before := range 3 {
		code := base64.RawStdEncoding.EncodeToString([]byte("\x00\x00"[:before] + secret))
		code = code[(before*8+5)/6:]
		if (before+len(secret))%3 != 0 && before > 0 {
			code = code[:len(code)-1]
		}
		if before == 0 || len(code) >= minRun { // else too little to be sure
			all = append(all, fold(code))
		}
	}
	return all
}

// decodings returns a text as it is, decoded, decoded twice and so on, while that
// changes it.
func decodings(text string) []string {
	all := []string{fold(text)}
	for range maxRounds {
		last := all[len(all)-1]
		next := fold(unescapeAll(last))
		if next == last {
			break
		}
		all = append(all, next)
	}
	return all
}

// fold makes equal what encodings and people do not distinguish: the case of
// letters, the space that is + in a query, and the two alphabets of base64.
func fold(text string) string {
	return strings.NewReplacer("+", " ", "-", " ", "_", "/").Replace(strings.ToLower(text))
}

// unescapeAll decodes each character that a folded text writes as URLs, HTML, JSON
// or Go do.
func unescapeAll(text string) string {
	var out strings.Builder
	for at := strings.IndexAny(text, `%&\`); at >= 0; at = strings.IndexAny(text, `%&\`) {
		out.WriteString(text[:at])
		text = text[at:]
		char, rest, ok := unescape(text)
		if !ok {
			char, rest = text[:1], text[1:]
		}
		out.WriteString(char)
		text = rest
	}
	return out.String() + text
}

// unescape decodes the escape that a text begins with, if it is one.
func unescape(text string) (char, rest string, ok bool) {
	switch text[0] {
	case '&':
		return unescapeHTML(text)
	case '%':
		if len(text) < 3 {
			return "", text, false
		}
		value, err := strconv.ParseUint(text[1:3], 16, 8)
		return string([]byte{byte(value)}), text[3:], err == nil
	}
	if len(text) > 1 && strings.IndexByte(`"'/`, text[1]) >= 0 {
		return text[1:2], text[2:], true
	}
	value, multibyte, rest, err := strconv.UnquoteChar(text, 0)
	switch {
	case err != nil: // no escape, or half of a surrogate pair
		return "", text, false
	case multibyte:
		return string(value), rest, true
	}
	return string([]byte{byte(value)}), rest, true
}

// unescapeHTML knows characters by number, and those by name that tokens are made
// of, or that every encoder names.
func unescapeHTML(text string) (char, rest string, ok bool) {
	const longest = 12
	name, _, ok := strings.Cut(text[1:min(len(text), longest)], ";")
	if !ok {
		return "", text, false
	}
	rest = text[len("&")+len(name)+len(";"):]
	if digits, numeric := strings.CutPrefix(name, "#"); numeric {
		base := 10
		if hex, isHex := strings.CutPrefix(digits, "x"); isHex {
			digits, base = hex, 16
		}
		value, err := strconv.ParseUint(digits, base, 21)
		return string(rune(value)), rest, err == nil
	}
	char, ok = entity(name)
	return char, rest, ok
}

func entity(name string) (char string, ok bool) {
	const names = " amp & lt < gt > quot \" apos ' plus + sol / equals = period . lowbar _ colon : percnt % tilde ~ hyphen - dash - "
	_, after, ok := strings.Cut(names, " "+name+" ")
	if !ok || name == "" || len(name) < 2 {
		return "", false
	}
	return after[:1], true
}
