package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// edits are changes to a file's text, by offset. An outer expression is wrapped
// before those inside it.
type edits struct {
	before, after map[int]string
	instead       map[int]string
	drop          map[int]int // how many bytes instead stands for
}

func newEdits() edits {
	return edits{before: map[int]string{}, after: map[int]string{}, instead: map[int]string{}, drop: map[int]int{}}
}

// operand reports at run time whether a mutant is on.
func (e edits) operand(id int) string { return fmt.Sprintf("mutantOn(%d)", id) }

func (e edits) wrap(n ast.Node, open, end string, fset *token.FileSet) {
	first, last := fset.Position(n.Pos()).Offset, fset.Position(n.End()).Offset
	e.before[first] += open
	e.after[last] = end + e.after[last]
}

func (e edits) replace(offset int, old, text string) {
	e.instead[offset], e.drop[offset] = text, len(old)
}

func (e edits) apply(source []byte) string {
	var b strings.Builder
	for i := 0; i <= len(source); i++ {
		b.WriteString(e.after[i])
		b.WriteString(e.before[i])
		if text, ok := e.instead[i]; ok {
			b.WriteString(text)
			i += e.drop[i] - 1
			continue
		}
		if i < len(source) {
			b.WriteByte(source[i])
		}
	}
	return b.String()
}

// support is the file that the rewritten ones need beside them: package name and
// number of mutants are left open.
const support = `package %s

import (
	"cmp"
	"os"
	"strconv"
	"sync/atomic"
)

var (
	mutantActive, _ = strconv.Atoi(os.Getenv("MUTANT"))
	mutantReached   = mutantLog()
	mutantSeen      [%d]atomic.Bool
)

func mutantLog() *os.File {
	path := os.Getenv("MUTANTS_REACHED")
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	return file
}

func mutantOn(id int) bool {
	if mutantReached != nil && mutantSeen[id].CompareAndSwap(false, true) {
		_, _ = mutantReached.WriteString(strconv.Itoa(id) + "\n")
	}
	return id == mutantActive
}

func mutantCompare[T cmp.Ordered](op string, on bool, a, b T) bool {
	switch op {
	case "<":
		return a < b || on && a == b
	case "<=":
		return a < b || !on && a == b
	case ">":
		return a > b || on && a == b
	default:
		return a > b || !on && a == b
	}
}
`
