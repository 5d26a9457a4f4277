// Package conn tests connections with programs and libraries that use package net: the
// conformance test of net.Conn, net/http, crypto/tls and gRPC. It is a module of its own, so
// that the library's module does not depend on these. There is nothing to import here.
package conn

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/zcnet"
)

// inEachMode runs the test with an engine of each mode that needs no interface. With -short,
// in emulated machines, it leaves out the modes that this machine's kernel has too.
func inEachMode(t *testing.T, test func(t *testing.T, e *zcnet.Engine)) {
	for _, mode := range []zcrx.Mode{zcrx.Socket, zcrx.Provided, zcrx.DeviceLess} {
		if mode != zcrx.DeviceLess && testing.Short() {
			continue
		}
		inMode(t, mode, test)
	}
}

// inMode runs the test with an engine of that mode. The test fails if file descriptors or
// goroutines are left after the engine is closed.
func inMode(t *testing.T, mode zcrx.Mode, test func(t *testing.T, e *zcnet.Engine)) {
	t.Run(mode.String(), func(t *testing.T) {
		needMode(t, mode)
		startPoller(t)
		fds, goroutines := openFDs(t), runtime.NumGoroutine()
		e, err := zcnet.NewEngine(t.Context(), zcnet.Config{Mode: mode, Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 1024}})
		require.NoError(t, err)
		test(t, e)
		require.NoError(t, e.Close())
		s := e.Stats()
		assert.Zero(t, s.Connections)
		assert.Zero(t, s.Group.Total.Outstanding)
		assert.Zero(t, s.Socket.Outstanding)
		assert.Positive(t, s.Group.Total.Bytes+s.Socket.Bytes, "the bytes came through the engine")
		awaitCount(t, "fds", fds, func() int { return openFDs(t) })
		awaitCount(t, "goroutines", goroutines, runtime.NumGoroutine)
	})
}

func needMode(t *testing.T, mode zcrx.Mode) {
	t.Helper()
	if mode != zcrx.DeviceLess {
		return
	}
	features, err := zcrx.ProbeFeatures()
	require.NoError(t, err)
	f := zcrx.FeatureDeviceLess
	skip.Unless(t, f.String(), f.MinKernel(), features.Have(f))
}

// startPoller has Go's poller open the file descriptors that it keeps open.
func startPoller(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
}

// awaitCount waits until count is not more than it was before the test, because some things
// end in the background.
func awaitCount(t *testing.T, what string, before int, count func() int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); count() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%s: %d before the test, now %d\n%s", what, before, count(), stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func openFDs(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// listen listens on a free port. The caller, or the server that it passes the listener to,
// must close it.
func listen(t *testing.T, e *zcnet.Engine) *zcnet.Listener {
	t.Helper()
	ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ln
}

// pattern returns n random bytes that depend on the seed only.
func pattern(seed uint64, n int) []byte {
	p := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = source.Read(p) // never fails
	return p
}

// dialFunc is a function like net.Dialer.DialContext.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// pairing makes connections of which one or both ends are the engine's, and the others those
// of package net.
type pairing struct {
	name   string
	dial   dialFunc
	listen func() (net.Listener, error)
}

func pairings(e *zcnet.Engine) []pairing {
	const address = "127.0.0.1:0"
	engineListen := func() (net.Listener, error) { return e.Listen(context.Background(), "tcp", address) }
	plainListen := func() (net.Listener, error) { return net.Listen("tcp", address) }
	plainDial := new(net.Dialer).DialContext
	return []pairing{
		{"both", e.DialContext, engineListen},
		{"client", e.DialContext, plainListen},
		{"server", plainDial, engineListen},
	}
}

// pipe makes a connection. stop closes both ends.
func (p pairing) pipe() (client, server net.Conn, stop func(), err error) {
	ln, err := p.listen()
	if err != nil {
		return nil, nil, nil, err
	}
	defer ln.Close()
	client, err = p.dial(context.Background(), "tcp", ln.Addr().String())
	if err != nil {
		return nil, nil, nil, err
	}
	server, err = ln.Accept()
	if err != nil {
		return nil, nil, nil, errors.Join(err, client.Close())
	}
	return client, server, func() {
		_ = client.Close() // the test may have closed it
		_ = server.Close()
	}, nil
}
