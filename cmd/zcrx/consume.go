package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

// consumer takes in a connection's bytes: counts them, hashes them, writes them
// out, straight from the leased buffers.
type consumer struct {
	*tally
	out io.Writer // nil: nowhere

	// A slow consumer: delay per buffer, and up to window leases are held back.
	delay  time.Duration
	window int
	held   []zcrx.Buffer // oldest first
}

// batchSize is the largest number of buffers taken at a time: a Conn has no more
// ready.
const batchSize = 32

// consume takes everything up to the end of the stream, and releases every
// buffer. It returns nil if the peer ended the stream in order.
func (c *consumer) consume(ctx context.Context, conn *zcnet.Conn) (err error) {
	take := c.take
	if c.delay > 0 {
		take = c.takeSlowly
		defer func() { err = errors.Join(err, zcrx.ReleaseAll(c.held)) }()
	}
	batch := make([]zcrx.Buffer, batchSize)
	for {
		n, err := conn.RecvBatch(ctx, batch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = take(ctx, batch[:n])
		}
		if err != nil {
			if ctx.Err() != nil && !errors.Is(err, errInterrupted) {
				return errInterrupted
			}
			return err
		}
	}
}

func (c *consumer) take(_ context.Context, batch []zcrx.Buffer) error {
	var err error
	for _, b := range batch {
		if err = c.use(b); err != nil {
			break
		}
	}
	return errors.Join(err, zcrx.ReleaseAll(batch))
}

func (c *consumer) use(b zcrx.Buffer) error {
	data := b.Bytes()
	c.add(data)
	if c.out == nil {
		return nil
	}
	_, err := c.out.Write(data)
	return err
}

// takeSlowly sleeps before every buffer, and gives back the oldest lease only
// when the window is full. consume releases what is held at the end.
func (c *consumer) takeSlowly(ctx context.Context, batch []zcrx.Buffer) error {
	for i, b := range batch {
		err := sleep(ctx, c.delay)
		if err == nil {
			err = c.use(b)
		}
		if err != nil {
			c.held = append(c.held, batch[i:]...)
			return err
		}
		c.held = append(c.held, b)
		if len(c.held) <= c.window {
			continue
		}
		oldest := c.held[0]
		c.held = c.held[1:]
		if err := oldest.Release(); err != nil {
			c.held = append(c.held, batch[i+1:]...)
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
