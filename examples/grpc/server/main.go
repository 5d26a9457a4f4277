// Command server is a gRPC server over the library's connections, with gRPC's health service.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/zcrx-go/zcrx/examples/internal/options"
	"github.com/zcrx-go/zcrx/zcnet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		slog.Error("server", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:50051", "`ADDRESS` to listen on")
	cfg := options.Engine(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	ln, err := zcnet.Listen(ctx, "tcp", *addr, *cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "listening on %v, mode %v\n", ln.Addr(), ln.Engine().Mode())

	status := health.NewServer()
	status.SetServingStatus("example", grpc_health_v1.HealthCheckResponse_SERVING)
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, status)
	defer context.AfterFunc(ctx, func() {
		status.Shutdown() // ends the Watch calls, for which GracefulStop would wait
		server.GracefulStop()
	})()
	return server.Serve(ln) // closes ln
}
