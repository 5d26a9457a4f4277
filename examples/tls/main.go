// Command tls is an echo server over TLS. crypto/tls uses the library's connections as
// net.Conns, so each byte is copied by Read and then by decryption. Kernel TLS does not avoid
// that, because zero-copy receive needs plain TCP sockets.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"

	"github.com/zcrx-go/zcrx/examples/internal/options"
	"github.com/zcrx-go/zcrx/zcnet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		slog.Error("tls", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("tls", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:9000", "`ADDRESS` to listen on")
	cert := flags.String("cert", "cert.pem", "`FILE` with the certificate")
	key := flags.String("key", "key.pem", "`FILE` with its private key")
	cfg := options.Engine(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	certificate, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		return err
	}
	ln, err := zcnet.Listen(ctx, "tcp", *addr, *cfg)
	if err != nil {
		return err
	}
	defer ln.Close()
	fmt.Fprintf(out, "listening on %v, mode %v\n", ln.Addr(), ln.Engine().Mode())
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })() // ends Accept
	secured := tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}})
	for {
		conn, err := secured.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			if err := echo(conn); err != nil {
				slog.Warn("connection", "peer", conn.RemoteAddr(), "error", err)
			}
		}()
	}
}

func echo(conn net.Conn) error {
	defer conn.Close()
	_, err := io.Copy(conn, conn)
	return err
}
