package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"html"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// minRun is how many bytes of a secret in a row give it away in part. A secret that is
	// shorter is looked for as a whole.
	minRun = 12
	// maxRounds is how many encodings on top of each other are seen through.
	maxRounds = 4
	// maxShown is how much of a text is looked at: far more than is shown, for masking makes a
	// text shorter.
	maxShown = 64 << 10
	// margin is how much is looked at beyond that, so that what is cut is found all the same:
	// minRun bytes, each of which may have become an escape of many.
	margin = 1 << 10
)

// hide puts Mark where a text has a secret or minRun bytes of one, in either case, as it is or
// encoded, and reports whether it has left off the end of a very long text. Its cost is linear in
// the length of the secrets.
//
// Decoding is done on both sides: an encoding need not touch what the secret itself has of another.
func hide(text string, secrets []string) (hidden string, clipped bool) {
	end := len(text)
	if clipped = end > maxShown; clipped {
		text, end = text[:min(end, maxShown+margin)], maxShown
	}
	if !slices.ContainsFunc(secrets, worthHiding) {
		return text[:end], clipped // most refusals: nothing was sent that could come back
	}
	views := decodings(text)
	secretAt := make([]bool, len(text))

	found := newRuns(views)
	for _, s := range secrets {
		if !worthHiding(s) {
			continue
		}
		for _, form := range forms(s) {
			found.search(form)
			if len(form) < minRun && len(form) >= minSecret {
				for _, v := range views {
					v.markAll(secretAt, form)
				}
			}
		}
	}
	for i, v := range views {
		marked := 0 // up to where, so that runs that overlap are not marked again and again
		for at, number := range found.numbers[i] {
			if found.secret[number] {
				v.mark(secretAt, max(at, marked), at+minRun)
				marked = at + minRun
			}
		}
	}

	var out strings.Builder
	for at := 0; at < end; at++ {
		switch {
		case !secretAt[at]:
			out.WriteByte(text[at])
		case at == 0 || !secretAt[at-1]:
			out.WriteString(Mark)
		}
	}
	return out.String(), clipped
}

func worthHiding(secret string) bool { return len(secret) >= minSecret }

// runs are the runs of minRun bytes that a text has. It is the text that is indexed, and not the
// secrets: it has been cut, and they have not.
type runs struct {
	index   map[[minRun]byte]int // numbers them
	numbers [][]int              // by view and place
	secret  []bool               // by number: whether it is a run of a secret
	maybe   [1 << 12]uint64      // a bit for each hash there is; most runs of secrets fail here, quickly
}

func newRuns(views []view) *runs {
	r := &runs{index: map[[minRun]byte]int{}}
	for _, v := range views {
		numbers := make([]int, max(0, len(v.text)-minRun+1))
		for at := range numbers {
			run := [minRun]byte(v.text[at:])
			number, known := r.index[run]
			if !known {
				number = len(r.index)
				r.index[run] = number
				word, bit := hash(run)
				r.maybe[word] |= bit
			}
			numbers[at] = number
		}
		r.numbers = append(r.numbers, numbers)
	}
	r.secret = make([]bool, len(r.index))
	return r
}

// search notes which runs form has.
func (r *runs) search(form []byte) {
	for at := 0; at+minRun <= len(form); at++ {
		run := [minRun]byte(form[at:])
		if word, bit := hash(run); r.maybe[word]&bit == 0 {
			continue
		}
		if number, known := r.index[run]; known {
			r.secret[number] = true
		}
	}
}

// hash gives a run's place in runs.maybe. No harm can come of collisions but some time.
func hash(run [minRun]byte) (word int, bit uint64) {
	h := (binary.LittleEndian.Uint64(run[:]) ^ uint64(binary.LittleEndian.Uint32(run[8:]))<<29) * 0x9E3779B97F4A7C15
	return int(h >> 52), 1 << (h >> 46 & 63)
}

