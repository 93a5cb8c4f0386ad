package redact

import (
	"encoding/base64"
	"html"
	"regexp"
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
// Decoding is done on both sides: an encoding need not touch what the secret itself
// has of another.
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

// forms are what a secret may look like once a text is decoded.
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

// decodings are a text as it is, decoded, decoded twice and so on while that changes
// it.
func decodings(text string) []string {
	all := []string{fold(text)}
	for range maxRounds {
		last := all[len(all)-1]
		next := fold(escape.ReplaceAllStringFunc(last, unescape))
		if next == last {
			break
		}
		all = append(all, next)
	}
	return all
}

// fold makes alike what encodings and people do not tell apart: the letters' case,
// the space that is + in a query, and the two alphabets of base64.
func fold(text string) string {
	return strings.NewReplacer("+", " ", "-", " ", "_", "/").Replace(strings.ToLower(text))
}

// escape is one character as URLs, HTML, JSON or Go write it, once it is folded.
var escape = regexp.MustCompile(`%[0-9a-f]{2}|&[a-z0-9#]{1,10};|\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\["'\\/abfnrtv]`)

func unescape(text string) string {
	switch {
	case text[0] == '&':
		return html.UnescapeString(text)
	case text[0] == '%':
		text = `\x` + text[1:]
	case strings.IndexByte(`"'/`, text[1]) >= 0:
		return text[1:]
	}
	char, multibyte, _, err := strconv.UnquoteChar(text, 0)
	switch {
	case err != nil: // half of a surrogate pair
		return text
	case multibyte:
		return string(char)
	}
	return string([]byte{byte(char)})
}
