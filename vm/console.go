package vm

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
)

// tailLines is how many of the console's last lines an error shows. A panic with its stack
// has fewer.
const tailLines = 60

// console receives the output of the guest's serial line, writes it to w without carriage
// returns, and keeps the last lines.
type console struct {
	mu      sync.Mutex
	w       io.Writer // nil: the output is only kept
	lines   []string  // whole lines, at most tailLines
	partial []byte    // the line being written
}

func newConsole(w io.Writer) *console { return &console{w: w} }

// Write ignores errors of w and returns none: these must not end the guest.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := bytes.ReplaceAll(p, []byte{'\r'}, nil)
	if c.w != nil {
		_, _ = c.w.Write(text)
	}
	c.partial = append(c.partial, text...)
	for {
		line, rest, found := bytes.Cut(c.partial, []byte{'\n'})
		if !found {
			return len(p), nil
		}
		c.lines = append(c.lines, string(line))
		if len(c.lines) > tailLines {
			c.lines = c.lines[1:]
		}
		c.partial = rest
	}
}

// tail returns words to end an error with: the last lines, or if they have been written to w
// a reference to them.
func (c *console) tail() string {
	if c.w != nil {
		return " (see the console)"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := c.lines
	if len(c.partial) > 0 {
		lines = append(lines[:len(lines):len(lines)], string(c.partial))
	}
	if len(lines) == 0 {
		return "; its console is empty"
	}
	return "; its console's last lines:\n  " + strings.Join(lines, "\n  ")
}

// contains reports whether one of the last lines contains text.
func (c *console) contains(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.lines, func(line string) bool { return strings.Contains(line, text) })
}
