//go:build linux && cgo

package zcnet

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// While MaxConns functions run, connections wait in the kernel's queue and take no fds.
func TestMaxConnsLeavesOthersInTheQueue(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1, MaxConns: 1})
	ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	free := make(chan struct{})
	go func() { _ = ln.Serve(t.Context(), func(*Conn) { Await(func() { <-free }) }) }()
	first := dialNet(t, ln.Addr().String())
	defer first.Close()
	require.Eventually(t, func() bool { return e.Stats().Fibers.Open == 1 }, time.Minute, time.Millisecond)
	var peers []net.Conn
	release := make(chan struct{})
	require.NoError(t, e.Group().Loops()[0].Post(func() { <-release }))
	for range 200 {
		peers = append(peers, dialNet(t, ln.Addr().String()))
	}
	fds := zcrxtest.OpenFDs(t)
	close(release)
	time.Sleep(300 * time.Millisecond)
	assert.LessOrEqual(t, zcrxtest.OpenFDs(t)-fds, 3)
	close(free)
	for _, p := range peers {
		_, err := p.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		p.Close()
	}
	require.NoError(t, ln.Shutdown(t.Context()))
}

// Another process that shares the listening socket must be able to accept as before.
func TestServeLeavesASharedListenerAlone(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1})
	own, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	file, err := own.(*net.TCPListener).File()
	require.NoError(t, err)
	other, err := net.FileListener(file) // as another process would have it
	require.NoError(t, err)
	file.Close()
	ln, err := e.NewListener(own.(*net.TCPListener))
	require.NoError(t, err)
	go func() { _ = ln.Serve(context.Background(), func(*Conn) {}) }()
	accepted := make(chan error, 1)
	go func() {
		for {
			c, err := other.Accept()
			if err != nil {
				accepted <- err
				return
			}
			c.Close()
		}
	}()
	for range 100 {
		c := dialNet(t, own.Addr().String())
		_, _ = c.Read(make([]byte, 1))
		c.Close()
	}
	if !within(t, "Close of the other listener", func() { other.Close(); <-accepted }) {
		dialNet(t, ln.Addr().String()).Close()
	}
	ln.Close()
}
