// Command echohandler is echo without a goroutine for each connection: a Handler
// takes the buffers on the loop that received them, and writes there what the
// socket takes at once. Only what it does not take costs a goroutine, for a while.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/examples/internal/options"
	"github.com/zcrx-go/zcrx/zcnet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		slog.Error("echohandler", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("echohandler", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:9000", "`ADDRESS` to listen on")
	cfg := options.Engine(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	engine, err := zcnet.NewEngine(ctx, *cfg)
	if err != nil {
		return err
	}
	ln, err := engine.Listen(ctx, "tcp", *addr)
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	fmt.Fprintf(out, "listening on %v, mode %v\n", ln.Addr(), engine.Mode())
	for {
		conn, err := ln.AcceptConn(ctx)
		if ctx.Err() != nil {
			return engine.Close() // with its connections
		}
		if err != nil {
			return errors.Join(err, engine.Close())
		}
		if err := conn.Handle(new(echo).handle); err != nil {
			slog.Warn("connection", "peer", conn.RemoteAddr(), "error", err)
			_ = conn.Close() // it failed already
		}
	}
}

// echo is one connection's state.
type echo struct {
	mu      sync.Mutex
	waiting []zcrx.Buffer // guarded by mu: what the socket has not taken yet
	done    int           // guarded by mu: bytes of the first that it has
	writing bool          // guarded by mu: a goroutine writes what waits
	ended   bool          // guarded by mu: nothing more will come
}

// handle is the zcnet.Handler: it runs on the loop and must not wait. Buffers that
// wait count for the connection's share of the pool, so a peer that does not read is
// stopped by TCP's window.
func (e *echo) handle(conn *zcnet.Conn, buffers []zcrx.Buffer, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = append(e.waiting, buffers...)
	if err != nil {
		e.ended = true
	}
	if e.writing {
		return // it goes on with these
	}
	if werr := e.write(conn); errors.Is(werr, zcnet.ErrWouldBlock) {
		e.writing = true
		go e.writeRest(conn)
		return
	} else if werr != nil {
		e.ended = true
	}
	if e.ended {
		e.drop()
		_ = conn.Close() // the engine may have closed it before
	}
}

// write writes what waits, as far as the socket takes it without waiting on a loop.
// It is called with mu held.
func (e *echo) write(conn *zcnet.Conn) error {
	for len(e.waiting) > 0 {
		n, err := conn.Write(e.waiting[0].Bytes()[e.done:])
		e.done += n
		if err != nil {
			return err
		}
		if err := e.waiting[0].Release(); err != nil {
			return err
		}
		e.waiting, e.done = e.waiting[1:], 0
	}
	return nil
}

// writeRest runs on a goroutine, where Write and Close wait, for the loop too: never
// with mu held, which the handler takes on the loop.
func (e *echo) writeRest(conn *zcnet.Conn) {
	e.mu.Lock()
	for len(e.waiting) > 0 {
		first, done := e.waiting[0], e.done
		e.mu.Unlock()
		_, err := conn.Write(first.Bytes()[done:])
		e.mu.Lock()
		if err != nil {
			e.ended = true
			break
		}
		_ = first.Release() // nobody else does
		e.waiting, e.done = e.waiting[1:], 0
	}
	e.writing = false
	ended := e.ended
	if ended {
		e.drop()
	}
	e.mu.Unlock()
	if ended {
		_ = conn.Close() // the engine may have closed it before
	}
}

// drop gives back what could not be written. It is called with mu held.
func (e *echo) drop() {
	_ = zcrx.ReleaseAll(e.waiting) // nobody else does
	e.waiting = nil
}
