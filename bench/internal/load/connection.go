package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// connection is a connection with what is sent over it.
type connection struct {
	net.Conn
	request []byte        // nil for Bulk
	reply   []byte        // what an echo is read into
	http    *bufio.Reader // nil for other workloads
}

// replyTimeout is how long a reply may take. A server that loses a message would otherwise
// hang the run.
const replyTimeout = 30 * time.Second

func dial(ctx context.Context, address string, c scenario.Case) (*connection, error) {
	dialer := net.Dialer{Timeout: replyTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return newConnection(conn, c), nil
}

func newConnection(conn net.Conn, c scenario.Case) *connection {
	switch c.Workload {
	case scenario.Bulk:
		return &connection{Conn: conn}
	case scenario.HTTP:
		return &connection{Conn: conn, request: []byte("GET / HTTP/1.1\r\nHost: bench\r\n\r\n"), http: bufio.NewReader(conn)}
	default:
		return &connection{Conn: conn, request: pattern(c.Size), reply: make([]byte, c.Size)}
	}
}

func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i)
	}
	return p
}

// ask sends message number, which begins with its number if it is long enough.
func (c *connection) ask(number uint64) error {
	if c.http == nil && len(c.request) >= 8 {
		binary.BigEndian.PutUint64(c.request, number)
	}
	_, err := c.Write(c.request)
	return err
}

// awaitReply reads the reply to message number.
func (c *connection) awaitReply(number uint64) error {
	if c.http != nil {
		return readResponse(c.http)
	}
	if _, err := io.ReadFull(c.Conn, c.reply); err != nil {
		return err
	}
	last := len(c.reply) - 1
	if len(c.reply) >= 8 && binary.BigEndian.Uint64(c.reply) != number || len(c.reply) > 8 && c.reply[last] != byte(last) {
		return fmt.Errorf("message %d came back changed", number)
	}
	return nil
}

var contentLength = []byte("Content-Length: ")

// readResponse reads an HTTP/1.1 response with status 200 and a Content-Length.
func readResponse(r *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSuffix(line, []byte("\r\n"))
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("the server replied %q", line)
		}
		if len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, contentLength); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("the server's reply has no Content-Length")
	}
	_, err := r.Discard(length)
	return err
}

// churnDialer returns the dialer of a worker. On loopback each worker has an address, which
// has a range of ports of its own. The kernel chooses the port when it connects, so that ports
// are taken only for this pair of addresses.
func churnDialer(target string, worker int) *net.Dialer {
	d := &net.Dialer{Timeout: replyTimeout}
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		return d // the dialler reports it
	}
	if ip := net.ParseIP(host).To4(); ip == nil || !ip.IsLoopback() {
		return d
	}
	d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+worker%250))}
	d.Control = func(_, _ string, raw syscall.RawConn) error {
		var err error
		if cerr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		}); cerr != nil {
			return cerr
		}
		return err
	}
	return d
}
