// Command echo sends back what it receives on each connection. It writes from the receive
// buffers, without copying to memory of its own.
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

	"github.com/zcrx-go/zcrx/examples/internal/options"
	"github.com/zcrx-go/zcrx/zcnet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		slog.Error("echo", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("echo", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:9000", "`ADDRESS` to listen on")
	cfg := options.Engine(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	ln, err := zcnet.Listen(ctx, "tcp", *addr, *cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "listening on %v, mode %v\n", ln.Addr(), ln.Engine().Mode())
	for {
		conn, err := ln.AcceptConn(ctx)
		if err != nil {
			return shutDown(ctx, ln, err)
		}
		go func() {
			if err := echo(ctx, conn); err != nil {
				slog.Warn("connection", "peer", conn.RemoteAddr(), "error", err)
			}
		}()
	}
}

// echo serves a connection. If the peer sends and does not read, Write blocks, the connection
// uses up its share of the pool, and TCP's flow control stops the peer.
func echo(ctx context.Context, conn *zcnet.Conn) error {
	defer conn.Close()
	for buf, err := range conn.Buffers(ctx) {
		if err != nil {
			return err
		}
		_, err = conn.Write(buf.Bytes())
		if err := errors.Join(err, buf.Release()); err != nil {
			return err
		}
	}
	return nil // the peer has ended its stream
}

// shutDown closes the listener after AcceptConn returned err. If that is because ctx ended, it
// gives the connections five seconds to end.
func shutDown(ctx context.Context, ln *zcnet.Listener, err error) error {
	if ctx.Err() == nil {
		return errors.Join(err, ln.Close())
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return ln.Shutdown(patience)
}
