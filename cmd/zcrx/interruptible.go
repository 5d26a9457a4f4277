package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// interruptible returns a reader that ends with ctx, also while r waits, as a terminal or a
// pipe may for ever. r is read from on a goroutine, which may be left waiting.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	return &interruptibleReader{ctx: ctx, reader: r, results: make(chan ioResult, 1)}
}

type interruptibleReader struct {
	ctx     context.Context
	reader  io.Reader
	buffer  []byte // of the goroutine while it reads
	results chan ioResult
}

type ioResult struct {
	n   int
	err error
}

func (r *interruptibleReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	if len(r.buffer) < len(p) {
		r.buffer = make([]byte, len(p))
	}
	buffer := r.buffer[:len(p)]
	go func() {
		n, err := r.reader.Read(buffer)
		r.results <- ioResult{n, err}
	}()
	select {
	case result := <-r.results:
		return copy(p, buffer[:result.n]), result.err
	case <-r.ctx.Done():
		return 0, context.Cause(r.ctx) // nobody calls Read again
	}
}

// interruptibleWriter is a writer that ends with ctx, also while w waits, as a pipe that
// nobody reads may for ever. w is written to on a goroutine, which may be left waiting.
type interruptibleWriter struct {
	ctx      context.Context
	w        io.Writer
	patience time.Duration // that w has after the end of ctx: it may only be slow
	buffer   []byte        // of the goroutine while it writes
	results  chan ioResult
	stuck    error // of the Write that was given up
}

// outputPatience is the patience with what the command writes to.
const outputPatience = time.Second

func newInterruptibleWriter(ctx context.Context, w io.Writer) *interruptibleWriter {
	return &interruptibleWriter{ctx: ctx, w: w, patience: outputPatience, results: make(chan ioResult, 1)}
}

// Write returns an error that tells how many bytes may be lost, if it gives up.
func (w *interruptibleWriter) Write(p []byte) (int, error) {
	if w.stuck != nil {
		return 0, w.stuck
	}
	w.buffer = append(w.buffer[:0], p...)
	go func() {
		n, err := w.w.Write(w.buffer)
		w.results <- ioResult{n, err}
	}()
	select {
	case result := <-w.results:
		return result.n, result.err
	case <-w.ctx.Done():
	}
	select {
	case result := <-w.results:
		return result.n, result.err
	case <-time.After(w.patience):
		w.stuck = fmt.Errorf("%w: nothing takes the output, whose last %d bytes were not written", errInterrupted, len(p))
		return 0, w.stuck
	}
}

// openFile opens a file, and ends with ctx also while it waits, as for the other end of a
// named pipe. After a second it tells on notes that it waits.
func openFile(ctx context.Context, name string, flags int, notes io.Writer) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	results := make(chan result, 1)
	go func() {
		f, err := os.OpenFile(name, flags, 0o666)
		results <- result{f, err}
	}()
	waiting := time.After(time.Second)
	for {
		select {
		case r := <-results:
			return r.f, r.err
		case <-waiting:
			fmt.Fprintf(notes, "zcrx: waiting for the other end of %s to be opened\n", name)
		case <-ctx.Done():
			go func() {
				if r := <-results; r.err == nil {
					_ = r.f.Close() // nothing was written
				}
			}()
			return nil, fmt.Errorf("open %s: %w", name, errInterrupted)
		}
	}
}
