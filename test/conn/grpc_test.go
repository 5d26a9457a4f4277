package conn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/zcrx-go/zcrx/zcnet"
)

// maxMessage is the size limit of a message in bytes; gRPC has 4 MiB by default.
const maxMessage = 8 << 20

// inEachGRPC runs the test in each mode, with and without TLS. Both ends use the engine's
// connections.
func inEachGRPC(t *testing.T, service testpb.TestServiceServer, test func(t *testing.T, conn *grpc.ClientConn)) {
	inEachMode(t, func(t *testing.T, e *zcnet.Engine) {
		tlsServer, tlsClient := tlsConfigs(t)
		for _, c := range []struct {
			name           string
			server, client credentials.TransportCredentials
		}{
			{"plain", insecure.NewCredentials(), insecure.NewCredentials()},
			{"tls", credentials.NewTLS(tlsServer), credentials.NewTLS(tlsClient)},
		} {
			t.Run(c.name, func(t *testing.T) {
				server := grpc.NewServer(grpc.Creds(c.server), grpc.MaxRecvMsgSize(maxMessage))
				testpb.RegisterTestServiceServer(server, service)
				ln := listen(t, e)
				served := make(chan error, 1)
				go func() { served <- server.Serve(ln) }()
				conn, err := grpc.NewClient("passthrough:///"+ln.Addr().String(),
					grpc.WithTransportCredentials(c.client),
					grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
					grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
						return e.DialContext(ctx, "tcp", address)
					}))
				require.NoError(t, err)
				test(t, conn)
				require.NoError(t, conn.Close())
				server.GracefulStop()
				require.NoError(t, <-served)
			})
		}
	})
}

// TestGRPCInterop makes the calls of gRPC's interoperability test that need no account:
// unary and streamed in each direction, cancelled, timed out, with metadata and with errors.
// Package interop ends the test binary if one fails.
func TestGRPCInterop(t *testing.T) {
	inEachGRPC(t, interop.NewTestServer(), func(t *testing.T, conn *grpc.ClientConn) {
		ctx, client := t.Context(), testpb.NewTestServiceClient(conn)
		interop.DoEmptyUnaryCall(ctx, client)
		interop.DoLargeUnaryCall(ctx, client)
		interop.DoClientStreaming(ctx, client)
		interop.DoServerStreaming(ctx, client)
		interop.DoPingPong(ctx, client)
		interop.DoEmptyStream(ctx, client)
		interop.DoTimeoutOnSleepingServer(ctx, client)
		interop.DoCancelAfterBegin(ctx, client)
		interop.DoCancelAfterFirstResponse(ctx, client)
		interop.DoCustomMetadata(ctx, client)
		interop.DoStatusCodeAndMessage(ctx, client)
		interop.DoSpecialStatusMessage(ctx, client)
		interop.DoUnimplementedMethod(ctx, conn)
		interop.DoUnimplementedService(ctx, testpb.NewUnimplementedServiceClient(conn))
	})
}

// echoService replies with what it receives.
type echoService struct {
	testpb.UnimplementedTestServiceServer
}

func (echoService) UnaryCall(_ context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return &testpb.SimpleResponse{Payload: in.GetPayload()}, nil
}

func (echoService) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: in.GetPayload()}); err != nil {
			return err
		}
	}
}

// TestGRPCBigMessages sends messages that need many buffers.
func TestGRPCBigMessages(t *testing.T) {
	inEachGRPC(t, echoService{}, func(t *testing.T, conn *grpc.ClientConn) {
		client := testpb.NewTestServiceClient(conn)
		for i, size := range []int{0, 1, 1 << 20, 5 << 20} {
			want := pattern(uint64(i), size)
			out, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{Payload: &testpb.Payload{Body: want}})
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, out.GetPayload().GetBody()), "%d bytes", size)
		}
	})
}

// TestGRPCManyStreams runs 32 streams at once on a connection and cancels some of them half
// way. The others must get every byte.
func TestGRPCManyStreams(t *testing.T) {
	inEachGRPC(t, echoService{}, func(t *testing.T, conn *grpc.ClientConn) {
		client := testpb.NewTestServiceClient(conn)
		var all sync.WaitGroup
		for i := range 32 {
			all.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				stream, err := client.FullDuplexCall(ctx)
				if !assert.NoError(t, err) {
					return
				}
				for round := range 8 {
					want := pattern(uint64(8*i+round), (i*997+round*8191)%50_000)
					if !assert.NoError(t, stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: want}})) {
						return
					}
					if i%8 == 7 && round == 4 {
						return // cancels the stream before the reply has come
					}
					out, err := stream.Recv()
					if !assert.NoError(t, err) || !assert.True(t, bytes.Equal(want, out.GetPayload().GetBody())) {
						return
					}
				}
				assert.NoError(t, stream.CloseSend())
				_, err = stream.Recv()
				assert.Equal(t, io.EOF, err)
			})
		}
		all.Wait()
	})
}
