package main

import (
	"context"
	"io"
)

// interruptible returns a reader that ends with ctx, also while r waits, as a terminal or a
// pipe may for ever. r is read from on a goroutine, which may be left waiting.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	return &interruptibleReader{ctx: ctx, reader: r, results: make(chan readResult, 1)}
}

type interruptibleReader struct {
	ctx     context.Context
	reader  io.Reader
	buffer  []byte // of the goroutine while it reads
	results chan readResult
}

type readResult struct {
	n   int
	err error
}

func (r *interruptibleReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if len(r.buffer) < len(p) {
		r.buffer = make([]byte, len(p))
	}
	buffer := r.buffer[:len(p)]
	go func() {
		n, err := r.reader.Read(buffer)
		r.results <- readResult{n, err}
	}()
	select {
	case result := <-r.results:
		return copy(p, buffer[:result.n]), result.err
	case <-r.ctx.Done():
		return 0, r.ctx.Err() // nobody calls Read again
	}
}
