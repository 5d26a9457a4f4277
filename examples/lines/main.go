// Command lines adds numbers. Each line has integers, separated by spaces, and is answered
// with a line that has their sum. A connection is a fiber, which gets the lines from the
// receive buffers, without copying those that lie in one of them.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/zcrx-go/zcrx/examples/internal/options"
	"github.com/zcrx-go/zcrx/zcnet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		slog.Error("lines", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("lines", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:9000", "`ADDRESS` to listen on")
	idle := flags.Duration("idle", 5*time.Minute, "`TIME` without a byte after which a connection is closed")
	cfg := options.Engine(flags)
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
		// At the end of the program what was received is still answered.
		defer context.AfterFunc(ctx, func() { _ = conn.CloseRead() })()
		if err := answer(conn, *idle); err != nil {
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

// maxLine is the longest line that is allowed, in bytes.
const maxLine = 64 << 10

// answer replies to the lines of a connection until the peer ends the stream. The answers to the
// lines that arrived together are sent together: on a loop Write copies a small answer, and
// the loop sends all of them at the end of its turn.
func answer(conn *zcnet.Conn, idle time.Duration) error {
	var begun, reply []byte // begun is the beginning of a line whose rest has not come
	if err := conn.SetReadDeadline(time.Now().Add(idle)); err != nil {
		return err
	}
	for chunk, err := range conn.Chunks(context.Background(), math.MaxInt) {
		if len(begun) == 0 && (errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded)) {
			return nil // the stream ended between two lines, or the peer sends nothing
		}
		if err != nil {
			return fmt.Errorf("with %d bytes of a line: %w", len(begun), err)
		}
		for len(chunk) > 0 {
			line, rest, ended := bytes.Cut(chunk, []byte("\n"))
			if len(begun)+len(line) > maxLine {
				return fmt.Errorf("a line of more than %d bytes", maxLine)
			}
			if !ended {
				begun = append(begun, line...) // the chunk is valid only in this round
				break
			}
			if len(begun) > 0 {
				line = append(begun, line...)
				begun = line[:0]
			}
			reply = sum(reply[:0], line)
			if _, err := conn.Write(reply); err != nil {
				return err
			}
			chunk = rest
		}
		if err := conn.SetReadDeadline(time.Now().Add(idle)); err != nil {
			return err
		}
	}
	return nil
}

// sum appends the answer to a line to reply.
func sum(reply, line []byte) []byte {
	total := int64(0)
	for word := range bytes.FieldsSeq(line) {
		n, err := strconv.ParseInt(string(word), 10, 32)
		if err != nil {
			return fmt.Appendf(reply, "error: %v\n", err)
		}
		total += n
	}
	return append(strconv.AppendInt(reply, total, 10), '\n')
}
