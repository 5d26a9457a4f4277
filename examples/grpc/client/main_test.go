package main

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/zcrx-go/zcrx/examples/internal/exampletest"
)

// shuttingDown is a health server that shuts down at the first Watch.
type shuttingDown struct{ *health.Server }

func (s shuttingDown) Watch(in *grpc_health_v1.HealthCheckRequest, stream grpc_health_v1.Health_WatchServer) error {
	if err := stream.Send(&grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}); err != nil {
		return err
	}
	s.Shutdown()
	return s.Server.Watch(in, stream)
}

func TestClient(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	status := shuttingDown{health.NewServer()}
	status.SetServingStatus("example", grpc_health_v1.HealthCheckResponse_SERVING)
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, status)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	out := exampletest.Do(t, run, "-addr", ln.Addr().String())
	assert.Equal(t, "now SERVING\nthen SERVING\nthen NOT_SERVING\n", out)
	server.Stop()
	require.NoError(t, <-served)
}
