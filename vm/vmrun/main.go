//go:build linux

// Vmrun runs a statically linked program on a Debian kernel in a virtual machine and exits
// with the program's status.
//
//	vmrun [FLAGS] PROGRAM [ARGUMENTS...]
//	go test -exec "vmrun --kernel 6.18" ./...
//
// It must be built with CGO_ENABLED=0, because it is also the guest's init. Each flag has an
// environment variable (see vmrun -h), for use with go test -exec vmrun. If the working
// directory has a folder testdata, it is copied into the guest. Profiles that a test binary
// writes are copied back.
//
// After the timeout and on SIGQUIT, the guest first writes to standard error where the
// program hangs: what each thread waits for in the kernel, the blocked tasks, and the
// goroutines of a Go program. That takes 20 s at most.
//
// Exit status: the program's; 128 plus the signal's number if a signal ended the program or
// vmrun; 124 after the timeout; 125 if vmrun or the guest failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/zcrx-go/zcrx/vm"
)

// Exit statuses that are not the program's.
const (
	statusTimeout = 124
	statusFailure = 125
	statusSignal  = 128
)

func main() {
	vm.GuestInit()
	os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

func run(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := parse(args, getenv, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "vmrun:", err)
		return statusFailure
	}
	ctx, quit, stop := withSignals(context.Background())
	defer stop()
	o.config.Quit = quit

	var status int
	switch {
	case o.fetchOnly || o.printPackage:
		signal.Reset(syscall.SIGQUIT) // no guest: let the Go runtime print this program's goroutines
		err = fetch(ctx, o, stdout)
	default:
		o.config.Stdout, o.config.Stderr = stdout, stderr
		o.config.Notices = prefixed{stderr}
		if !o.quiet {
			o.config.Console = stderr
		}
		status, err = vm.Run(ctx, o.config)
	}
	var caught caughtSignal
	switch {
	case err == nil:
		return status
	case errors.As(err, &caught):
		fmt.Fprintln(stderr, "vmrun:", err)
		return statusSignal + int(caught.Signal)
	case errors.Is(err, vm.ErrQuit):
		fmt.Fprintln(stderr, "vmrun:", err)
		return statusSignal + int(syscall.SIGQUIT)
	case errors.Is(err, vm.ErrTimeout):
		fmt.Fprintln(stderr, "vmrun:", err)
		return statusTimeout
	default:
		fmt.Fprintln(stderr, "vmrun:", err)
		return statusFailure
	}
}

func fetch(ctx context.Context, o options, stdout io.Writer) error {
	kernel, err := vm.FetchKernel(ctx, o.config.Kernel, o.config.Update)
	if err != nil {
		return err
	}
	if o.printPackage {
		_, err = fmt.Fprintln(stdout, kernel.Package)
		return err
	}
	_, err = fmt.Fprintf(stdout, "release %s\nversion %s\nimage %s\npackage %s\n",
		kernel.Release, kernel.Version, kernel.Image, kernel.Package)
	return err
}

// caughtSignal is why a run was stopped.
type caughtSignal struct{ syscall.Signal }

func (s caughtSignal) Error() string { return "signal: " + s.String() }

// withSignals returns a context that SIGINT, SIGTERM and SIGHUP cancel, and a channel that
// SIGQUIT closes. go test sends SIGQUIT to a test that takes too long, and so does tools/lane.
func withSignals(parent context.Context) (context.Context, <-chan struct{}, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	quit := make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	go func() {
		asked := false
		for {
			select {
			case s := <-signals:
				number, ok := s.(syscall.Signal)
				switch {
				case ok && number != syscall.SIGQUIT:
					cancel(caughtSignal{number})
				case !asked:
					asked = true
					close(quit)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, quit, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// prefixed writes "vmrun: " before each notice.
type prefixed struct{ w io.Writer }

func (p prefixed) Write(b []byte) (int, error) {
	if _, err := fmt.Fprintf(p.w, "vmrun: %s", b); err != nil {
		return 0, err
	}
	return len(b), nil
}
