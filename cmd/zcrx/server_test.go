package main

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
)

// A loop that has ended takes the server along, whether it has connections or not.
func TestServeEndsWithLoop(t *testing.T) {
	for _, mode := range ringModes() {
		for _, connected := range []bool{true, false} {
			name := mode + "/idle"
			if connected {
				name = mode + "/connected"
			}
			t.Run(name, func(t *testing.T) {
				noLeaks(t)
				o := engineOptions{}
				require.NoError(t, o.mode.Set(mode))
				e, err := o.open(t.Context())
				require.NoError(t, err)
				defer func() { require.NoError(t, e.Close()) }()
				ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
				require.NoError(t, err)
				s := server{engine: e, ln: ln, mode: e.report(), reports: io.Discard}
				ended := make(chan error, 1)
				go func() { ended <- s.serve(t.Context()) }()

				if connected {
					defer connect(t, ln.Addr().String()).Close()
					require.Eventually(t, func() bool { return e.Stats().Connections == 1 }, time.Minute, time.Millisecond)
				}
				require.NoError(t, e.Group().Loops()[0].Close())
				if !connected { // the next connection finds it out
					defer connect(t, ln.Addr().String()).Close()
				}
				require.ErrorIs(t, <-ended, net.ErrClosed)
			})
		}
	}
}

// An engine tells the numbers of its pool, also in mode socket, where it has no group.
func TestEngineSizes(t *testing.T) {
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			noLeaks(t)
			o := engineOptions{numBuffers: 128, cqEntries: minCQEntries}
			require.NoError(t, o.mode.Set(mode))
			e, err := o.open(t.Context())
			require.NoError(t, err)
			defer func() { require.NoError(t, e.Close()) }()
			assert.Equal(t, mode, e.Mode().String())
			assert.Equal(t, 128, e.pool.NumBuffers())
			assert.Equal(t, 64, e.pool.MaxLeases())
			assert.Equal(t, e.Mode() == zcrx.Socket, e.Group() == nil)
		})
	}
}
