// Command client is a gRPC client over the library's connections. It asks a server's health
// service for a status, and then watches the status until it is no longer SERVING.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/zcrx-go/zcrx/examples/internal/options"
	"github.com/zcrx-go/zcrx/zcnet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		slog.Error("client", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("client", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:50051", "`ADDRESS` of the server")
	service := flags.String("service", "example", "`SERVICE` to ask for")
	cfg := options.Engine(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	engine, err := zcnet.NewEngine(ctx, *cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	conn, err := grpc.NewClient("passthrough:///"+*addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return engine.DialContext(ctx, "tcp", address)
		}))
	if err != nil {
		return err
	}
	defer conn.Close()

	client := grpc_health_v1.NewHealthClient(conn)
	request := &grpc_health_v1.HealthCheckRequest{Service: *service}
	now, err := client.Check(ctx, request)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "now", now.GetStatus())
	stream, err := client.Watch(ctx, request)
	if err != nil {
		return err
	}
	for {
		next, err := stream.Recv()
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "then", next.GetStatus())
		if next.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			return nil
		}
	}
}
