package strictjson

import "math"

// number reads the number at pos and returns it as written. See RFC 8259 section 6.
func (r *Reader) number() string {
	text, start := r.text, r.pos
	i := start
	if text[i] == '-' {
		i++
	}
	end := digits(text, i)
	ok := end > i && (text[i] != '0' || end == i+1) // no leading zero
	if ok {
		end, ok = fraction(text, end)
	}
	if ok {
		end, ok = power(text, end)
	}
	if !ok || !delimited(text, end) {
		r.fault(start, "invalid number")
		return ""
	}
	r.pos = end
	return text[start:end]
}

// fraction returns the offset after the fraction at offset i, or i if there is none.
// ok is false if the fraction has no digits.
func fraction(text string, i int) (end int, ok bool) {
	if i == len(text) || text[i] != '.' {
		return i, true
	}
	end = digits(text, i+1)
	return end, end > i+1
}

// power returns the offset after the exponent at offset i, or i if there is none. ok
// is false if the exponent has no digits.
func power(text string, i int) (end int, ok bool) {
	if i == len(text) || text[i] != 'e' && text[i] != 'E' {
		return i, true
	}
	i++
	if i < len(text) && (text[i] == '+' || text[i] == '-') {
		i++
	}
	end = digits(text, i)
	return end, end > i
}

// digits returns the offset after the digits that begin at offset i.
func digits(text string, i int) int {
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	return i
}

// short reads the value that is due if it is nothing but up to 18 digits, as most
// numbers are. It leaves any other value unread.
func (r *Reader) short() (n int64, ok bool) {
	if !r.ready {
		return 0, false
	}
	c := r.peek()
	i := r.pos
	if c == '0' { // no other such number begins with it
		i++
	} else {
		for i < len(r.text) && isDigit(r.text[i]) && i-r.pos < 18 {
			n = 10*n + int64(r.text[i]-'0')
			i++
		}
	}
	if i == r.pos || !delimited(r.text, i) {
		return 0, false
	}
	r.pos, r.ready = i, false
	return n, true
}

// maxDigits is how many decimal digits an int64 may have.
const maxDigits = 19

// whole returns the value of a valid number literal, if it is whole and fits into an
// int64.
func whole(literal string) (n int64, ok bool) {
	negative := literal[0] == '-'
	if negative {
		literal = literal[1:]
	}
	end := digits(literal, 0)
	integer, fraction, rest := literal[:end], "", literal[end:]
	if rest != "" && rest[0] == '.' {
		end = digits(rest, 1)
		fraction, rest = rest[1:end], rest[end:]
	}
	u, ok := magnitude(integer, fraction, int64(len(integer))+exponent(rest))
	switch {
	case ok && negative && u <= 1<<63:
		return int64(-u), true
	case ok && !negative && u <= math.MaxInt64:
		return int64(u), true
	}
	return 0, false
}

// magnitude returns the number whose digits are those of integer and then those of
// fraction. point is how many of them come before the decimal point; after an
// exponent it may lie outside them. ok reports whether the number is whole and has
// at most maxDigits digits.
//
// An exponent only moves the point, so a large one costs no time.
func magnitude(integer, fraction string, point int64) (u uint64, ok bool) {
	var done int64     // digits read
	length := int64(0) // digits in u
	for _, part := range [...]string{integer, fraction} {
		for _, c := range []byte(part) {
			done++
			switch {
			case c == '0' && (length == 0 || done > point):
				continue // a leading zero, or one after the point
			case done > point:
				return 0, false
			case length == maxDigits:
				return 0, false
			}
			u = 10*u + uint64(c-'0')
			length++
		}
	}
	if u == 0 {
		return 0, true
	}
	if point-done > maxDigits-length {
		return 0, false
	}
	for ; done < point; done++ {
		u *= 10
	}
	return u, true
}

// exponent returns the value of the exponent part of a number, 0 if that is empty. It
// stops counting at a value that no text has enough digits to balance.
func exponent(part string) int64 {
	if part == "" {
		return 0
	}
	part = part[1:]
	negative := part[0] == '-'
	if negative || part[0] == '+' {
		part = part[1:]
	}
	var n int64
	for _, c := range []byte(part) {
		if n < 1<<56 {
			n = 10*n + int64(c-'0')
		}
	}
	if negative {
		return -n
	}
	return n
}
