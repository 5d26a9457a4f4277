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

// execute runs the program to its end and forwards what it prints.
func execute(job *wire.Job, s *subject, sender *wire.Sender) (code int, err error) {
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer stdin.Close()
	// Pipes between program and port: the port cannot be opened twice, and a
	// program that is killed in the middle of a write cannot garble a frame.
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

	// Not os/exec: as process 1 this one also reaps orphans, and its wait for
	// any child would take the status away from under os/exec.
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
	// What the program left behind holds the pipes open.
	if err := unix.Kill(-1, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return 0, fmt.Errorf("killing what is left: %w", err)
	}
	stdout.Close()
	stderr.Close()
	forwarding.Wait()
	return code, nil
}

// forward returns the writing end of a pipe whose bytes go to w.
func forward(group *sync.WaitGroup, w io.Writer) (*os.File, error) {
	r, pipe, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	group.Go(func() {
		defer r.Close()
		// Plain reads and writes, each forwarded at once: output is live.
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

// reap waits for children until it is the turn of pid.
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
