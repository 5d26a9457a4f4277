// Command proxy passes TCP connections on to another address. Each is a fiber for each
// direction. They send the buffers that they receive: the program copies no bytes, except
// where fewer than a kilobyte come at a time.
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
	"time"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/examples/internal/options"
	"github.com/zcrx-go/zcrx/zcnet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		slog.Error("proxy", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("proxy", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:9000", "`ADDRESS` to listen on")
	target := flags.String("to", "127.0.0.1:9001", "`ADDRESS` to pass connections on to")
	cfg := options.Engine(flags)
	flags.IntVar(&cfg.MaxConns, "conns", 0, "`NUMBER` of connections at a time, 0 for any; more of them wait")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg.Logger = slog.Default()
	engine, err := zcnet.NewEngine(ctx, *cfg)
	if err != nil {
		return err
	}
	ln, err := engine.Listen(ctx, "tcp", *addr)
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	fmt.Fprintf(out, "listening on %v, mode %v\n", ln.Addr(), engine.Mode())
	err = ln.Serve(ctx, func(conn *zcnet.Conn) { // closes conn when this function returns
		if err := serve(ctx, engine, conn, *target); err != nil {
			slog.Warn("connection", "peer", conn.RemoteAddr(), "error", err)
		}
	})
	if ctx.Err() == nil {
		return errors.Join(err, engine.Close())
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(ln.Shutdown(patience), engine.Close())
}

// serve passes conn on to target. It returns when both directions have ended. In a fiber Dial
// makes a connection on the fiber's own loop, except in mode zerocopy, where its packets decide.
// Only on its own loop does a connection send buffers in place.
func serve(ctx context.Context, engine *zcnet.Engine, conn *zcnet.Conn, target string) error {
	to, err := dial(ctx, engine, target)
	if err != nil {
		return err
	}
	defer to.Close()
	ended := make(chan error, 1)
	err = to.Go(func(to *zcnet.Conn) {
		defer close(ended)
		ended <- forward(to, conn)
	})
	if err != nil {
		return err
	}
	err = forward(conn, to)
	// A fiber must not wait for a channel without Await: the other one may be on this loop.
	_, backErr := zcnet.AwaitValue(func() (struct{}, error) { return struct{}{}, <-ended })
	return errors.Join(err, backErr)
}

func dial(ctx context.Context, engine *zcnet.Engine, target string) (*zcnet.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return engine.Dial(ctx, "tcp", target)
}

// forward sends what from receives to the peer of to, and then the end of the stream. After
// an error it closes both connections, which ends the other direction too.
func forward(from, to *zcnet.Conn) error {
	err := sendAll(from, to)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		_, _ = from.Close(), to.Close() // the other direction may have closed them
	}
	return err
}

// sendAll sends what from receives. It does not take ctx: at the end of the program
// connections have some seconds to end by themselves.
func sendAll(from, to *zcnet.Conn) error {
	buffers := make([]zcrx.Buffer, 64)
	for {
		n, err := from.RecvBatch(context.Background(), buffers)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := to.Send(buffers[:n]...); err != nil { // releases them, then or later
			return err
		}
	}
}
