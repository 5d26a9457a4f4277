package contestant

import (
	"context"
	"errors"
	"sync"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

func serveHandlers(ctx context.Context, ln *zcnet.Listener, t *traffic) {
	go serveEach(ctx, ln, func(conn *zcnet.Conn) {
		h := t.drop
		if t.echo {
			h = (&echoer{traffic: t}).handle
		}
		if err := conn.Handle(h); err != nil {
			_ = conn.Close() // the client reports the end of the connection
		}
	})
}

// drop is the Handler that reads bytes and sends nothing.
func (t *traffic) drop(conn *zcnet.Conn, buffers []zcrx.Buffer, err error) {
	for _, buf := range buffers {
		t.read(buf.Bytes())
	}
	_ = zcrx.ReleaseAll(buffers) // cannot fail: this is the only Release
	if err != nil {
		_ = conn.Close() // the engine may have closed it before
	}
}

// echoer is the state of a connection whose Handler sends back what it gets.
type echoer struct {
	*traffic
	mu      sync.Mutex    // guards the fields below
	waiting []zcrx.Buffer // what the socket had no room for
	done    int           // bytes of the first of these that are written
	writing bool          // writeRest runs
	ended   bool          // no more buffers will come
}

// handle is the Handler. On a loop Write does not wait: what it does not take is left to a
// goroutine.
func (e *echoer) handle(conn *zcnet.Conn, buffers []zcrx.Buffer, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = err != nil
	for i, buf := range buffers {
		p := buf.Bytes()
		e.read(p)
		if e.writing {
			e.waiting = append(e.waiting, buf)
			continue
		}
		n, err := conn.Write(p)
		if errors.Is(err, zcnet.ErrWouldBlock) {
			e.waiting, e.done, e.writing = append(e.waiting, buf), n, true
			go e.writeRest(conn)
			continue
		}
		_ = buf.Release() // cannot fail: this is the only Release
		if err != nil {
			_ = zcrx.ReleaseAll(buffers[i+1:])
			e.ended = true
			break
		}
	}
	if e.ended && !e.writing {
		_ = conn.Close() // the engine may have closed it before
	}
}

// writeRest writes the waiting buffers. It does not hold mu while it writes, because handle
// locks mu on the loop.
func (e *echoer) writeRest(conn *zcnet.Conn) {
	e.mu.Lock()
	for len(e.waiting) > 0 && !e.ended {
		first, done := e.waiting[0], e.done
		e.mu.Unlock()
		_, err := conn.Write(first.Bytes()[done:])
		_ = first.Release() // cannot fail: this is the only Release
		e.mu.Lock()
		e.waiting, e.done = e.waiting[1:], 0
		if err != nil {
			e.ended = true
		}
	}
	_ = zcrx.ReleaseAll(e.waiting)
	e.waiting, e.writing = nil, false
	ended := e.ended
	e.mu.Unlock()
	if ended {
		_ = conn.Close() // the engine may have closed it before
	}
}
