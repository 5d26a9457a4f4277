package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx/vm/internal/wire"
)

// Errors of runs that did not end by themselves.
var (
	// ErrTimeout matches the error of a run that took longer than [Config].Timeout.
	ErrTimeout = errors.New("timeout")
	// ErrQuit matches the error of a run that [Config].Quit ended.
	ErrQuit = errors.New("asked to quit")
)

// staticRemedy tells how to link a program for the guest.
const staticRemedy = "link it statically (CGO_ENABLED=0, or with cgo " +
	"-tags netgo,osusergo -ldflags '-linkmode external -extldflags -static')"

// Run runs a program in a new virtual machine and returns its exit status, or 128 plus the
// signal's number if a signal ended it. It returns an error if the exit status is not known:
// the program could not be started, the guest's kernel died, or the timeout ([ErrTimeout]),
// c.Quit ([ErrQuit]) or ctx ended the run. Run may be called by several goroutines at once.
// When it returns, all its processes have ended.
//
// At the timeout and on c.Quit the guest first writes to c.Stderr where the program hangs:
// what each thread waits for in the kernel, the blocked tasks and, of a Go program, the
// goroutines.
func Run(ctx context.Context, c Config) (exitCode int, err error) {
	c, err = c.withDefaults()
	if err != nil {
		return 0, err
	}
	if c.Init == "" {
		if c.Init, err = os.Executable(); err != nil {
			return 0, err
		}
	}
	// Check as much as possible before the boot.
	if err := checkStatic(c.Program, staticRemedy); err != nil {
		return 0, err
	}
	if err := checkStatic(c.Init, "this is to be the guest's init: build it with CGO_ENABLED=0"); err != nil {
		return 0, err
	}
	job, files := c.job()
	for _, file := range files {
		if _, err := os.Stat(file.Host); err != nil {
			return 0, fmt.Errorf("for the guest: %w", err)
		}
	}
	dir, err := os.MkdirTemp("", "vmrun-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	s, err := prepare(ctx, c, dir)
	if err != nil {
		return 0, err
	}
	return boot(ctx, c, s, job, files)
}

// prepare finds QEMU, fetches the kernel and writes the initramfs to dir. c.Quit ends it at
// once, because there is no guest yet.
func prepare(ctx context.Context, c Config, dir string) (s spec, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-c.Quit:
			cancel(ErrQuit)
		case <-ctx.Done():
		}
	}()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), ErrQuit) {
			err = fmt.Errorf("%w before the boot (%w)", ErrQuit, err)
		}
	}()
	qemu, err := findQEMU()
	if err != nil {
		return s, err
	}
	kernel, err := fetchKernel(ctx, c.Kernel, c.Update, c.Notices)
	if err != nil {
		return s, err
	}
	initramfs := filepath.Join(dir, "initramfs")
	if err := writeInitramfs(initramfs, c.Init, kernel.Modules); err != nil {
		return s, err
	}
	s = spec{
		qemu: qemu, image: kernel.Image, initramfs: initramfs,
		accel: c.Accel, thread: c.TCGThread,
		memory: c.Memory, cpus: c.CPUs, extra: c.Append,
	}
	if s.accel, err = chooseAccel(ctx, s, c.Notices); err != nil {
		return s, err
	}
	s.thread, err = chooseThread(ctx, s)
	return s, err
}

// boot runs a machine to its end and returns the program's exit status.
func boot(ctx context.Context, c Config, s spec, job wire.Job, files []File) (int, error) {
	m, err := s.start(newConsole(c.Console))
	if err != nil {
		return 0, err
	}
	defer m.stop()
	defer context.AfterFunc(ctx, m.kill)()

	var sendErr error // may be read after sent is closed
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		sendErr = sendJob(m.port, job, files)
		if errors.Is(sendErr, syscall.EPIPE) || errors.Is(sendErr, syscall.ECONNRESET) || errors.Is(sendErr, net.ErrClosed) {
			sendErr = nil // the guest has ended, which follow reports
		}
		if sendErr != nil {
			m.kill() // else the guest would wait for the rest
		}
	}()
	followed := make(chan struct{})
	asked := make(chan error, 1) // gets the reason before the guest is asked where it hangs
	go m.askWhenLate(c, sent, followed, asked)
	exit, err := follow(m.port, c)
	close(followed)
	if err != nil && ctx.Err() != nil {
		return 0, fmt.Errorf("the guest was stopped: %w", context.Cause(ctx))
	}
	select {
	case why := <-asked:
		return 0, late(c, why, m.console, err == nil)
	default:
	}
	switch {
	case err == nil && exit.Error != "":
		return 0, fmt.Errorf("in the guest: %s", exit.Error)
	case err == nil:
		warn(c.Notices, exit.Taint, m.console)
		return exit.Code, nil
	case !errors.Is(err, errGone):
		return 0, err
	}
	// Either a file could not be read on the host, or the guest died by itself.
	<-sent
	if sendErr != nil {
		return 0, fmt.Errorf("sending the files to the guest: %w", sendErr)
	}
	return 0, m.died()
}

