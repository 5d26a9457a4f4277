// Command framed parses a length-prefixed protocol without copying. A message is its length
// in four bytes, big-endian, and that many bytes. The reply is the CRC-32 (IEEE) of these
// bytes, in four bytes, big-endian.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
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
		slog.Error("framed", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("framed", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:9000", "`ADDRESS` to listen on")
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
	for {
		conn, err := ln.AcceptConn(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			if err := serve(ctx, conn); err != nil {
				slog.Warn("connection", "peer", conn.RemoteAddr(), "error", err)
			}
		}()
	}
}

const (
	headerSize = 4
	maxMessage = 64 << 20 // longest message that is allowed, in bytes
)

// serve replies to the messages of a connection until the peer ends the stream.
func serve(ctx context.Context, conn *zcnet.Conn) error {
	defer conn.Close()
	for {
		header, err := conn.Peek(ctx, headerSize)
		if errors.Is(err, io.EOF) && len(header) == 0 {
			return nil // the stream ended between two messages
		}
		if err != nil {
			return fmt.Errorf("in a header: %w", err)
		}
		size := binary.BigEndian.Uint32(header)
		if size > maxMessage {
			return fmt.Errorf("a message of %d bytes: allowed are %d", size, maxMessage)
		}
		if _, err := conn.Discard(ctx, headerSize); err != nil {
			return err
		}
		sum, err := checksum(ctx, conn, int(size))
		if err != nil {
			return fmt.Errorf("in a message of %d bytes: %w", size, err)
		}
		if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, sum)); err != nil {
			return err
		}
	}
}

// checksum reads a message and returns its CRC-32. It gets the message in chunks, each in one
// receive buffer, so a message may be larger than all buffers together.
func checksum(ctx context.Context, conn *zcnet.Conn, size int) (sum uint32, err error) {
	for chunk, err := range conn.Chunks(ctx, size) {
		if err != nil {
			return 0, err
		}
		sum = crc32.Update(sum, crc32.IEEETable, chunk)
	}
	return sum, nil
}