// forms gives what a secret may look like once a text is decoded.
func forms(secret string) [][]byte {
	var all [][]byte
	for _, v := range decodings(secret) {
		all = append(all, v.text)
	}
	// In base64 it depends on what is before it, modulo 3: there may be a user name, as in HTTP's
	// Basic scheme. What is shared with neighbours is left out, and so is padding.
	for before := range 3 {
		code := base64.RawStdEncoding.EncodeToString([]byte("\x00\x00"[:before] + secret))
		code = code[(before*8+5)/6:]
		if (before+len(secret))%3 != 0 && before > 0 {
			code = code[:len(code)-1]
		}
		if before > 0 && len(code) < minRun {
			continue // too little to be sure
		}
		all = append(all, fold(code))
		if strings.ContainsAny(code, "+/") {
			all = append(all, fold(strings.NewReplacer("+", "-", "/", "_").Replace(code)))
		}
	}
	return all
}

// view is a text decoded, with where each byte comes from.
type view struct {
	text []byte // folded
	from []int  // the original's bytes from[i] to from[i+1] have become text[i]
}

// mark marks the origin of text[start:end].
func (v view) mark(at []bool, start, end int) {
	for i := v.from[start]; i < v.from[end]; i++ {
		at[i] = true
	}
}

// markAll marks wherever form is, also where it overlaps itself.
func (v view) markAll(at []bool, form []byte) {
	for start := 0; ; start++ {
		next := bytes.Index(v.text[start:], form)
		if next < 0 {
			return
		}
		start += next
		v.mark(at, start, start+len(form))
	}
}

// decodings gives a text as it is, decoded, decoded twice and so on while that changes it.
func decodings(text string) []view {
	v := view{text: fold(text), from: make([]int, len(text)+1)}
	for i := range v.from {
		v.from[i] = i
	}
	all := []view{v}
	for range maxRounds {
		if !bytes.ContainsAny(v.text, `%&\`) {
			break
		}
		next := v.decode()
		if len(next.text) == len(v.text) {
			break
		}
		v = next
		all = append(all, v)
	}
	return all
}

// fold makes alike what encodings and people do not tell apart: the letters' case, and a space and
// the + that it is in a query.
func fold(text string) []byte {
	folded := []byte(text)
	for i, b := range folded {
		switch {
		case b >= 'A' && b <= 'Z':
			folded[i] = b + ('a' - 'A')
		case b == '+':
			folded[i] = ' '
		}
	}
	return folded
}

// decode takes one layer of URL, HTML, JSON or Go encoding away.
func (v view) decode() view {
	next := view{text: make([]byte, 0, len(v.text)), from: make([]int, 0, len(v.from))}
	for at := 0; at < len(v.text); {
		char, length := unescape(v.text[at:])
		if length == 0 {
			char, length = string(v.text[at:at+1]), 1
		}
		for i, b := range fold(char) {
			// All of an escape that is more than one byte belongs to the first.
			origin := v.from[at]
			if i > 0 {
				origin = v.from[at+length]
			}
			next.text, next.from = append(next.text, b), append(next.from, origin)
		}
		at += length
	}
	next.from = append(next.from, v.from[len(v.text)])
	return next
}

// unescape reads the escape that text begins with. Its length is 0 if that is none.
func unescape(text []byte) (char string, length int) {
	const maxEntity = 12 // &thickapprox; is no way to write a secret
	switch text[0] {
	case '%':
		return codeUnit(text, 1, 2)
	case '&':
		end := bytes.IndexByte(text[:min(len(text), maxEntity)], ';')
		if end < 0 {
			return "", 0
		}
		entity := string(text[:end+1])
		if char = html.UnescapeString(entity); char == entity || char == "" {
			return "", 0
		}
		return char, len(entity)
	case '\\':
		if len(text) == 1 {
			return "", 0
		}
		switch text[1] {
		case 'u':
			return codeUnit(text, 2, 4)
		case 'x':
			return codeUnit(text, 2, 2)
		case '"', '\'', '\\', '/':
			return string(text[1]), 2
		}
		if i := strings.IndexByte("abfnrtv", text[1]); i >= 0 {
			return "\a\b\f\n\r\t\v"[i : i+1], 2
		}
	}
	return "", 0
}

// codeUnit reads hexadecimal digits of text: two are a byte, four a character.
func codeUnit(text []byte, start, digits int) (char string, length int) {
	if len(text) < start+digits {
		return "", 0
	}
	n, err := strconv.ParseUint(string(text[start:start+digits]), 16, 32)
	switch {
	case err != nil:
		return "", 0
	case digits == 2:
		return string([]byte{byte(n)}), start + digits
	default:
		return string(utf8.AppendRune(nil, rune(n))), start + digits
	}
}
