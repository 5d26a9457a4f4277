package conn

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/zcrx-go/zcrx/zcnet"
)

// fiberConn is a connection whose reads and writes run in fibers, one for each call, while
// the caller's goroutine waits for them. Deadlines and Close come from the caller's goroutine,
// so that they meet fibers that wait.
type fiberConn struct{ *zcnet.Conn }

func (c fiberConn) Read(p []byte) (int, error) { return c.inFiber((*zcnet.Conn).Read, p) }

func (c fiberConn) Write(p []byte) (int, error) { return c.inFiber((*zcnet.Conn).Write, p) }

func (c fiberConn) inFiber(call func(*zcnet.Conn, []byte) (int, error), p []byte) (n int, err error) {
	ended := make(chan struct{})
	started := c.Go(func(c *zcnet.Conn) {
		defer close(ended)
		n, err = call(c, p)
	})
	if started != nil {
		return 0, started
	}
	<-ended
	return n, err
}

// TestNettestOnFibers runs the conformance test of a net.Conn with every Read and Write in a
// fiber of its own.
func TestNettestOnFibers(t *testing.T) {
	inEachMode(t, func(t *testing.T, e *zcnet.Engine) {
		p := pairings(e)[0]
		nettest.TestConn(t, func() (client, server net.Conn, stop func(), err error) {
			client, server, stop, err = p.pipe()
			if err != nil {
				return nil, nil, nil, err
			}
			return fiberConn{client.(*zcnet.Conn)}, fiberConn{server.(*zcnet.Conn)}, stop, nil
		})
	})
}
