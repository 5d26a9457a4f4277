package vm

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestConsoleShows(t *testing.T) {
	var shown bytes.Buffer
	c := newConsole(&shown)
	fmt.Fprint(c, "one\r\ntw")
	fmt.Fprint(c, "o\r\n")
	assert.Equal(t, "one\ntwo\n", shown.String())
	assert.NotContains(t, c.tail(), "two", "it has been seen")
	assert.True(t, c.contains("tw"))
	assert.False(t, c.contains("three"))
}

func TestConsoleKeepsTheLastLines(t *testing.T) {
	c := newConsole(nil)
	assert.Contains(t, c.tail(), "empty")
	for i := range tailLines + 5 {
		fmt.Fprintf(c, "line %d.\r\n", i)
	}
	fmt.Fprint(c, "unfinished")
	tail := c.tail()
	assert.NotContains(t, tail, "line 4.")
	assert.Contains(t, tail, "line 5.")
	assert.True(t, strings.HasSuffix(tail, "line 64.\n  unfinished"))
}
