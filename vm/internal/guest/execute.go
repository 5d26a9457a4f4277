//go:build linux

package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/vm/internal/wire"
)

// execute runs the program to its end, sends its output to the host, and returns its exit
// status.
func execute(job *wire.Job, s *subject, sender *wire.Sender) (code int, err error) {
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer stdin.Close()
	// The program writes to pipes: the port cannot be opened twice, and a program that is
	// killed in the middle of a write must not damage a frame.
	var forwarding sync.WaitGroup
	stdout, err := forward(&forwarding, sender.Stream(wire.Stdout))
	if err != nil {
		return 0, err
	}
	defer stdout.Close()
	stderr, err := forward(&forwarding, sender.Stream(wire.Stderr))
	if err != nil {
		return 0, err
	}
	defer stderr.Close()

	// This is not os/exec because process 1 must also wait for orphans. It waits for any
	// child, and would take the status that os/exec waits for.
	pid, err := syscall.ForkExec(job.Path, append([]string{path.Base(job.Path)}, job.Args...), &syscall.ProcAttr{
		Dir:   wire.WorkDir,
		Env:   job.Env,
		Files: []uintptr{stdin.Fd(), stdout.Fd(), stderr.Fd()},
		Sys: &syscall.SysProcAttr{
			Setsid:     true,
			Credential: &syscall.Credential{Uid: uint32(job.UID), Gid: uint32(job.UID)},
		},
	})
	if err != nil {
		return 0, fmt.Errorf("starting %s: %w", job.Path, err)
	}
	s.begin(pid)
	code, err = reap(pid)
	s.end()
	if err != nil {
		return 0, err
	}
	// Processes that the program left behind keep the pipes open: kill them.
	if err := unix.Kill(-1, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return 0, fmt.Errorf("killing what is left: %w", err)
	}
	stdout.Close()
	stderr.Close()
	forwarding.Wait()
	return code, nil
}

// forward returns the writing end of a pipe and copies what is written there to w.
func forward(group *sync.WaitGroup, w io.Writer) (*os.File, error) {
	r, pipe, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	group.Go(func() {
		defer r.Close()
		// Each read is written at once, so that the host sees output as it is made.
		buf := make([]byte, 1<<16)
		for {
			n, err := r.Read(buf)
			if n > 0 {
				if _, err := w.Write(buf[:n]); err != nil {
					return // the host has gone
				}
			}
			if err != nil {
				return
			}
		}
	})
	return pipe, nil
}

// reap waits for children until pid has ended, and returns the exit status of pid.
func reap(pid int) (code int, err error) {
	for {
		var status unix.WaitStatus
		child, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("waiting for the program: %w", err)
		case child != pid:
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}
