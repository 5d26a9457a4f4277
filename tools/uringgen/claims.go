package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A claim is a declaration whose comment says that it implements a function of liburing.
type claim struct {
	form   string // "Ring.Submit", "New", "SQE.PrepRead"
	method string // the last part of it
	file   string
	proto  string // of the C function, on one line
	name   string // of the C function
	kernel string // the Linux that the comment names first, or ""
}

// code is what the Go files say about liburing.
type code struct {
	claims []claim
	// prepares has, for each operation (OpRead), the methods that name it.
	prepares map[string][]string
	// tests has, for each method or function, the tests that call it.
	tests map[string][]string
}

var (
	implements = regexp.MustCompile(`(?m)^Implements: (.*\w+\s*\(.*\))`)
	since      = regexp.MustCompile(`Linux\s+(\d+\.\d+)`)
	cName      = regexp.MustCompile(`(\w+)\s*\(`)
	operation  = regexp.MustCompile(`^Op[A-Z]`)
)

// readCode reads the Go files of the folders.
func readCode(folders ...string) (*code, error) {
	c := &code{prepares: map[string][]string{}, tests: map[string][]string{}}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			return nil, err
		}
		slices.Sort(files)
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				return nil, err
			}
			if strings.HasSuffix(file, "_test.go") {
				c.readTests(parsed)
			} else {
				c.readDeclarations(file, parsed)
			}
		}
	}
	return c, nil
}

func (c *code) readDeclarations(file string, parsed *ast.File) {
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		form := f.Name.Name
		if f.Recv != nil {
			form = receiver(f) + "." + form
		}
		c.addClaims(file, form, f.Name.Name, f.Doc.Text())
		if strings.HasPrefix(form, "SQE.Prep") && f.Body != nil {
			for op := range names(f.Body, func(n string) bool { return operation.MatchString(n) }) {
				c.prepares[op] = append(c.prepares[op], f.Name.Name)
			}
		}
	}
}

func (c *code) addClaims(file, form, method, doc string) {
	kernel := ""
	if m := since.FindStringSubmatch(doc); m != nil {
		kernel = m[1]
	}
	for _, m := range implements.FindAllStringSubmatch(doc, -1) {
		proto := oneLine(m[1])
		c.claims = append(c.claims, claim{
			form: form, method: method, file: file, proto: proto, name: cName.FindStringSubmatch(proto)[1], kernel: kernel,
		})
	}
}

// receiver returns the name of a method's type.
func receiver(f *ast.FuncDecl) string {
	t := f.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if name, ok := t.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// readTests notes what each test calls, by itself or through the functions of its file that it
// calls. The comparison with liburing's own entries is no test of behaviour.
func (c *code) readTests(parsed *ast.File) {
	calls := map[string]map[string]bool{}
	for _, d := range parsed.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			calls[f.Name.Name] = names(f.Body, func(string) bool { return true })
		}
	}
	for test, called := range calls {
		if !strings.HasPrefix(test, "Test") || test == "TestPrepMatchesLiburing" {
			continue
		}
		all := map[string]bool{}
		reach(all, calls, called)
		for name := range all {
			c.tests[name] = append(c.tests[name], test)
		}
	}
	for name := range c.tests {
		slices.Sort(c.tests[name])
	}
}

func reach(all map[string]bool, calls map[string]map[string]bool, called map[string]bool) {
	for name := range called {
		if !all[name] {
			all[name] = true
			reach(all, calls, calls[name])
		}
	}
}

// names returns the identifiers below a node that fit.
func names(node ast.Node, fits func(string) bool) map[string]bool {
	found := map[string]bool{}
	ast.Inspect(node, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && fits(id.Name) {
			found[id.Name] = true
		}
		return true
	})
	return found
}

// readReasons reads why functions have no Go form: lines of a name, a tab and the reason.
func readReasons(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	reasons := map[string]string{}
	for _, line := range strings.Split(string(text), "\n") {
		if name, reason, ok := strings.Cut(line, "\t"); ok {
			reasons[name] = strings.TrimSpace(reason)
		}
	}
	return reasons, nil
}
