package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// api is what the headers declare.
type api struct {
	version   string
	constants []constant
	structs   []*structure
	functions []function
}

type constant struct {
	name     string
	value    uint64
	negative bool // value is that of an int64
	header   string
}

// A structure is a struct or a union.
type structure struct {
	name   string // "" if it is anonymous
	header string
	union  bool
	fields []field
	size   uint64
}

type field struct {
	ctype   string     // the type's name, or "" for inner
	inner   *structure // a struct or union without a name
	name    string     // "" for an anonymous struct or union
	array   string     // the length, or "" if it is no array
	isArray bool
	offset  uint64
	size    uint64
}

type kind string

const (
	external    kind = "function"
	inline      kind = "inline function"
	localInline kind = "local inline function"
	macro       kind = "macro"
)

type function struct {
	name   string
	kind   kind
	result string
	params []param
	proto  string // the whole prototype on one line
}

type param struct {
	ctype, name string
}

var (
	comments     = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*`)
	continued    = regexp.MustCompile(`\\\n`)
	define       = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*define[ \t]+(\w+)(\(?)(.*)$`)
	directive    = regexp.MustCompile(`(?m)^[ \t]*#.*$`)
	enums        = regexp.MustCompile(`(?s)\benum\b[^{;()]*\{(.*?)\}`)
	ours         = regexp.MustCompile(`^(IORING|IOSQE|IOU|IO_URING|IO_WQ|LIBURING|SPLICE|SOCKET|BLOCK|ZCRX)_`)
	notConstants = regexp.MustCompile(`_H$|^LIBURING_NOEXCEPT$|SKIP_LINUX_TIME_TYPES|^__|_LAST$|_MAX$`)
	spaces       = regexp.MustCompile(`\s+`)
)

var headers = []string{
	"liburing/io_uring.h", "liburing/io_uring/query.h", "liburing/io_uring/bpf_filter.h", "liburing/compat.h", "liburing.h",
}

// read reads the headers below folder.
func read(folder string) (*api, error) {
	a := &api{}
	seen := map[string]bool{}
	for _, header := range headers {
		raw, err := os.ReadFile(filepath.Join(folder, header))
		if os.IsNotExist(err) && header != "liburing.h" {
			continue // an older liburing has fewer
		}
		if err != nil {
			return nil, err
		}
		text := continued.ReplaceAllString(comments.ReplaceAllString(string(raw), " "), " ")
		for _, name := range constantNames(text) {
			if !seen[name] {
				seen[name] = true
				a.constants = append(a.constants, constant{name: name, header: header})
			}
		}
		if header == "liburing.h" {
			a.functions = append(functions(text), macros(text)...)
			continue
		}
		if header == "liburing/compat.h" {
			continue // its struct __kernel_timespec is for systems without that of the kernel
		}
		structs, err := structures(directive.ReplaceAllString(text, ""))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", header, err)
		}
		for _, s := range structs {
			s.header = header
		}
		a.structs = append(a.structs, structs...)
	}
	if err := a.measure(folder); err != nil {
		return nil, err
	}
	return a, nil
}

// constantNames returns the names of constants that the text defines, in order within macros
// and within enums.
func constantNames(text string) []string {
	var names []string
	for _, m := range define.FindAllStringSubmatch(text, -1) {
		if m[2] == "" && strings.TrimSpace(m[3]) != "" {
			names = append(names, m[1])
		}
	}
	for _, m := range enums.FindAllStringSubmatch(directive.ReplaceAllString(text, ""), -1) {
		for _, member := range strings.Split(m[1], ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(member), "=")
			names = append(names, strings.TrimSpace(name))
		}
	}
	kept := names[:0]
	for _, name := range names {
		if ours.MatchString(name) && !notConstants.MatchString(name) {
			kept = append(kept, name)
		}
	}
	return kept
}

// macros returns liburing's macros with parameters.
func macros(text string) []function {
	var found []function
	for _, m := range define.FindAllStringSubmatch(text, -1) {
		if m[2] == "(" && strings.HasPrefix(strings.ToLower(m[1]), "io_uring_") {
			params, _, _ := strings.Cut(m[3], ")")
			found = append(found, function{name: m[1], kind: macro, proto: m[1] + "(" + oneLine(params) + ")"})
		}
	}
	return found
}

func oneLine(s string) string { return strings.TrimSpace(spaces.ReplaceAllString(s, " ")) }

// functions returns the functions that liburing.h declares or defines.
func functions(text string) []function {
	text = directive.ReplaceAllString(text, "")
	text = strings.ReplaceAll(text, `extern "C" {`, "")
	var found []function
	seen := map[string]bool{}
	for _, declaration := range declarations(text) {
		f, ok := parseFunction(declaration)
		if ok && !seen[f.name] { // io_uring_get_sqe is declared twice
			seen[f.name] = true
			found = append(found, f)
		}
	}
	return found
}

// declarations returns what stands before each body and semicolon outside of braces.
func declarations(text string) []string {
	var all []string
	depth, start := 0, 0
	for i, c := range text {
		switch {
		case c == '{' && depth == 0:
			all = append(all, oneLine(text[start:i]))
			depth++
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth <= 0 {
				depth, start = 0, i+1
			}
		case c == ';' && depth == 0:
			all = append(all, oneLine(text[start:i]))
			start = i + 1
		}
	}
	return all
}

var prototype = regexp.MustCompile(`^(IOURINGINLINE |_LOCAL_INLINE )?(.*?)(\w+)\s*\((.*)\)\s*(LIBURING_NOEXCEPT)?$`)

func parseFunction(declaration string) (function, bool) {
	m := prototype.FindStringSubmatch(declaration)
	if m == nil || strings.HasPrefix(declaration, "struct ") && !strings.Contains(declaration, "(") {
		return function{}, false
	}
	f := function{name: m[3], result: strings.TrimSpace(m[2]), kind: external}
	switch m[1] {
	case "IOURINGINLINE ":
		f.kind = inline
	case "_LOCAL_INLINE ":
		f.kind = localInline
	}
	if !strings.Contains(f.name, "uring") || f.result == "" {
		return function{}, false
	}
	for _, p := range strings.Split(m[4], ",") {
		if p = strings.TrimSpace(p); p == "" || p == "void" {
			continue
		}
		f.params = append(f.params, parseParam(p))
	}
	f.proto = strings.ReplaceAll(f.result+" ", "* ", "*") + f.name + "(" + oneLine(m[4]) + ")"
	return f, true
}

func parseParam(p string) param {
	i := strings.LastIndexAny(p, " *")
	return param{ctype: strings.TrimSpace(p[:i+1]), name: p[i+1:]}
}
