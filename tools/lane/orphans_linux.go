package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// adoptOrphans makes this process the parent of every descendant whose own parent ends,
// so that lane finds them all. It returns this process's number, 0 if the kernel refuses.
func adoptOrphans() int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0
	}
	return os.Getpid()
}

// bury waits for the adopted children that have ended, as process 1 would: a test may
// poll until such a process has gone. It leaves the command itself to exec.Cmd.Wait.
func (f family) bury() {
	if f.adopter == 0 {
		return
	}
	for pid, p := range processes() {
		if p.ppid != f.adopter || p.alive() || p.id == f.root {
			continue
		}
		for {
			_, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
	}
}
