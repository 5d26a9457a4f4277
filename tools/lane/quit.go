package main

import (
	"syscall"
	"time"
)

// Pauses of ending processes.
const (
	// look is how often the processes are looked at while they end.
	look = 100 * time.Millisecond
	// relay is what go test and scripts get to print what the tests said last.
	relay = 2 * time.Second
	// tidy is what they get to remove their temporary files.
	tidy = 2 * time.Second
	// death is what a killed process gets to go: more only helps one that the
	// kernel does not let go.
	death = 5 * time.Second
)

// quitTests asks the tests of a package where they hang: SIGQUIT makes a Go
// program print its goroutines and end, and vmrun ask the guest. What does not
// end within grace is killed, and so is what it started. It returns whether
// there were any.
func (f family) quitTests(pkg string, grace time.Duration) bool {
	tests := f.tests(pkg)
	end := newEnding(f)
	for _, p := range tests {
		end.follow(p)
	}
	end.look() // before the first of them can leave its children
	for _, p := range tests {
		p.signal(syscall.SIGQUIT)
	}
	for start := time.Now(); time.Since(start) < grace && end.anyAlive(tests); time.Sleep(look) {
		end.look()
	}
	killAll(end.look)
	return len(tests) > 0
}

// endAll does that to all tests, and then ends the whole family. With no grace
// nobody is asked.
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

// killAll kills until nothing is left: between a look and a signal a process may
// start another.
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

// ending is a part of a family that is being ended.
type ending struct {
	family family
	known  map[id]bool
}

func newEnding(f family) *ending { return &ending{family: f, known: make(map[id]bool)} }

func (e *ending) follow(p process) { e.known[p.id] = true }

// look returns the members of the part that are alive. It learns of new children
// while their parents live: an orphan's descent cannot be seen any more.
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
