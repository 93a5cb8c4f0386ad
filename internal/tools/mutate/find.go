package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// mutant is one change of one condition.
type mutant struct {
	id              int
	file, function  string
	mutation, text  string // text is the condition's own, on one line
	number          int    // among those that read the same in this function
	line            int
	killed, timeout bool
	by              string // the test that noticed, or what did not
}

// key names a mutant, whatever the lines above it.
func (m *mutant) key() string {
	key := fmt.Sprintf("%s: %s: %s: %s", m.file, m.function, m.mutation, m.text)
	if m.number > 1 {
		key += fmt.Sprintf(" #%d", m.number)
	}
	return key
}

// The mutations. A condition that stands alone becomes true, false and its
// contrary; an operand of && is dropped by being true, one of || by being false.
const (
	toTrue     = "true"
	toFalse    = "false"
	toContrary = "not"
	toOther    = "swap"     // && and ||
	toBoundary = "boundary" // < and <=, > and >=
)

// place says where a condition stands.
type place int

const (
	alone  place = iota
	looped       // of a for: true would never end
	ofAnd
	ofOr
	inner // of a negation, which has mutants of its own
)

// finder goes through one file and rewrites it.
type finder struct {
	file     string // relative to the module
	fset     *token.FileSet
	info     *types.Info
	source   []byte
	function string
	seen     map[ast.Expr]bool
	count    map[string]int // of keys
	next     int            // the next mutant's number
	mutants  []*mutant
	edits    edits
}

// find looks at each function of a file.
func (f *finder) find(file *ast.File) {
	for _, decl := range file.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
			f.function = functionName(fn)
			ast.Inspect(fn.Body, f.node)
		}
	}
}

func functionName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	return strings.TrimPrefix(types.ExprString(fn.Recv.List[0].Type), "*") + "." + fn.Name.Name
}

// node is called for an outer node before the inner ones, so the first place that
// a condition is seen in is its own.
func (f *finder) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.IfStmt:
		f.condition(n.Cond, alone)
	case *ast.ForStmt:
		f.condition(n.Cond, looped)
	case *ast.SwitchStmt:
		if n.Tag == nil {
			for _, clause := range n.Body.List {
				for _, e := range clause.(*ast.CaseClause).List {
					f.condition(e, alone)
				}
			}
		}
	case *ast.ReturnStmt:
		for _, e := range n.Results {
			f.condition(e, alone)
		}
	case *ast.BinaryExpr, *ast.UnaryExpr:
		// One that is assigned, passed or compared: a && b in f(a && b).
		if e := n.(ast.Expr); isOperation(e) {
			f.condition(e, alone)
		}
	}
	return true
}

func isOperation(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.UnaryExpr:
		return e.Op == token.NOT
	case *ast.BinaryExpr:
		switch e.Op {
		case token.LAND, token.LOR, token.EQL, token.NEQ, token.LSS, token.LEQ, token.GTR, token.GEQ:
			return true
		}
	}
	return false
}

// condition makes the mutants of an expression, if it is a condition at all.
func (f *finder) condition(e ast.Expr, at place) {
	if paren, ok := e.(*ast.ParenExpr); ok {
		f.condition(paren.X, at)
		return
	}
	if e == nil || f.seen[e] || !f.isCondition(e) {
		return
	}
	f.seen[e] = true
	switch e := e.(type) {
	case *ast.UnaryExpr:
		f.mutate(e, at)
		f.condition(e.X, inner)
	case *ast.BinaryExpr:
		switch e.Op {
		case token.LAND, token.LOR:
			f.chain(e, at)
		case token.LSS, token.LEQ, token.GTR, token.GEQ:
			f.mutate(e, at, toBoundary)
		default:
			f.mutate(e, at)
		}
	default:
		f.mutate(e, at)
	}
}

// isCondition wants a bool that the compiler does not know already.
func (f *finder) isCondition(e ast.Expr) bool {
	value, ok := f.info.Types[e]
	if !ok || value.Value != nil || value.Type == nil {
		return false
	}
	basic, ok := value.Type.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsBoolean != 0
}

// chain is a && b or a || b. One operand that decides makes the whole false or
// true, so that is tried once for all of them.
func (f *finder) chain(e *ast.BinaryExpr, at place) {
	within, whole := ofAnd, toFalse
	if e.Op == token.LOR {
		within, whole = ofOr, toTrue
	}
	f.edits.wrap(e, "((", ") != "+f.active(e, toOther)+")", f.fset)
	mark := f.edits.operand(f.mutants[len(f.mutants)-1].id)
	switch {
	case at == within: // a && b in a && b && c: dropped by its operands
	case at == ofAnd:
		f.wrap(e, toTrue)
	case at == ofOr:
		f.wrap(e, toFalse)
	case at != inner && (at != looped || whole == toFalse):
		f.wrap(e, whole)
	}
	for _, operand := range []ast.Expr{e.X, e.Y} {
		// a && b is !(!a || !b): three of these make the other operation of one.
		f.edits.wrap(operand, "((", ") != "+mark+")", f.fset)
		f.condition(operand, within)
	}
}

// mutate makes the mutants of a condition that is no chain.
func (f *finder) mutate(e ast.Expr, at place, more ...string) {
	switch at {
	case alone:
		f.wrap(e, toTrue)
		f.wrap(e, toFalse)
	case looped, ofOr:
		f.wrap(e, toFalse)
	case ofAnd:
		f.wrap(e, toTrue)
	}
	if at != inner {
		f.wrap(e, toContrary)
	}
	for range more {
		binary := e.(*ast.BinaryExpr)
		f.edits.wrap(e, fmt.Sprintf("mutantCompare(%q, %s, ", binary.Op, f.active(e, toBoundary)), ")", f.fset)
		f.edits.replace(f.fset.Position(binary.OpPos).Offset, binary.Op.String(), ",")
	}
}

// wrap writes one mutant around its condition.
func (f *finder) wrap(e ast.Expr, mutation string) {
	active := f.active(e, mutation)
	switch mutation {
	case toTrue:
		f.edits.wrap(e, "("+active+" || (", "))", f.fset)
	case toFalse:
		f.edits.wrap(e, "(!"+active+" && (", "))", f.fset)
	case toContrary:
		f.edits.wrap(e, "((", ") != "+active+")", f.fset)
	}
}

// active is a new mutant, as the expression that reports whether it is on.
func (f *finder) active(e ast.Expr, mutation string) string {
	start, end := f.fset.Position(e.Pos()), f.fset.Position(e.End())
	f.next++
	m := &mutant{
		id: f.next, file: f.file, function: f.function, mutation: mutation, line: start.Line,
		text: strings.Join(strings.Fields(string(f.source[start.Offset:end.Offset])), " "),
	}
	if binary, ok := e.(*ast.BinaryExpr); ok && mutation == toOther && f.function != "" {
		m.line = f.fset.Position(binary.OpPos).Line
	}
	f.count[m.key()]++
	m.number = f.count[m.key()]
	f.mutants = append(f.mutants, m)
	return f.edits.operand(m.id)
}
