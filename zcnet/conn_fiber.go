package zcnet

import (
	"context"
	"slices"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/sys"
)

// recvForFiber receives on a goroutine, while the fiber waits. If the fiber's engine is closed
// meanwhile, which may be another one than the connection's, the goroutine must not read on: it
// would take bytes from the next reader. So the fiber interrupts it and keeps the reading turn
// until it has returned. What it took goes into the inbox.
func (c *Conn) recvForFiber(ctx context.Context, f *fiber, dst []zcrx.Buffer) (int, error) {
	ctx, interrupt := context.WithCancel(ctx)
	defer interrupt()
	s := c.socket()
	var one [1]zcrx.Buffer
	var n int
	var err error
	returned, awaited := make(chan struct{}), false
	defer func() {
		if !awaited {
			interrupt()
			<-returned // at once, though this blocks the loop: recv only waits for what ctx ends
			c.inbox.put(one[:n])
		}
	}()
	f.await(func() {
		defer close(returned)
		n, err = s.recv(ctx, one[:], &c.readLimit)
	})
	awaited = true
	return copy(dst, one[:n]), err
}

// sendForFiber sends v, the bytes of leased if there are any, on a goroutine while the fiber
// waits, and releases leased. If the fiber's engine is closed meanwhile, which may be another one
// than the connection's, it resets the connection: the goroutine must not send the fiber's memory
// any longer, nor in between the next writer's bytes.
func sendForFiber(f *fiber, s socket, v [][]byte, leased []zcrx.Buffer, limit *deadline) (int, error) {
	awaited := false
	defer func() {
		if !awaited {
			_ = s.control(func(fd uintptr) { sys.ResetConn(int(fd)) })
		}
	}()
	v, leased = slices.Clone(v), slices.Clone(leased) // the lists are the turn's, which may end before
	n, err := awaitValue(f, func() (int, error) {
		n, err := s.sendHere(v, limit)
		if released := zcrx.ReleaseAll(leased); err == nil {
			err = released
		}
		return n, err
	})
	awaited = true
	return n, err
}
