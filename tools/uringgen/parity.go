package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// parity returns docs/liburing.md, and an error for each function that nobody claims, each
// claim that does not fit, and each operation without a test.
func parity(a *api, c *code, reasons map[string]string) ([]byte, error) {
	b := &bytes.Buffer{}
	fmt.Fprintf(b, "<!-- Written by \"make generate\" from the headers of liburing %s and the comments of package uring. -->\n\n", a.version)
	fmt.Fprintf(b, "# liburing %s and package uring\n\n", a.version)
	claims := map[string][]claim{}
	var wrong []error
	for _, cl := range c.claims {
		claims[cl.name] = append(claims[cl.name], cl)
	}
	count := map[kind]int{}
	inGo := 0
	for _, f := range a.functions {
		count[f.kind]++
		if len(claims[f.name]) > 0 {
			inGo++
		}
		wrong = append(wrong, fits(f, claims[f.name], reasons[f.name])...)
	}
	for _, name := range slices.Sorted(maps.Keys(reasons)) {
		if !slices.ContainsFunc(a.functions, func(f function) bool { return f.name == name }) {
			wrong = append(wrong, fmt.Errorf("%s: liburing has no such function: its reason is stale", name))
		}
	}
	for _, cl := range c.claims {
		if !slices.ContainsFunc(a.functions, func(f function) bool { return f.name == cl.name }) {
			wrong = append(wrong, fmt.Errorf("%s implements %s, which liburing does not have", cl.form, cl.name))
		}
	}
	fmt.Fprintf(b, "Every function of liburing.h: %d functions, %d inline functions, %d local ones and %d macros. %d have a\n", count[external], count[inline], count[localInline], count[macro], inGo)
	fmt.Fprintf(b, "Go form in package uring, and %d have none, for the reason given. *Since* is the Linux that the Go form's\ncomment names; *tests* are those that call it and look at what it does. `make test-parity` fails if a\nfunction is missing here, a declaration has changed, or an operation has no test.\n", len(a.functions)-inGo)
	wrong = append(wrong, writeOperations(b, a, c)...)
	for _, k := range []kind{external, inline, localInline, macro} {
		writeFunctions(b, a, c, k, claims, reasons)
	}
	return b.Bytes(), errors.Join(wrong...)
}

// fits returns what is wrong with the claims of a function.
func fits(f function, claims []claim, reason string) (wrong []error) {
	switch {
	case len(claims) == 0 && reason == "":
		wrong = append(wrong, fmt.Errorf("%s: no Go form claims it, and there is no reason", f.name))
	case len(claims) > 0 && reason != "":
		wrong = append(wrong, fmt.Errorf("%s: %s claims it, but there is a reason why there is no Go form", f.name, claims[0].form))
	}
	for _, cl := range claims {
		if cl.proto != f.proto {
			wrong = append(wrong, fmt.Errorf("%s implements\n\t%s, but liburing declares\n\t%s", cl.form, cl.proto, f.proto))
		}
	}
	return wrong
}

// writeOperations writes the table of operations.
func writeOperations(b *bytes.Buffer, a *api, c *code) (wrong []error) {
	fmt.Fprintf(b, "\n## Operations\n\n| operation | prepared by | tests |\n|---|---|---|\n")
	goNames := map[string]string{}
	for op := range c.prepares {
		goNames[strings.ToLower(strings.TrimPrefix(op, "Op"))] = op
	}
	for _, constant := range a.constants {
		name, is := strings.CutPrefix(constant.name, "IORING_OP_")
		if !is {
			continue
		}
		methods := c.prepares[goNames[strings.ToLower(strings.ReplaceAll(name, "_", ""))]]
		var tests []string
		for _, m := range methods {
			tests = append(tests, c.tests[m]...)
		}
		slices.Sort(tests)
		tests = slices.Compact(tests)
		if len(tests) == 0 {
			wrong = append(wrong, fmt.Errorf("%s: no test calls %s", constant.name, strings.Join(methods, " or ")))
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", constant.name, codes(methods), some(tests))
	}
	return wrong
}

// writeFunctions writes the table of the functions of a kind.
func writeFunctions(b *bytes.Buffer, a *api, c *code, k kind, claims map[string][]claim, reasons map[string]string) {
	title := strings.ToUpper(string(k)[:1]) + string(k)[1:] + "s"
	fmt.Fprintf(b, "\n## %s\n\n| liburing | Go | since | tests |\n|---|---|---|---|\n", title)
	for _, f := range a.functions {
		if f.kind != k {
			continue
		}
		if reason := reasons[f.name]; reason != "" {
			fmt.Fprintf(b, "| `%s` | none: %s | | |\n", f.name, reason)
			continue
		}
		var forms, kernels, tests []string
		for _, cl := range claims[f.name] {
			forms = append(forms, cl.form)
			kernels = append(kernels, cl.kernel)
			tests = append(tests, c.tests[cl.method]...)
		}
		slices.Sort(tests)
		kernels = slices.DeleteFunc(kernels, func(s string) bool { return s == "" })
		kernel := ""
		if len(kernels) > 0 {
			kernel = kernels[0]
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.name, codes(forms), kernel, some(slices.Compact(tests)))
	}
}

func codes(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return "`" + strings.Join(all, "`, `") + "`"
}

// some returns the first names, and how many more there are.
func some(tests []string) string {
	const most = 2
	if len(tests) <= most {
		return strings.Join(tests, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(tests[:most], ", "), len(tests)-most)
}
