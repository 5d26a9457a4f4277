package main

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	structStart = regexp.MustCompile(`\bstruct\s+(\w+)\s*\{`)
	lexeme      = regexp.MustCompile(`\w+|[{}\[\]();,*~+<-]|\S`)
)

// structures returns the structs with a name that the text defines outside of others.
func structures(text string) ([]*structure, error) {
	var all []*structure
	for {
		m := structStart.FindStringSubmatchIndex(text)
		if m == nil {
			return all, nil
		}
		p := &fieldParser{tokens: lexeme.FindAllString(text[m[1]:], -1)}
		s := &structure{name: text[m[2]:m[3]]}
		if err := p.fields(s); err != nil {
			return nil, fmt.Errorf("struct %s: %w", s.name, err)
		}
		all = append(all, s)
		text = text[m[1]:]
		text = text[closing(text):]
	}
}

// closing returns the index behind the brace that closes a body.
func closing(text string) int {
	depth := 1
	for i, c := range text {
		switch c {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

type fieldParser struct{ tokens []string }

func (p *fieldParser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

// fields reads the fields of s, up to the closing brace.
func (p *fieldParser) fields(s *structure) error {
	for {
		switch t := p.next(); t {
		case "":
			return fmt.Errorf("no end")
		case "}":
			return nil
		case "struct", "union":
			name := p.next()
			if name != "{" {
				if err := p.declarators(s, field{ctype: t + " " + name}); err != nil {
					return err
				}
				continue
			}
			inner := &structure{union: t == "union"}
			if err := p.fields(inner); err != nil {
				return err
			}
			if err := p.declarators(s, field{inner: inner}); err != nil {
				return err
			}
		default:
			if err := p.declarators(s, field{ctype: t}); err != nil {
				return err
			}
		}
	}
}

// declarators reads what follows a type, up to the semicolon.
func (p *fieldParser) declarators(s *structure, f field) error {
	for {
		switch t := p.next(); t {
		case "":
			return fmt.Errorf("no semicolon")
		case ";":
			s.fields = append(s.fields, f)
			return nil
		case "[":
			f.isArray = true
			for t = p.next(); t != "]" && t != ""; t = p.next() {
				f.array += t
			}
		case "__attribute__":
			for depth := 0; ; {
				switch p.next() {
				case "(":
					depth++
				case ")":
					depth--
				}
				if depth == 0 {
					break
				}
			}
		case ",":
			return fmt.Errorf("several fields in one declaration: %s", strings.TrimSpace(f.name))
		default:
			f.name = t
		}
	}
}

// reserved reports whether a field is padding, which a later kernel may give a meaning.
func reserved(name string) bool {
	return strings.Contains(name, "resv") || strings.Contains(name, "pad") || strings.HasPrefix(name, "rsvd")
}
