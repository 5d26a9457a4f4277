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

// TestMain fails a run that made the kernel complain.
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

// kernelLog reads what the kernel says from now on.
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

// tainted is what every module from outside the kernel's tree causes, once.
const tainted = ": loading out-of-tree module taints kernel"

// refusedOption is what TestBadOptions causes, and looks at itself.
var refusedOption = regexp.MustCompile(`^zcnic: .* allowed are `)

// complaints returns what was said since the last call above notice level, but not
// tainted.
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
