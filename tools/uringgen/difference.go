package main

import (
	"fmt"
	"io"
)

// printDifference prints what theirs has more, less or otherwise than the pinned headers.
func printDifference(out io.Writer, pinned, theirs *api) {
	fmt.Fprintf(out, "liburing %s to %s\n", theirs.version, pinned.version)
	differ(out, "constant", index(theirs.constants, func(c constant) (string, string) { return c.name, c.String() }),
		index(pinned.constants, func(c constant) (string, string) { return c.name, c.String() }))
	differ(out, "struct", index(theirs.structs, layout), index(pinned.structs, layout))
	differ(out, "function", index(theirs.functions, func(f function) (string, string) { return f.name, f.proto }),
		index(pinned.functions, func(f function) (string, string) { return f.name, f.proto }))
}

func layout(s *structure) (name, text string) {
	text = fmt.Sprintf("%d bytes:", s.size)
	s.each("", func(path string, f *field) { text += fmt.Sprintf(" %s@%d+%d", path, f.offset, f.size) })
	return s.name, text
}

// An ordered is a map with its keys in the order of the headers.
type ordered struct {
	names []string
	texts map[string]string
}

func index[T any](all []T, of func(T) (name, text string)) ordered {
	o := ordered{texts: map[string]string{}}
	for _, one := range all {
		name, text := of(one)
		o.names = append(o.names, name)
		o.texts[name] = text
	}
	return o
}

func differ(out io.Writer, what string, before, after ordered) {
	for _, name := range before.names {
		if _, kept := after.texts[name]; !kept {
			fmt.Fprintf(out, "- %s %s: %s\n", what, name, before.texts[name])
		}
	}
	for _, name := range after.names {
		old, had := before.texts[name]
		switch {
		case !had:
			fmt.Fprintf(out, "+ %s %s: %s\n", what, name, after.texts[name])
		case old != after.texts[name]:
			fmt.Fprintf(out, "~ %s %s: %s -> %s\n", what, name, old, after.texts[name])
		}
	}
}
