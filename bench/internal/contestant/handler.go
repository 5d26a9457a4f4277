package contestant

import (
	"context"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

func serveHandlers(ctx context.Context, ln *zcnet.Listener, t *traffic) {
	go serveEach(ctx, ln, func(conn *zcnet.Conn) {
		if err := conn.Handle(t.handle); err != nil {
			_ = conn.Close() // the client reports the end of the connection
		}
	})
}

// handle is the Handler. Buffers that wait to be sent count towards the connection's share of
// the pool, so TCP's flow control stops a peer that does not read.
func (t *traffic) handle(conn *zcnet.Conn, buffers []zcrx.Buffer, err error) {
	for _, buf := range buffers {
		t.read(buf.Bytes())
	}
	if err == nil {
		err = t.done(conn, buffers...)
	}
	if err != nil {
		_ = conn.Close() // the engine may have closed it before
	}
}

// done sends the buffers back or drops them, and releases them.
func (t *traffic) done(conn *zcnet.Conn, buffers ...zcrx.Buffer) error {
	if t.echo {
		return conn.Send(buffers...)
	}
	return zcrx.ReleaseAll(buffers)
}
