package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// limits say when something hangs. Zero means never.
type limits struct {
	test  time.Duration // one test
	lane  time.Duration // the whole command
	grace time.Duration // what is asked where it hangs may take to answer
}

// sample is how often the running tests are looked at.
const sample = 200 * time.Millisecond

// command is a running command.
type command struct {
	*collector
	family

	limits  limits
	cmd     *exec.Cmd
	lines   <-chan string    // of its standard output, closed at its end
	exited  chan error       // how it ended, after the last line
	signals chan os.Signal   // what is sent to lane itself
	ending  bool             // end was called
	work    sync.WaitGroup   // the goroutines that end processes
	gone    chan struct{}    // endAll has done what it can
	giveUp  <-chan time.Time // on the command; nil until gone
}

// runCommand runs argv to its end, feeds the lines of its standard output to parse,
// and returns its exit status. adopter is what adoptOrphans returned.
func runCommand(c *collector, parse func(string), l limits, adopter int, name string, argv []string) (int, error) {
	r := command{
		collector: c, family: family{adopter: adopter}, limits: l,
		exited: make(chan error, 1), gone: make(chan struct{}, 2),
		signals: make(chan os.Signal, 16),
	}
	r.cmd = exec.Command(argv[0], argv[1:]...)
	r.cmd.Env = append(os.Environ(), "ZCRX_LANE="+name)
	r.cmd.Stderr = os.Stderr
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		return 2, err
	}
	// A terminal's interrupt goes to the command as well: let it end first, so
	// that its last words are shown. Caught, not ignored, because a child
	// inherits what is ignored.
	signal.Notify(r.signals, os.Interrupt, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGCHLD)
	defer signal.Stop(r.signals)
	if err := r.cmd.Start(); err != nil {
		return 2, err
	}
	root, _ := processOf(r.cmd.Process.Pid) // it is there: nobody waits for it yet
	r.root = root.id
	r.lines = readLines(stdout)
	return r.follow(parse)
}

// follow does everything in one goroutine, which alone touches the collector. The
// ending of processes takes time, in which they print; that is for goroutines
// that look at processes only.
func (r *command) follow(parse func(string)) (int, error) {
	ticks := time.NewTicker(sample)
	defer ticks.Stop()
	var limit <-chan time.Time
	if r.limits.lane > 0 {
		limit = time.After(r.limits.lane)
	}
	last := time.Now()
	for {
		select {
		case line, ok := <-r.lines:
			if ok {
				parse(line)
				continue
			}
			r.lines = nil
			// Only now: Wait closes the pipe.
			go func() { r.exited <- r.cmd.Wait() }()
		case err := <-r.exited:
			// What ends processes is not cut short: some may have outlived the command.
			r.work.Wait()
			return exitStatus(err)
		case now := <-ticks.C:
			// A longer time is one in which lane itself could not run. That says
			// nothing of the tests.
			dt := min(now.Sub(last), 5*sample)
			last = now
			for _, pkg := range r.overdue(dt, r.limits.test) {
				r.work.Go(func() { r.quitTests(pkg, r.limits.grace) })
			}
		case <-limit:
			r.end(fmt.Sprintf("the lane's limit of %v passed", r.limits.lane), r.limits.grace)
		case s := <-r.signals:
			switch s {
			case syscall.SIGCHLD:
				r.bury()
			case syscall.SIGTERM:
				r.end("the lane was terminated", 0)
			}
		case <-r.gone:
			r.giveUp = time.After(death)
		case <-r.giveUp:
			fmt.Fprintln(r.out, "FAIL  the command did not end when it was killed")
			r.failed++
			return 1, nil
		}
	}
}

// end ends the command, in the background. A second call is for less grace.
func (r *command) end(why string, grace time.Duration) {
	if !r.ending {
		r.ending = true
		r.cutOff(why)
		fmt.Fprintln(r.out, "      What runs, by number, state and where the kernel holds it:")
		for _, p := range r.members() {
			fmt.Fprintln(r.out, "     ", p)
		}
	}
	r.work.Go(func() {
		r.endAll(grace)
		r.gone <- struct{}{}
	})
}

// readLines reads lines, with their ends, until r ends.
func readLines(r io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewReader(r)
		for {
			line, err := in.ReadString('\n')
			if line != "" {
				lines <- line
			}
			if err != nil {
				return
			}
		}
	}()
	return lines
}

// exitStatus turns the outcome of a command into its exit status; a command
// that a signal ended gets 1.
func exitStatus(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}
