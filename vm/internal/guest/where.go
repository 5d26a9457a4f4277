//go:build linux

package guest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/vm/internal/wire"
)

// How long the two parts of the reply to wire.Where may take. Their sum is less than the host
// waits ([wire.WherePatience]). Under emulation the view takes a tenth of a second, and a
// dump of a thousand goroutines takes a second.
const (
	// viewPatience is how long the kernel's view may take.
	viewPatience = 6 * time.Second
	// quitPatience is how long the program may take to print its goroutines.
	quitPatience = 10 * time.Second
)

// subject is the program whose state where writes.
type subject struct {
	mu    sync.Mutex
	pid   int // 0 until it runs
	ended bool
}

func (s *subject) begin(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pid = pid
}

func (s *subject) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// kill sends a signal to the program if it runs, and reports whether it does. If the program
// has just ended, its number cannot be that of another process yet, because the kernel
// assigns numbers in turn.
func (s *subject) kill(signal unix.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid != 0 && !s.ended && unix.Kill(s.pid, signal) == nil
}

// listen waits for the host's line wire.Where, which comes at most once, and calls where. It
// returns at the end of the port.
func listen(in *bufio.Reader, s *subject, sender *wire.Sender) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if line == wire.Where {
			s.where(sender.Stream(wire.Stderr))
			break
		}
	}
	_, _ = io.Copy(io.Discard, in)
}

// where writes where the program hangs, and ends the program. It writes the kernel's view
// first, because SIGQUIT, which makes a Go program print its goroutines, ends the program.
// If the view takes longer than viewPatience, where goes on without it.
func (s *subject) where(w io.Writer) {
	viewed := make(chan struct{})
	go func() {
		defer close(viewed)
		s.view(w)
	}()
	select {
	case <-viewed:
	case <-time.After(viewPatience):
		fmt.Fprint(w, "\nvmrun: looking at the guest's kernel takes too long\n")
	}
	fmt.Fprint(w, "\nvmrun: the program gets SIGQUIT\n")
	if !s.kill(unix.SIGQUIT) {
		fmt.Fprint(w, "vmrun: it does not run\n")
	}
	// Also if it does not run: it may be about to start.
	time.AfterFunc(quitPatience, func() {
		if s.kill(unix.SIGKILL) {
			fmt.Fprintf(w, "\nvmrun: the program did not end within %v of SIGQUIT: it is killed\n", quitPatience)
		}
	})
}

// view writes the stacks of all threads and the kernel's blocked tasks. It writes each piece
// as soon as it has it, in case the next one blocks, and in one write, because the program's
// output may come in between.
func (s *subject) view(w io.Writer) {
	fmt.Fprint(w, "\nvmrun: where the guest hangs, as its kernel sees it\n")
	s.mu.Lock()
	started := s.pid != 0
	s.mu.Unlock()
	if !started {
		stacks := make([]byte, 1<<16)
		fmt.Fprintf(w, "  init has not started the program yet:\n%s\n", stacks[:runtime.Stack(stacks, true)])
	}
	for _, pid := range numbers("/proc") {
		if pid != 1 || !started {
			writeThreads(w, pid)
		}
	}
	log, err := blockedTasks()
	if err != nil {
		fmt.Fprintf(w, "  the kernel's log cannot be read: %v\n", err)
		return
	}
	fmt.Fprintf(w, "  What the kernel logs of its blocked tasks (sysrq w):\n%s", indent(log, "    "))
}

// writeThreads writes what each thread of a process waits for. It leaves out the kernel's own
// threads; if they are blocked, they are in the log.
func writeThreads(w io.Writer, pid int) {
	tasks := fmt.Sprintf("/proc/%d/task", pid)
	for _, tid := range numbers(tasks) {
		dir := filepath.Join(tasks, strconv.Itoa(tid))
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has ended
		}
		name, state, kernels, ok := parseStat(string(stat))
		if !ok || kernels {
			continue
		}
		fmt.Fprintf(w, "  process %d, thread %d (%s): state %c, wchan %s\n%s", pid, tid, name, state,
			text(filepath.Join(dir, "wchan")), indent(text(filepath.Join(dir, "stack")), "      "))
	}
}

// parseStat parses /proc/PID/stat: the program's name in parentheses, which may contain any
// character, the state, and whether the flags say that it is a thread of the kernel.
func parseStat(stat string) (name string, state byte, kernels, ok bool) {
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return "", 0, false, false
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 7 {
		return "", 0, false, false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	const kthread = 0x00200000 // PF_KTHREAD
	return stat[open+1 : end], fields[0][0], flags&kthread != 0, err == nil
}

// numbers returns the entries of a folder of /proc that are numbers, in order.
func numbers(dir string) []int {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var found []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			found = append(found, n)
		}
	}
	slices.Sort(found)
	return found
}

// text returns the content of a file, or the error of reading it.
func text(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return strings.ReplaceAll(string(b), "[<0>] ", "") // begins each line of a stack
}

// blockedTasks has the kernel log its blocked tasks, and returns that part of the log.
func blockedTasks() (string, error) {
	// Package os would poll, and wait for the next message.
	log, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("/dev/kmsg: %w", err)
	}
	defer unix.Close(log)
	if _, err := unix.Seek(log, 0, io.SeekEnd); err != nil {
		return "", fmt.Errorf("/dev/kmsg: %w", err)
	}
	// kernel.sysrq does not restrict what root writes here. The kernel has done it when
	// the write returns.
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("w"), 0); err != nil {
		return "", err
	}
	return drain(func(b []byte) (int, error) { return unix.Read(log, b) }), nil
}

// drain reads records of /dev/kmsg (Documentation/ABI/testing/dev-kmsg) until there
// are no more, and returns their texts.
func drain(read func([]byte) (int, error)) string {
	var texts strings.Builder
	record := make([]byte, 8192) // CONSOLE_EXT_LOG_MAX: none is longer
	for {
		n, err := read(record)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EPIPE): // EPIPE: some were overwritten
			continue
		case err != nil || n == 0:
			return texts.String()
		}
		_, message, _ := bytes.Cut(record[:n], []byte{';'})
		message, _, _ = bytes.Cut(message, []byte{'\n'}) // lines after the first are properties
		texts.Write(message)
		texts.WriteByte('\n')
	}
}

// indent puts blanks before each line, and a newline after the last one.
func indent(s, blanks string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(blanks)
		b.WriteString(strings.TrimSuffix(line, "\n"))
		b.WriteByte('\n')
	}
	return b.String()
}
