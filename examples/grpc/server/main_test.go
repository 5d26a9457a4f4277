package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/zcrx-go/zcrx/examples/internal/exampletest"
)

func TestServer(t *testing.T) {
	address := exampletest.Serve(t, run)
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)
	answer, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "example"})
	require.NoError(t, err)
	assert.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, answer.GetStatus())
	_, err = client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "another"})
	assert.Equal(t, codes.NotFound, status.Code(err))
}
