//go:build linux && cgo

package zcnet

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// overAnotherProtocol passes NewConn connections that are not plain TCP. DeviceLess, which
// uses the kernel's zero-copy interface, must refuse them and leave them usable; the other
// modes must receive from them.
func overAnotherProtocol(t *testing.T, above string, pair func(t *testing.T) (sender, receiver *net.TCPConn)) {
	t.Helper()
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		want := zcrxtest.Pattern(50, 300_000)
		sender, receiver := pair(t)
		sent := make(chan error, 1)
		go func() {
			_, err := sender.Write(want)
			sent <- errors.Join(err, sender.CloseWrite())
		}()
		var from io.ReadCloser = receiver
		c, err := e.NewConn(receiver)
		if e.Mode() == zcrx.DeviceLess {
			var refused *zcrx.UnsupportedError
			require.ErrorAs(t, err, &refused)
			assert.ErrorIs(t, err, zcrx.ErrNotSupported)
			assert.Equal(t, zcrx.LayerKernel, refused.Layer)
			assert.Contains(t, refused.Feature, above)
			assert.NotEmpty(t, refused.Remedy)
		} else {
			require.NoError(t, err)
			from = c
		}
		got, err := io.ReadAll(from)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NoError(t, <-sent)
		require.NoError(t, from.Close())
		require.NoError(t, sender.Close())
	})
}

func TestKernelTLS(t *testing.T) {
	sender, receiver := zcrxtest.TCPPair(t)
	err := setKernelTLS(receiver, tlsReceive)
	require.NoError(t, errors.Join(sender.Close(), receiver.Close()))
	// A build option of the kernel since 4.13. The VM lane loads the module.
	skip.Unless(t, "kernel TLS", "7.3", err)
	overAnotherProtocol(t, "kernel TLS", func(t *testing.T) (sender, receiver *net.TCPConn) {
		sender, receiver = zcrxtest.TCPPair(t)
		require.NoError(t, setKernelTLS(sender, tlsSend))
		require.NoError(t, setKernelTLS(receiver, tlsReceive))
		return sender, receiver
	})
}

func TestMultipathTCP(t *testing.T) {
	overAnotherProtocol(t, "Multipath TCP", func(t *testing.T) (sender, receiver *net.TCPConn) {
		var lc net.ListenConfig
		var d net.Dialer
		lc.SetMultipathTCP(true)
		d.SetMultipathTCP(true)
		ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
		require.NoError(t, err)
		s, err := ln.Accept()
		require.NoError(t, err)
		sender, receiver = c.(*net.TCPConn), s.(*net.TCPConn)
		multipath, err := receiver.MultipathTCP()
		require.NoError(t, err)
		require.True(t, multipath)
		return sender, receiver
	})
}

// Constants of linux/tls.h that golang.org/x/sys does not have.
const (
	tlsSend    = 1 // TLS_TX
	tlsReceive = 2 // TLS_RX
	tls12      = 0x0303
	tlsAES128  = 51 // TLS_CIPHER_AES_GCM_128
)

// setKernelTLS makes the kernel encrypt or decrypt one direction, with a key of zeros.
func setKernelTLS(conn *net.TCPConn, direction int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	// tls12_crypto_info_aes_gcm_128, with TLS 1.2
	info := struct {
		version, cipher uint16
		rest            [36]byte // nonce, key, salt, number of the first record
	}{tls12, tlsAES128, [36]byte{}}
	var optErr error
	err = raw.Control(func(fd uintptr) {
		if optErr = os.NewSyscallError("setsockopt", unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_ULP, "tls")); optErr != nil {
			return
		}
		optErr = os.NewSyscallError("setsockopt", unix.SetsockoptString(int(fd), unix.SOL_TLS, direction,
			unsafe.String((*byte)(unsafe.Pointer(&info)), unsafe.Sizeof(info))))
	})
	return errors.Join(err, optErr)
}
