// Command database replies to each line, a name, with the value that a database has for it. A
// connection is a fiber. Its queries run in Await, so the loop goes on with other connections
// meanwhile. standin.go has the database.
package main

import (
	"bufio"
	"context"
	"database/sql"
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
		slog.Error("database", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("database", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:9000", "`ADDRESS` to listen on")
	latency := flags.Duration("latency", 2*time.Millisecond, "`TIME` that a query takes")
	cfg := options.Engine(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	db := sql.OpenDB(standIn{
		values: map[string]string{"red": "#ff0000", "green": "#00ff00", "blue": "#0000ff"},
		query:  func() { time.Sleep(*latency) },
	})
	db.SetMaxOpenConns(16) // further queries wait, in Await
	return errors.Join(listen(ctx, *addr, *cfg, db, out), db.Close())
}

func listen(ctx context.Context, addr string, cfg zcnet.Config, db *sql.DB, out io.Writer) error {
	cfg.Logger = slog.Default() // gets the stalls: what somebody does without Await
	engine, err := zcnet.NewEngine(ctx, cfg)
	if err != nil {
		return err
	}
	ln, err := engine.Listen(ctx, "tcp", addr)
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	fmt.Fprintf(out, "listening on %v, mode %v\n", ln.Addr(), engine.Mode())
	err = ln.Serve(ctx, func(conn *zcnet.Conn) { // closes conn when this function returns
		// At the end of the program what was received is still answered.
		defer context.AfterFunc(ctx, func() { _ = conn.CloseRead() })()
		if err := answer(conn, db); err != nil {
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

// answer replies to the lines of a connection until the peer ends the stream.
func answer(conn *zcnet.Conn, db *sql.DB) error {
	names := bufio.NewScanner(conn)
	for names.Scan() {
		value, err := zcnet.AwaitValue(func() (string, error) { return lookUp(db, names.Text()) })
		if errors.Is(err, sql.ErrNoRows) {
			value, err = "nothing", nil
		}
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(conn, value); err != nil {
			return err
		}
	}
	return names.Err()
}

// queryTime is how long a query may take.
const queryTime = 10 * time.Second

func lookUp(db *sql.DB, name string) (value string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), queryTime)
	defer cancel()
	err = db.QueryRowContext(ctx, "SELECT value FROM colours WHERE name = ?", name).Scan(&value)
	return value, err
}
