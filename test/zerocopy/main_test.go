//go:build nic

package zerocopy

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain fails the run if the kernel has logged a warning or an error.
func TestMain(m *testing.M) {
	log, err := openKernelLog()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernel log:", err)
		os.Exit(1)
	}
	status := m.Run()
	complaints, err := log.complaints()
	if err != nil {
		complaints = append(complaints, err.Error())
	}
	for _, line := range complaints {
		if refusedOption.MatchString(line) {
			continue
		}
		fmt.Fprintln(os.Stderr, "kernel:", line)
		status = 1
	}
	os.Exit(status)
}

// kernelLog reads what the kernel logs after openKernelLog.
type kernelLog struct{ fd int }

func openKernelLog() (*kernelLog, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	_, err = unix.Seek(fd, 0, unix.SEEK_END)
	return &kernelLog{fd}, err
}

func (l *kernelLog) close() error { return unix.Close(l.fd) }

// tainted is the message of the first module from outside the kernel's tree.
const tainted = ": loading out-of-tree module taints kernel"

// refusedOption matches the messages that TestBadOptions causes and checks.
var refusedOption = regexp.MustCompile(`^zcnic: .* allowed are `)

// complaints returns the messages of a level more severe than notice since the last call,
// without tainted.
func (l *kernelLog) complaints() ([]string, error) {
	const notice = 5
	var found []string
	b := make([]byte, 8192)
	for {
		n, err := unix.Read(l.fd, b)
		if err == unix.EAGAIN {
			return found, nil
		}
		if err != nil {
			return found, fmt.Errorf("reading the kernel log: %w", err)
		}
		// PRIORITY,SEQUENCE,TIME,FLAGS;TEXT, the level in the lower three bits.
		var priority int
		head, text, _ := strings.Cut(string(b[:n]), ";")
		if _, err := fmt.Sscanf(head, "%d,", &priority); err != nil {
			return found, fmt.Errorf("kernel log entry %q: %w", b[:n], err)
		}
		if priority&7 < notice && !strings.Contains(text, tainted) {
			found = append(found, strings.TrimSpace(text))
		}
	}
}
