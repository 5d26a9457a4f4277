package main

import (
	"syscall"
	"time"
)

// Times for processes to end.
const (
	// look is how often lane checks whether they have ended.
	look = 100 * time.Millisecond
	// relay is how long go test and scripts may take to print the tests' last output.
	relay = 2 * time.Second
	// tidy is how long they may take to remove their temporary files after SIGTERM.
	tidy = 2 * time.Second
	// death is how long a killed process may take to end. One that takes longer is
	// stuck in the kernel.
	death = 5 * time.Second
)

// quitTests sends SIGQUIT to the tests of a package. A Go program then prints its
// goroutines and ends, and vmrun has the guest print where it hangs. After grace, quitTests
// kills the tests that still run and everything that they started. It reports whether
// there were any tests.
func (f family) quitTests(pkg string, grace time.Duration) bool {
	tests := f.tests(pkg)
	end := newEnding(f)
	for _, p := range tests {
		end.follow(p)
	}
	end.look() // while the children still have their parents
	for _, p := range tests {
		p.signal(syscall.SIGQUIT)
	}
	for start := time.Now(); time.Since(start) < grace && end.anyAlive(tests); time.Sleep(look) {
		end.look()
	}
	killAll(end.look)
	return len(tests) > 0
}

// endAll calls quitTests for all packages, unless grace is 0, and then ends the whole
// family with SIGTERM and SIGKILL.
func (f family) endAll(grace time.Duration) {
	if grace > 0 && f.quitTests("", grace) {
		time.Sleep(relay)
	}
	for _, p := range f.members() {
		p.signal(syscall.SIGTERM)
	}
	for start := time.Now(); time.Since(start) < tidy && len(f.members()) > 0; {
		time.Sleep(look)
	}
	killAll(f.members)
}

// killAll kills the processes that left returns until there are none, for up to death. It
// repeats because a process may start another before its signal arrives.
func killAll(left func() []process) {
	for start := time.Now(); time.Since(start) < death; time.Sleep(look / 10) {
		now := left()
		if len(now) == 0 {
			return
		}
		for _, p := range now {
			p.signal(syscall.SIGKILL)
		}
	}
}

// ending is the part of a family that quitTests ends: some processes and what they start.
type ending struct {
	family family
	known  map[id]bool
}

func newEnding(f family) *ending { return &ending{family: f, known: make(map[id]bool)} }

func (e *ending) follow(p process) { e.known[p.id] = true }

// look returns the living processes of the part. It must be called often, because it
// recognises a new process by its parent, which an orphan has lost.
func (e *ending) look() []process {
	var part []process
	ids := make(map[int]id)
	for _, p := range e.family.members() { // parents come first
		ids[p.pid] = p.id
		if parent, ok := ids[p.ppid]; ok && e.known[parent] {
			e.known[p.id] = true
		}
		if e.known[p.id] {
			part = append(part, p)
		}
	}
	return part
}

func (e *ending) anyAlive(which []process) bool {
	now := make(map[id]bool)
	for _, p := range e.look() {
		now[p.id] = true
	}
	for _, p := range which {
		if now[p.id] {
			return true
		}
	}
	return false
}
