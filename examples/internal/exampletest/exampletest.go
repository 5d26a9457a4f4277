// Package exampletest runs the examples in their tests: Serve runs a server, Do a client.
package exampletest

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Run is the run function of an example, which its main calls.
type Run func(ctx context.Context, args []string, out io.Writer) error

// Serve starts a server on a free port, in mode provided and with the additional arguments,
// and returns its address. At the end of the test it cancels the server's context; the server
// must then return without an error.
func Serve(t *testing.T, run Run, args ...string) (address string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	in, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, append([]string{"-addr", "127.0.0.1:0", "-mode", "provided"}, args...), out)
		_ = out.Close() // never fails
		ended <- err
	}()
	lines := bufio.NewReader(in)
	first, err := lines.ReadString('\n')
	if err != nil {
		cancel()
		require.NoError(t, <-ended)
	}
	found := regexp.MustCompile(`^listening on (\S+), mode provided\n$`).FindStringSubmatch(first)
	require.Len(t, found, 2, "the first line is %q", first)
	go func() { _, _ = io.Copy(io.Discard, lines) }() // until run has returned
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
	})
	return found[1]
}

// Do runs a client in mode provided, with the additional arguments, and returns what it
// prints.
func Do(t *testing.T, run Run, args ...string) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, run(t.Context(), append([]string{"-mode", "provided"}, args...), &out))
	return out.String()
}

// Bytes returns n random bytes, the same in each call.
func Bytes(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(p) // never fails
	return p
}
