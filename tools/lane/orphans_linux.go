package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// adoptOrphans makes every descendant whose parent ends a child of this process,
// so that none can be lost sight of. It returns this process' number, 0 if the
// kernel refuses.
func adoptOrphans() int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0
	}
	return os.Getpid()
}

// bury takes the adopted children that have ended off the list of processes, as
// process 1 would: a test may wait for that. The command's own end is not for it.
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
