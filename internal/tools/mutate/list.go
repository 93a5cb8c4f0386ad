package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// list holds the survivors that have a reason, by key. A file of it looks like
// this; a reason holds for all keys above it, up to the reason before.
//
//	# a comment
//	file.go: function: mutation: condition
//	file.go: function: mutation: condition #2
//	    why no test can notice that
//	file.go: function: mutation: condition
//	    By chance: why a test notices that now and then
type list map[string]*entry

// byChance begins the reason of what a test may notice in one run and not in the
// next.
const byChance = "By chance: "

type entry struct {
	reason string
	used   bool
}

// readList reads a list. A file that does not exist is an empty one.
func readList(path string) (list, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return list{}, nil
	}
	if err != nil {
		return nil, err
	}
	l, waiting := list{}, []*entry(nil)
	for n, line := range strings.Split(string(data), "\n") {
		text := strings.TrimSpace(line)
		switch {
		case text == "" || strings.HasPrefix(line, "#"):
		case text != line:
			for _, e := range waiting {
				e.reason += text
			}
			if len(l) == 0 {
				return nil, fmt.Errorf("%s:%d: a reason for nothing", path, n+1)
			}
		case l[line] != nil:
			return nil, fmt.Errorf("%s:%d: listed twice: %s", path, n+1, line)
		default:
			if len(waiting) > 0 && waiting[0].reason != "" {
				waiting = nil
			}
			l[line] = &entry{}
			waiting = append(waiting, l[line])
		}
	}
	for key, e := range l {
		if e.reason == "" {
			return nil, fmt.Errorf("%s: no reason given: %s", path, key)
		}
	}
	return l, nil
}

// take looks a key up, and notes that there is such a mutant.
func (l list) take(key string) (reason string, ok bool) {
	e, ok := l[key]
	if !ok {
		return "", false
	}
	e.used = true
	return e.reason, true
}

func (l list) unused() (keys []string) {
	for key, e := range l {
		if !e.used {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
