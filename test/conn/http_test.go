package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/zcnet"
)

// webKind is a protocol that net/http uses over the engine's connections.
type webKind struct {
	name   string
	proto  string // http.Request.Proto
	secure bool   // over TLS
}

var webKinds = []webKind{
	{"http1", "HTTP/1.1", false},
	{"h2c", "HTTP/2.0", false},
	{"https1", "HTTP/1.1", true},
	{"https2", "HTTP/2.0", true},
}

func (k webKind) protocols() *http.Protocols {
	p := new(http.Protocols)
	switch {
	case k.proto == "HTTP/1.1":
		p.SetHTTP1(true)
	case k.secure:
		p.SetHTTP2(true)
	default:
		p.SetUnencryptedHTTP2(true)
	}
	return p
}

// web is a server of net/http and a client for it.
type web struct {
	url    string
	client *http.Client
	server *http.Server
	served chan error
}

// startWeb serves handler on ln. The client connects with dial.
func startWeb(t *testing.T, k webKind, ln net.Listener, dial dialFunc, handler http.Handler) *web {
	t.Helper()
	transport := &http.Transport{DialContext: dial, Protocols: k.protocols(), MaxIdleConnsPerHost: 64}
	w := &web{
		client: &http.Client{Transport: transport},
		server: &http.Server{Handler: handler, Protocols: k.protocols(), ReadHeaderTimeout: time.Minute},
		served: make(chan error, 1),
	}
	scheme := "http"
	if k.secure {
		scheme = "https"
		var forServer *tls.Config
		forServer, transport.TLSClientConfig = tlsConfigs(t)
		w.server.TLSConfig = forServer
		go func() { w.served <- w.server.ServeTLS(ln, "", "") }()
	} else {
		go func() { w.served <- w.server.Serve(ln) }()
	}
	w.url = fmt.Sprintf("%s://%v", scheme, ln.Addr())
	return w
}

// stop shuts the server down, which must have no request left.
func (w *web) stop(t *testing.T) {
	t.Helper()
	w.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	assert.NoError(t, w.server.Shutdown(ctx))
	assert.ErrorIs(t, <-w.served, http.ErrServerClosed)
}

// inEachWeb runs the test in each mode and with each protocol.
func inEachWeb(t *testing.T, handler http.Handler, test func(t *testing.T, k webKind, w *web)) {
	inEachMode(t, func(t *testing.T, e *zcnet.Engine) {
		for _, k := range webKinds {
			t.Run(k.name, func(t *testing.T) {
				w := startWeb(t, k, listen(t, e), e.DialContext, handler)
				defer w.stop(t)
				test(t, k, w)
			})
		}
	})
}

func echoBody(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Proto", r.Proto)
	_ = http.NewResponseController(w).EnableFullDuplex() // not needed, and fails, with HTTP/2
	_, _ = io.Copy(w, r.Body)                            // if it fails, the client notices
}

// TestHTTPEcho posts bodies of many sizes, from many goroutines.
func TestHTTPEcho(t *testing.T) {
	inEachWeb(t, http.HandlerFunc(echoBody), func(t *testing.T, k webKind, w *web) {
		var all sync.WaitGroup
		for i, size := range []int{0, 1, 65_537, 500_000} {
			for j := range 3 {
				all.Go(func() {
					want := pattern(uint64(10*i+j), size)
					answer, err := w.client.Post(w.url, "application/octet-stream", bytes.NewReader(want))
					if !assert.NoError(t, err) {
						return
					}
					defer answer.Body.Close()
					got, err := io.ReadAll(answer.Body)
					assert.NoError(t, err)
					assert.Equal(t, k.proto, answer.Header.Get("Proto"))
					assert.True(t, bytes.Equal(want, got), "%d bytes of %d", len(got), size)
				})
			}
		}
		all.Wait()
	})
}

// TestHTTPFile serves the content of an io.ReadSeeker, in ranges and as a whole. net/http
// sends it with the connection's ReadFrom.
func TestHTTPFile(t *testing.T) {
	want := pattern(2, 1<<20)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "file.bin", time.Unix(1e9, 0), bytes.NewReader(want))
	})
	inEachWeb(t, handler, func(t *testing.T, _ webKind, w *web) {
		for _, part := range []struct {
			header     string
			begin, end int
		}{{"", 0, len(want)}, {"bytes=1000-499999", 1000, 500_000}, {"bytes=-1", len(want) - 1, len(want)}} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url, http.NoBody)
			require.NoError(t, err)
			if part.header != "" {
				request.Header.Set("Range", part.header)
			}
			answer, err := w.client.Do(request)
			require.NoError(t, err)
			got, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.True(t, bytes.Equal(want[part.begin:part.end], got), "%q: %d bytes", part.header, len(got))
		}
	})
}

// TestHTTPCancelledByClient cancels requests of the client while the handler waits. The
// handler's context must end, and the next request be served.
func TestHTTPCancelledByClient(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			begun <- struct{}{}
			<-r.Context().Done()
			ended <- struct{}{}
			return
		}
		echoBody(w, r)
	})
	inEachWeb(t, handler, func(t *testing.T, _ webKind, w *web) {
		for range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/wait", http.NoBody)
			require.NoError(t, err)
			answered := make(chan error, 1)
			go func() {
				answer, err := w.client.Do(request)
				if err == nil {
					_ = answer.Body.Close()
				}
				answered <- err
			}()
			<-begun
			cancel()
			require.ErrorIs(t, <-answered, context.Canceled)
			<-ended
			answer, err := w.client.Post(w.url, "text/plain", bytes.NewReader([]byte("and now?")))
			require.NoError(t, err)
			got, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, "and now?", string(got))
		}
	})
}

// TestHTTPHijack takes the connection over from net/http, as WebSocket servers do. Until
// then the server has a read in progress in the background.
func TestHTTPHijack(t *testing.T) {
	inEachMode(t, func(t *testing.T, e *zcnet.Engine) {
		handled := make(chan struct{})
		handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			defer close(handled)
			c, buffered, err := http.NewResponseController(w).Hijack()
			if !assert.NoError(t, err) {
				return
			}
			defer c.Close()
			assert.IsType(t, (*zcnet.Conn)(nil), c)
			_, err = buffered.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			assert.NoError(t, err)
			assert.NoError(t, buffered.Flush())
			_, err = io.Copy(c, buffered)
			assert.NoError(t, err)
		})
		w := startWeb(t, webKinds[0], listen(t, e), e.DialContext, handler)
		defer w.stop(t)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url, http.NoBody)
		require.NoError(t, err)
		request.Header.Set("Connection", "Upgrade")
		request.Header.Set("Upgrade", "echo")
		answer, err := w.client.Do(request)
		require.NoError(t, err)
		defer answer.Body.Close() // a second time if the test succeeds
		require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
		duplex, ok := answer.Body.(io.ReadWriteCloser)
		require.True(t, ok)
		for i := range 100 {
			want := pattern(uint64(i), 1+i*i)
			_, err := duplex.Write(want)
			require.NoError(t, err)
			got := make([]byte, len(want))
			_, err = io.ReadFull(duplex, got)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		require.NoError(t, duplex.Close())
		<-handled // Shutdown does not wait for hijacked connections
	})
}
