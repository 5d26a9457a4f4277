//go:build linux

package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// portPatience is how long the port and its host side may take to appear.
const portPatience = 20 * time.Second

// port is a virtio-serial port. It uses blocking system calls because poll reports a hang-up
// until the host's side is connected, which Go's poller would take for the end of the stream.
type port struct {
	fd       int
	received bool
}

// openPort waits until the driver has found the port with that name, and opens it.
func openPort(name string) (*port, error) {
	for start := time.Now(); time.Since(start) < portPatience; time.Sleep(5 * time.Millisecond) {
		device, err := findPort(name)
		if err != nil {
			return nil, err
		}
		if device == "" {
			continue
		}
		fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", device, err)
		}
		return &port{fd: fd}, nil
	}
	return nil, fmt.Errorf("no virtio-serial port %q: this kernel has no virtio_pci or virtio_console", name)
}

func findPort(name string) (string, error) {
	labels, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return "", err
	}
	for _, label := range labels {
		text, err := os.ReadFile(label)
		if err == nil && strings.TrimSpace(string(text)) == name {
			return filepath.Join("/dev", filepath.Base(filepath.Dir(label))), nil
		}
	}
	return "", nil
}

// Read reads from the host. The driver returns 0 bytes if the host's side is not connected.
// Before the first byte that means that it is not connected yet, and Read waits.
func (p *port) Read(b []byte) (int, error) {
	start := time.Now()
	for {
		n, err := unix.Read(p.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n > 0:
			p.received = true
			return n, nil
		case p.received || time.Since(start) > portPatience:
			return 0, io.EOF
		default:
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// Write writes all of b, of which the driver takes 32 KiB at a time.
func (p *port) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		n, err := unix.Write(p.fd, b[written:])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return written, err
		default:
			written += n
		}
	}
	return written, nil
}
