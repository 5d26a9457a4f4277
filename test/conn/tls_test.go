package conn

import (
	"bytes"
	"crypto/tls"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/zcnet"
)

// TestTLS sends 1 MiB there and back with crypto/tls at both ends, and then ends the stream
// with TLS's close_notify.
func TestTLS(t *testing.T) {
	inEachMode(t, func(t *testing.T, e *zcnet.Engine) {
		forServer, forClient := tlsConfigs(t)
		for _, p := range pairings(e) {
			t.Run(p.name, func(t *testing.T) {
				rawClient, rawServer, stop, err := p.pipe()
				require.NoError(t, err)
				defer stop()
				client, server := tls.Client(rawClient, forClient), tls.Server(rawServer, forServer)
				want := pattern(1, 1<<20)
				echoed, sent := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(echoed)
					n, err := io.Copy(server, server)
					assert.NoError(t, err)
					assert.EqualValues(t, len(want), n)
					assert.NoError(t, server.CloseWrite())
				}()
				go func() {
					defer close(sent)
					_, err := client.Write(want)
					assert.NoError(t, err)
					assert.NoError(t, client.CloseWrite())
				}()
				got, err := io.ReadAll(client)
				require.NoError(t, err)
				assert.True(t, bytes.Equal(want, got), "%d bytes", len(got))
				<-echoed
				<-sent
			})
		}
	})
}

// TestTLSCutShort checks that a connection that ends in the middle of a record returns
// io.ErrUnexpectedEOF, not io.EOF.
func TestTLSCutShort(t *testing.T) {
	inEachMode(t, func(t *testing.T, e *zcnet.Engine) {
		forServer, forClient := tlsConfigs(t)
		rawClient, rawServer, stop, err := pairings(e)[0].pipe()
		require.NoError(t, err)
		defer stop()
		client, server := tls.Client(rawClient, forClient), tls.Server(rawServer, forServer)
		written := make(chan error, 1)
		go func() {
			_, err := server.Write([]byte("half of it"))
			written <- err
		}()
		require.NoError(t, client.HandshakeContext(t.Context()))
		require.NoError(t, <-written)
		_, err = rawServer.Write([]byte{23, 3, 3, 0x40, 0}) // the header of a record of 16 KiB
		require.NoError(t, err)
		require.NoError(t, rawServer.Close())
		got, err := io.ReadAll(client)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.Equal(t, "half of it", string(got))
	})
}