// askWhenLate waits for the timeout or for c.Quit. Then it asks the guest where the program
// hangs, after which the guest ends the program. If the guest does not end within
// wire.WherePatience, it kills QEMU. It returns when followed is closed. It writes to the
// port only after sent is closed.
func (m *machine) askWhenLate(c Config, sent, followed <-chan struct{}, asked chan<- error) {
	timeout := time.NewTimer(c.Timeout)
	defer timeout.Stop()
	select {
	case <-timeout.C:
		asked <- ErrTimeout
	case <-c.Quit:
		asked <- ErrQuit
	case <-followed:
		return
	}
	// The end of QEMU ends both waits and the write.
	defer time.AfterFunc(wire.WherePatience, m.kill).Stop()
	<-sent
	_, _ = io.WriteString(m.port, wire.Where) // if the guest has ended, follow reports it
	<-followed
}

// late returns the error of a run that the timeout or c.Quit ended. It has the console's last
// lines if the guest did not react.
func late(c Config, why error, console *console, reacted bool) error {
	what := "the guest was ended"
	if errors.Is(why, ErrTimeout) {
		what = fmt.Sprintf("the guest did not end within %v", c.Timeout)
	}
	if reacted {
		return fmt.Errorf("%s: %w", what, why)
	}
	return fmt.Errorf("%s, and it did not react when it was asked where it hangs: %w%s", what, why, console.tail())
}

// errGone is the error of follow if the port ended before the last frame.
var errGone = errors.New("the guest has gone")

// follow reads the guest's frames until the last one, and returns what that has.
func follow(port io.Reader, c Config) (exit wire.Exit, err error) {
	outputs, done := receiveInBackground(c.Outputs)
	defer func() {
		// Without the last frame the archive is cut off: then err says why.
		_ = outputs.CloseWithError(io.EOF)
		if received := <-done; err == nil && exit.Error == "" {
			err = received
		}
	}()
	frames := bufio.NewReaderSize(port, 1<<16)
	for {
		kind, payload, err := wire.Receive(frames)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
			return exit, errGone
		case err != nil:
			return exit, fmt.Errorf("listening to the guest: %w", err)
		}
		switch kind {
		case wire.Ready:
		case wire.Stdout:
			_, err = c.Stdout.Write(payload)
		case wire.Stderr:
			_, err = c.Stderr.Write(payload)
		case wire.Output:
			_, err = outputs.Write(payload)
		case wire.End:
			err = json.Unmarshal(payload, &exit)
			return exit, err
		default:
			err = fmt.Errorf("the guest sent a frame of the unknown kind %q", kind)
		}
		if err != nil {
			return exit, err
		}
	}
}

// receiveInBackground unpacks the archive that is written to the pipe, and sends the result
// to the channel after the pipe is closed.
func receiveInBackground(outputs []Output) (*io.PipeWriter, <-chan error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := receiveOutputs(r, outputs)
		if err == nil {
			// Read the padding after the archive, so that its writer does not block.
			_, err = io.Copy(io.Discard, r)
		}
		_ = r.CloseWithError(err)
		done <- err
	}()
	return w, done
}

// warn prints a notice if the guest's kernel has printed a warning or died. That does not
// change the program's exit status, because the program need not be the cause.
func warn(notices io.Writer, taint uint64, console *console) {
	// Documentation/admin-guide/tainted-kernels.rst. A soft lock-up is left out, because
	// a busy host causes them.
	const died, warned = 1 << 7, 1 << 9
	if taint&(died|warned) != 0 {
		fmt.Fprintf(notices, "the guest's kernel reported a fault of its own (taint %d)%s\n",
			taint, console.tail())
	}
}
