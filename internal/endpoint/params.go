package endpoint

import "strings"

// Params writes application/x-www-form-urlencoded parameters, for a form or a
// URL's query, into one buffer. They keep their order and may repeat, as RFC
// 8707's resource does. The zero Params is an empty form.
type Params struct {
	buf       []byte
	separator byte // before the next parameter; zero: none
}

// Query starts the query of a URL, which may have one already.
func Query(base string) Params {
	const usual = 512 // bytes of an authorization request's parameters
	p := Params{buf: make([]byte, 0, len(base)+usual), separator: '?'}
	p.buf = append(p.buf, base...)
	if strings.ContainsRune(base, '?') {
		p.separator = '&'
	}
	return p
}

// Add appends one parameter.
func (p *Params) Add(name, value string) {
	p.next()
	p.buf = appendEscaped(p.buf, name)
	p.buf = append(p.buf, '=')
	p.buf = appendEscaped(p.buf, value)
}

// AddSet appends one parameter unless its value is empty.
func (p *Params) AddSet(name, value string) {
	if value != "" {
		p.Add(name, value)
	}
}

// AddAll appends one parameter for each value.
func (p *Params) AddAll(name string, values []string) {
	for _, v := range values {
		p.Add(name, v)
	}
}

// AddList appends one parameter that holds the values with spaces between them,
// unless there are none.
func (p *Params) AddList(name string, values []string) {
	if len(values) == 0 {
		return
	}
	p.next()
	p.buf = appendEscaped(p.buf, name)
	p.buf = append(p.buf, '=')
	for i, v := range values {
		if i > 0 {
			p.buf = append(p.buf, '+')
		}
		p.buf = appendEscaped(p.buf, v)
	}
}

// AddEncoded appends parameters that are encoded already.
func (p *Params) AddEncoded(text string) {
	if text != "" {
		p.next()
		p.buf = append(p.buf, text...)
	}
}

// String gives what was written.
func (p *Params) String() string { return string(p.buf) }

func (p *Params) next() {
	if p.separator != 0 {
		p.buf = append(p.buf, p.separator)
	}
	p.separator = '&'
}

// appendEscaped is url.QueryEscape without a string for each value.
func appendEscaped(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case unreserved(c):
			dst = append(dst, c)
		case c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '_' || c == '.' || c == '~'
}
