// Command echohandler does what echo does, without a goroutine for each connection. A Handler
// gets the buffers on the loop that received them, and writes without waiting; the loop sends
// at the end of its turn. Only if the peer is too slow, it starts a goroutine for the rest.
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
			return engine.Close() // closes the connections too
		}
		if err != nil {
			return errors.Join(err, engine.Close())
		}
		if err := conn.Handle(new(echo).handle); err != nil {
			slog.Warn("connection", "peer", conn.RemoteAddr(), "error", err)
			_ = conn.Close() // the error of Handle says more
		}
	}
}

// echo is the state of a connection.
type echo struct {
	mu      sync.Mutex    // guards the fields below
	waiting []zcrx.Buffer // buffers that are not yet written
	done    int           // bytes of the first of these that are written
	writing bool          // writeRest runs
	ended   bool          // no more buffers will come
}

// handle is the zcnet.Handler. It runs on the loop and must not wait. Waiting buffers count
// towards the connection's share of the pool, so TCP's flow control stops a peer that does
// not read.
func (e *echo) handle(conn *zcnet.Conn, buffers []zcrx.Buffer, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = append(e.waiting, buffers...)
	if err != nil {
		e.ended = true
	}
	if e.writing {
		return // writeRest will write these too
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

// write writes the waiting buffers. On a loop Write does not wait, and returns ErrWouldBlock
// if too many bytes are unsent. It is called with mu held.
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

// writeRest writes the waiting buffers on a goroutine. There, Write and Close may wait for the
// loop. They must not be called with mu held, because handle locks mu on the loop.
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
		_ = first.Release() // cannot fail: this is the only Release
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

// drop releases the waiting buffers without writing them. It is called with mu held.
func (e *echo) drop() {
	_ = zcrx.ReleaseAll(e.waiting) // cannot fail: this is the only Release
	e.waiting = nil
}
