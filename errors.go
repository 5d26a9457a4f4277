package zcrx

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// Errors to test for with errors.Is.
var (
	// ErrNotSupported matches every error that means: the kernel, the process, the build or
	// the device cannot do what was asked for. errors.As with *UnsupportedError says what
	// is missing where.
	ErrNotSupported = errors.New("not supported")

	// ErrClosed is what methods of a closed Loop, Pool or Receiver return. It matches
	// net.ErrClosed too.
	ErrClosed = fmt.Errorf("zcrx: %w", net.ErrClosed)

	// ErrInconclusive matches the error of a probe that could not find out: only an attempt
	// to register shows it.
	ErrInconclusive = errors.New("not known without trying")

	// ErrReleased is what Release returns for a lease that was released before. The second
	// release changes nothing.
	ErrReleased = errors.New("zcrx: buffer released twice")

	// ErrQueueFull is what Loop.Start returns when the submission queue has no free entry.
	ErrQueueFull = errors.New("zcrx: submission queue full")
)

// Layer is the part of the system that an unsupported feature is missing from.
type Layer uint8

// The layers, from the bottom up.
const (
	LayerBuild     Layer = iota + 1 // this binary: no cgo, or not Linux
	LayerKernel                     // the running kernel is too old or built without it
	LayerSandbox                    // seccomp, an LSM or kernel.io_uring_disabled
	LayerPrivilege                  // a capability or a resource limit
	LayerDevice                     // the network interface, its driver or its configuration
)

// String returns the layer's name in lower case.
func (l Layer) String() string {
	switch l {
	case LayerBuild:
		return "build"
	case LayerKernel:
		return "kernel"
	case LayerSandbox:
		return "sandbox"
	case LayerPrivilege:
		return "privilege"
	case LayerDevice:
		return "device"
	}
	return fmt.Sprintf("layer(%d)", uint8(l))
}

// UnsupportedError says which feature is missing, in which layer it is
// missing, and what to do about it. It matches ErrNotSupported and
// errors.ErrUnsupported.
type UnsupportedError struct {
	Feature   string // for instance "device-less zero-copy receive"
	Layer     Layer
	MinKernel string // first kernel with the feature, for instance "7.1"; may be empty
	Remedy    string // what to do, one clause
	Err       error  // what was seen, usually an errno; may be nil
}

func (e *UnsupportedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "zcrx: %s not supported (%s", e.Feature, e.Layer)
	if e.Layer == LayerKernel && e.MinKernel != "" {
		fmt.Fprintf(&b, ": needs Linux %s", e.MinKernel)
	}
	b.WriteByte(')')
	if e.Err != nil {
		fmt.Fprintf(&b, ": %s", strings.TrimPrefix(e.Err.Error(), "zcrx: "))
	}
	if e.Remedy != "" {
		fmt.Fprintf(&b, "; %s", e.Remedy)
	}
	return b.String()
}

// Unwrap returns what was seen.
func (e *UnsupportedError) Unwrap() error { return e.Err }

// Is matches ErrNotSupported and errors.ErrUnsupported.
func (e *UnsupportedError) Is(target error) bool {
	return target == ErrNotSupported || target == errors.ErrUnsupported
}

// KernelError is an errno that the kernel returned for a named operation, with its meaning
// there. errors.Is(err, unix.EEXIST) and the like work on it.
type KernelError struct {
	Op      string        // for instance "register interface queue"
	Errno   syscall.Errno // what the kernel returned
	Meaning string        // what the errno means for this operation; may be empty
	Remedy  string        // what to do; may be empty
}

func (e *KernelError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "zcrx: %s: %s", e.Op, errnoText(e.Errno))
	if e.Meaning != "" {
		fmt.Fprintf(&b, ": %s", e.Meaning)
	}
	if e.Remedy != "" {
		fmt.Fprintf(&b, "; %s", e.Remedy)
	}
	return b.String()
}

// Unwrap returns the errno.
func (e *KernelError) Unwrap() error { return e.Errno }

// Timeout reports whether the errno is one of a timeout, for instance ETIMEDOUT of TCP
// keepalive.
func (e *KernelError) Timeout() bool { return e.Errno.Timeout() }

// kernelError makes the error of an operation whose errno needs no explanation; nil for
// errno 0.
func kernelError(op string, errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return &KernelError{Op: op, Errno: errno}
}

// ringError turns an error of package uring into this package's error for the same failure.
// op names the operation.
func ringError(op string, err error) error {
	if err == nil {
		return nil
	}
	switch errno, ok := errors.AsType[syscall.Errno](err); {
	case errors.Is(err, os.ErrClosed):
		return ErrClosed
	case errors.Is(err, uring.ErrWrongThread):
		return wrongThread(op)
	case ok:
		return kernelError(op, errno)
	}
	return err
}

// wrongThread is the error of an operation that was called off the thread that owns the
// ring. The kernel would return EEXIST as well.
func wrongThread(op string) error {
	return &KernelError{
		Op: op, Errno: syscall.EEXIST,
		Meaning: "called off the thread that owns the ring",
		Remedy:  "call it from within Loop.Do or Loop.Post",
	}
}

// rangeError says that a number is outside its allowed range, low to high.
func rangeError(what string, value, low, high int64) error {
	return fmt.Errorf("zcrx: %s %d is out of range: allowed are %d to %d", what, value, low, high)
}

// errnoText is the errno's message with its name in front: the name is what people search
// for.
func errnoText(e syscall.Errno) string {
	if e == syscall.EOPNOTSUPP { // ENOTSUP has the same number and is less known
		return "EOPNOTSUPP (" + e.Error() + ")"
	}
	if name := sys.ErrnoName(e); name != "" {
		return name + " (" + e.Error() + ")"
	}
	return e.Error()
}
