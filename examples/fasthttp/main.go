// Command fasthttp is fasthttp's server, unmodified, with a fiber for each connection. PUT
// returns the length and the SHA-256 of the body, which the server does not keep.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/zcrx-go/zcrx/examples/internal/options"
	"github.com/zcrx-go/zcrx/zcnet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		slog.Error("fasthttp", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("fasthttp", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:8080", "`ADDRESS` to listen on")
	cfg := options.Engine(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg.Logger = slog.Default() // gets the stalls of handlers that block a loop
	engine, err := zcnet.NewEngine(ctx, *cfg)
	if err != nil {
		return err
	}
	ln, err := engine.Listen(ctx, "tcp", *addr)
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	fmt.Fprintf(out, "listening on %v, mode %v\n", ln.Addr(), engine.Mode())

	idle := idleConns{conns: map[net.Conn]bool{}}
	server := &fasthttp.Server{
		Handler: handle, ConnState: idle.changed,
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
	}
	err = ln.Serve(ctx, func(conn *zcnet.Conn) {
		idle.changed(conn, fasthttp.StateNew) // ServeConn reports only what comes later
		if err := server.ServeConn(conn); err != nil && !errors.Is(err, net.ErrClosed) {
			slog.Debug("connection", "peer", conn.RemoteAddr(), "error", err)
		}
	})
	if ctx.Err() == nil {
		return errors.Join(err, engine.Close())
	}
	idle.closeAll()
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(ln.Shutdown(patience), engine.Close())
}

// inPlace is the longest body, in bytes, whose hash is computed on the loop.
const inPlace = 64 << 10

// handle runs in the connection's fiber. Hashing a long body takes longer than the loop's
// other connections should wait, so another goroutine does that.
func handle(ctx *fasthttp.RequestCtx) {
	if !ctx.IsPut() {
		ctx.Error("only PUT", fasthttp.StatusMethodNotAllowed)
		return
	}
	body := ctx.PostBody()
	var sum [sha256.Size]byte
	if len(body) <= inPlace {
		sum = sha256.Sum256(body)
	} else {
		zcnet.Await(func() { sum = sha256.Sum256(body) })
	}
	fmt.Fprintf(ctx, "%d bytes, SHA-256 %x\n", len(body), sum)
}

// idleConns are the connections that wait for a request. The server's own Shutdown does not
// know connections that came through ServeConn.
type idleConns struct {
	mu     sync.Mutex // held for a moment only: fibers lock it
	conns  map[net.Conn]bool
	closed bool
}

// changed is the server's ConnState.
func (i *idleConns) changed(conn net.Conn, state fasthttp.ConnState) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if state != fasthttp.StateNew && state != fasthttp.StateIdle {
		delete(i.conns, conn)
		return
	}
	i.conns[conn] = true
	if i.closed {
		_ = conn.Close() // Serve has accepted it before it ended
	}
}

// closeAll closes the connections that wait for a request, now and from now on.
func (i *idleConns) closeAll() {
	i.mu.Lock()
	i.closed = true
	conns := i.conns
	i.conns = map[net.Conn]bool{}
	i.mu.Unlock()
	for conn := range conns {
		_ = conn.Close() // the peer may have ended it just now
	}
}
