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
	// ErrTimeout is that of a run that took longer than [Config].Timeout.
	ErrTimeout = errors.New("timeout")
	// ErrQuit is that of a run that [Config].Quit ended.
	ErrQuit = errors.New("asked to quit")
)

// staticRemedy says how to link a program for the guest.
const staticRemedy = "link it statically (CGO_ENABLED=0, or with cgo " +
	"-tags netgo,osusergo -ldflags '-linkmode external -extldflags -static')"

// Run runs a program in a new virtual machine and returns its exit status, 128
// plus the signal's number if a signal ended it. An error means that the status
// is not known: the program could not be run, the guest's kernel died, the
// timeout ([ErrTimeout]), c.Quit ([ErrQuit]) or ctx ended it. Run may be called by
// several goroutines at once. It leaves no process behind.
//
// At the timeout and on c.Quit the guest is first asked where the program hangs.
// What it tells comes out on c.Stderr: what each thread waits for in the kernel,
// the blocked tasks, and, if the program is a Go program, its goroutines.
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
	// Whatever can be found wrong is found before the boot.
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

// prepare finds and fetches what a machine is made of, with its files in dir. There
// is no guest to ask yet: c.Quit ends it at once.
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

// boot is one run of a machine.
func boot(ctx context.Context, c Config, s spec, job wire.Job, files []File) (int, error) {
	m, err := s.start(newConsole(c.Console))
	if err != nil {
		return 0, err
	}
	defer m.stop()
	defer context.AfterFunc(ctx, m.kill)()

	var sendErr error // to be read after sent
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		sendErr = sendJob(m.port, job, files)
		if errors.Is(sendErr, syscall.EPIPE) || errors.Is(sendErr, syscall.ECONNRESET) || errors.Is(sendErr, net.ErrClosed) {
			sendErr = nil // the guest has gone, which others report
		}
		if sendErr != nil {
			m.kill() // the guest would wait for the rest for ever
		}
	}()
	followed := make(chan struct{})
	asked := make(chan error, 1) // why, before the guest is asked where it hangs
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
	// Either a file could not be read here, or the guest died by itself.
	<-sent
	if sendErr != nil {
		return 0, fmt.Errorf("sending the files to the guest: %w", sendErr)
	}
	return 0, m.died()
}

// askWhenLate waits for the timeout or for c.Quit and then asks the guest where the
// program hangs, which ends the program. If that ends nothing the guest is dead, and
// the machine is ended. It is to be run in the background until followed is closed;
// only one of it and the sender of the job writes to the port at a time.
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
	// The end of the machine ends both waits and the write.
	defer time.AfterFunc(wire.WherePatience, m.kill).Stop()
	<-sent
	_, _ = io.WriteString(m.port, wire.Where) // a guest that has gone is what follow sees
	<-followed
}

// late returns the error of a run that was ended. The console only helps with a
// guest that did not react to the question.
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

// errGone is the end of the port before the last frame.
var errGone = errors.New("the guest has gone")

// follow reads frames until the last one.
func follow(port io.Reader, c Config) (exit wire.Exit, err error) {
	outputs, done := receiveInBackground(c.Outputs)
	defer func() {
		// Without the last frame the archive is cut off, which is no news.
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

// receiveInBackground unpacks what is written to the pipe.
func receiveInBackground(outputs []Output) (*io.PipeWriter, <-chan error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := receiveOutputs(r, outputs)
		if err == nil {
			// The padding after the archive must go somewhere too.
			_, err = io.Copy(io.Discard, r)
		}
		_ = r.CloseWithError(err)
		done <- err
	}()
	return w, done
}

// warn remarks that the guest's kernel complained of itself. The program's
// status stands: it may have nothing to do with it.
func warn(notices io.Writer, taint uint64, console *console) {
	// Documentation/admin-guide/tainted-kernels.rst. A soft lock-up does not
	// count: a busy host makes them.
	const died, warned = 1 << 7, 1 << 9
	if taint&(died|warned) != 0 {
		fmt.Fprintf(notices, "the guest's kernel reported a fault of its own (taint %d)%s\n",
			taint, console.tail())
	}
}
