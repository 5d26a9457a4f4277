// Command httpclient gets a URL with net/http's client over the library's connections, and
// prints the body of the response.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
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
		slog.Error("httpclient", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("httpclient", flag.ExitOnError)
	url := flags.String("url", "http://127.0.0.1:8080/", "`URL` to get")
	cfg := options.Engine(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	engine, err := zcnet.NewEngine(ctx, *cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()

	transport := &http.Transport{DialContext: engine.DialContext, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, *url, http.NoBody)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", *url, answer.Status)
	}
	_, err = io.Copy(out, answer.Body)
	return err
}
