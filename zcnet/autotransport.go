package zcnet

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/zcrx-go/zcrx"
)

// autoTransport is the transport of mode Auto where nothing is received without a copy. Then
// a goroutine that reads is best served by Go's poller, which wakes it without a hop over a
// loop's thread; a fiber or a Handler, by the ring. Which of them a connection gets is not
// known when it is opened: it begins as a plain socket, and goes to a loop when it gets a
// Handler or a fiber (Conn.useRing).
type autoTransport struct {
	*ringTransport
	plain *plainTransport
}

func newAutoTransport(ring *ringTransport, cfg *Config) (*autoTransport, error) {
	plain, err := newPlainTransport(cfg)
	if err != nil {
		return nil, err
	}
	plain.tally = &ring.tally
	return &autoTransport{ring, plain}, nil
}

func (t *autoTransport) socketPool() *zcrx.SocketPool { return t.plain.pool }

func (t *autoTransport) addStats(s *EngineStats) {
	t.ringTransport.addStats(s)
	s.Socket = t.plain.pool.Stats()
}

// open leaves the connection to Go's poller, unless a fiber has dialled it.
func (t *autoTransport) open(conn *net.TCPConn, queue int) (socket, error) {
	if currentFiber() != nil {
		return t.ringTransport.open(conn, queue)
	}
	s, err := t.plain.newSocket(conn)
	if err != nil {
		return nil, err
	}
	return &undecidedSocket{s, t.ringTransport}, nil
}

func (t *autoTransport) listen(ln *net.TCPListener) (acceptor, error) {
	ring, err := t.ringTransport.listen(ln)
	if err != nil {
		return nil, err
	}
	return &autoAcceptor{ring, ln, t}, nil
}

// autoAcceptor accepts on the loops for Serve, and through Go's poller for AcceptConn.
type autoAcceptor struct {
	acceptor
	ln        *net.TCPListener
	transport *autoTransport
}

func (a *autoAcceptor) accept() (arrival, error) { return acceptPlain(a.ln, a.transport) }

// undecidedSocket is a plainSocket that can go to a loop.
type undecidedSocket struct {
	*plainSocket
	ring *ringTransport
}

// close closes the socket. It returns nil if useRing is closing it, which then closes the ring's
// socket too.
func (s *undecidedSocket) close(closed func()) error {
	if err := s.plainSocket.close(closed); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// useRing moves an undecided connection to a loop: it gets a Handler or a fiber. The caller
// has the reading turn.
func (c *Conn) useRing() error {
	s, undecided := c.socket().(*undecidedSocket)
	if !undecided {
		return nil
	}
	if err := c.writing.enter(context.Background(), &noLimit, c.closed, nil); err != nil {
		return err
	}
	defer c.writing.leave()
	if blocksLoop() && currentFiber() == nil {
		return ErrWouldBlock
	}
	ring, err := s.ring.open(s.TCPConn, -1)
	if err != nil {
		if errors.Is(err, net.ErrClosed) {
			return zcrx.ErrClosed
		}
		return err
	}
	c.setSocket(ring)
	_ = s.receiver.Close() // of which the socket is closed already: it ends its watch and its share
	if c.writeLimit.isSet() {
		_ = ring.setWriteDeadline(time.Now()) // it only matters that there is one
	}
	if c.closing.Load() { // Close may have closed the plain socket only
		_ = ring.close(func() {})
		return zcrx.ErrClosed
	}
	return nil
}
