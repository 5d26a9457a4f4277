package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

// measure has the C compiler tell the values of the constants and the layouts of the structs.
func (a *api) measure(folder string) error {
	dir, err := os.MkdirTemp("", "uringgen")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	source, program := filepath.Join(dir, "measure.c"), filepath.Join(dir, "measure")
	if err := os.WriteFile(source, a.questions(), 0o600); err != nil {
		return err
	}
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "cc"
	}
	if out, err := exec.Command(compiler, "-w", "-I", folder, "-o", program, source).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	out, err := exec.Command(program).Output()
	if err != nil {
		return err
	}
	return a.answers(out)
}

// questions returns a C program that prints a line for each question.
func (a *api) questions() []byte {
	var b bytes.Buffer
	b.WriteString("#define _GNU_SOURCE\n#include <liburing.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{\n")
	b.WriteString("\tprintf(\"%d.%d\\n\", IO_URING_VERSION_MAJOR, IO_URING_VERSION_MINOR);\n")
	for _, c := range a.constants {
		fmt.Fprintf(&b, "\tprintf(\"%%llu %%d\\n\", (unsigned long long)(%s), (%s) < 0);\n", c.name, c.name)
	}
	for _, s := range a.structs {
		fmt.Fprintf(&b, "\tprintf(\"%%zu\\n\", sizeof(struct %s));\n", s.name)
		s.each("", func(path string, f *field) {
			size := fmt.Sprintf("sizeof(((struct %s *)0)->%s)", s.name, path)
			if f.isArray && (f.array == "" || f.array == "0") {
				size = "(size_t)0"
			}
			fmt.Fprintf(&b, "\tprintf(\"%%zu %%zu\\n\", offsetof(struct %s, %s), %s);\n", s.name, path, size)
		})
	}
	b.WriteString("\treturn 0;\n}\n")
	return b.Bytes()
}

// each calls fn with each field that has a name, and its path from the outermost struct.
func (s *structure) each(prefix string, fn func(path string, f *field)) {
	for i := range s.fields {
		f := &s.fields[i]
		at := prefix
		if f.name != "" {
			fn(prefix+f.name, f)
			at = prefix + f.name + "."
		}
		if f.inner != nil {
			f.inner.each(at, fn)
		}
	}
}

// answers reads what the program printed.
func (a *api) answers(out []byte) error {
	lines := bufio.NewScanner(bytes.NewReader(out))
	var failed error
	read := func(format string, to ...any) {
		if !lines.Scan() {
			failed = errors.New("the C program printed too few lines")
			return
		}
		if _, err := fmt.Sscanf(lines.Text(), format, to...); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	read("%s", &a.version)
	for i := range a.constants {
		var negative int
		read("%d %d", &a.constants[i].value, &negative)
		a.constants[i].negative = negative != 0
	}
	for _, s := range a.structs {
		read("%d", &s.size)
		s.each("", func(_ string, f *field) { read("%d %d", &f.offset, &f.size) })
		s.fold()
	}
	return failed
}

// fold derives offset and size of the anonymous structs and unions from their fields.
func (s *structure) fold() {
	for i := range s.fields {
		f := &s.fields[i]
		if f.inner == nil {
			continue
		}
		f.inner.fold()
		if f.name != "" {
			continue
		}
		first, end := ^uint64(0), uint64(0)
		for _, in := range f.inner.fields {
			first, end = min(first, in.offset), max(end, in.offset+in.size)
		}
		f.offset, f.size = first, end-first
	}
}

// decimal are the constants that are numbers, not bits.
var decimal = regexp.MustCompile(`_SHIFT$|^IORING_OP_|^IORING_(UN)?REGISTER_`)

// String returns the constant as Go and C write it.
func (c constant) String() string {
	switch {
	case c.negative:
		return fmt.Sprint(int64(c.value))
	case decimal.MatchString(c.name) || c.value < 10:
		return fmt.Sprint(c.value)
	}
	return fmt.Sprintf("%#x", c.value)
}
