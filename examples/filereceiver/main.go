// Command filereceiver writes what it receives on each connection to a file of its own. It
// writes from the receive buffers, many of them with one system call.
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
	"path/filepath"

	"github.com/zcrx-go/zcrx/examples/internal/options"
	"github.com/zcrx-go/zcrx/zcnet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		slog.Error("filereceiver", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("filereceiver", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:9000", "`ADDRESS` to listen on")
	dir := flags.String("dir", ".", "put the files into this `DIRECTORY`")
	cfg := options.Engine(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	ln, err := zcnet.Listen(ctx, "tcp", *addr, *cfg)
	if err != nil {
		return err
	}
	defer ln.Close()
	fmt.Fprintf(out, "listening on %v, mode %v\n", ln.Addr(), ln.Engine().Mode())
	for number := 1; ; number++ {
		conn, err := ln.AcceptConn(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Join(*dir, fmt.Sprintf("received-%d", number))
		go func() {
			n, err := receive(conn, name)
			if err != nil {
				slog.Warn("file is not complete", "name", name, "bytes", n, "error", err)
				return
			}
			slog.Info("file is complete", "name", name, "bytes", n)
		}()
	}
}

// receive writes the connection's bytes to a file. It closes the connection when the file is
// complete, which tells the sender so.
func receive(conn *zcnet.Conn, name string) (n int64, err error) {
	defer conn.Close()
	file, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	n, err = conn.WriteTo(file)
	return n, errors.Join(err, file.Close())
}
