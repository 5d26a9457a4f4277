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

// limits are the times after which something is taken to hang. Zero means never.
type limits struct {
	test  time.Duration // of one test
	lane  time.Duration // of the whole command
	grace time.Duration // from SIGQUIT until a process is killed
}

// sample is how often the running tests are checked.
const sample = 200 * time.Millisecond

// command is a running command.
type command struct {
	*collector
	family

	limits  limits
	cmd     *exec.Cmd
	lines   <-chan string    // its standard output; closed at the end
	exited  chan error       // the result of Wait, after the last line
	signals chan os.Signal   // signals to lane itself
	ending  bool             // end was called
	work    sync.WaitGroup   // the goroutines that end processes
	gone    chan struct{}    // endAll has returned
	giveUp  <-chan time.Time // when lane stops waiting for the command; nil until gone
}

// runCommand runs argv to its end, calls parse with each line of its standard output, and
// returns its exit status. adopter is the result of adoptOrphans.
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
	// A terminal sends its interrupt to the command too: lane waits for the command to
	// end, so that it prints the last output. It catches the signal instead of ignoring
	// it because a child would inherit the latter.
	signal.Notify(r.signals, os.Interrupt, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGCHLD)
	defer signal.Stop(r.signals)
	if err := r.cmd.Start(); err != nil {
		return 2, err
	}
	root, _ := processOf(r.cmd.Process.Pid) // it exists, because Wait has not been called
	r.root = root.id
	r.lines = readLines(stdout)
	return r.follow(parse)
}

// follow reads the command's output until it ends and enforces the limits. Only this
// goroutine uses the collector. To end processes takes time, during which they print, so
// other goroutines do that; they use the family only.
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
			// Wait closes the pipe, so it must not be called before the last line.
			go func() { r.exited <- r.cmd.Wait() }()
		case err := <-r.exited:
			// Some processes may have outlived the command: let these goroutines end
			// them.
			r.work.Wait()
			return exitStatus(err)
		case now := <-ticks.C:
			// If more time has passed, lane itself could not run. The tests are not
			// charged for that.
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

// end ends the command, in the background. A second call can shorten the grace.
func (r *command) end(why string, grace time.Duration) {
	if !r.ending {
		r.ending = true
		r.cutOff(why)
		fmt.Fprintln(r.out, "      What runs: process number, state, kernel function that it waits in, command line")
		for _, p := range r.members() {
			fmt.Fprintln(r.out, "     ", p)
		}
	}
	r.work.Go(func() {
		r.endAll(grace)
		r.gone <- struct{}{}
	})
}

// readLines returns a channel of the lines of r, with their newlines. It closes the
// channel at the end of r.
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

// exitStatus returns the exit status in the error of Wait, 1 if a signal ended the
// command.
func exitStatus(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}
