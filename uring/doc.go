// Package uring is liburing in Go: rings, submission queue entries and completions.
//
// Start with [New], on a thread that the goroutine has locked. [Ring.GetSQE] takes
// an entry, one of its Prep methods fills it in, [Ring.SubmitAndWait] hands it to
// the kernel, and [Ring.Completions] returns what is done.
//
// # What it is
//
// A mechanical layer. Types, methods and constants are liburing's and the kernel's,
// with Go's spelling: io_uring_prep_recv_multishot is [SQE.PrepRecvMultishot],
// IORING_SETUP_CQE32 is [SetupCQE32]. The queues are mapped memory, and are read and
// written in Go: taking an entry and walking completions cost no call into C. What
// has a system call behind it is one call into liburing.
//
// # What it is not
//
// It is not safe: an entry names memory by its address, and that memory must stay
// where it is until the request is done. It knows no buffers, no connections and no
// scheduling; package zcrx builds them on it. It does not cover all of liburing:
// there is what networking on one thread needs. [Ring.Pointer] returns the struct
// io_uring for whoever calls liburing himself.
//
// # Threads
//
// A ring belongs to the thread that made it, and all its methods belong there:
// call runtime.LockOSThread before New. Elsewhere, methods that call the kernel
// return [ErrWrongThread], and the others are data races.
//
// # Errors
//
// What the kernel refuses is an *os.SyscallError with the name of the system call or
// of liburing's function; errors.Is finds the errno in it. A closed ring returns an
// error that matches os.ErrClosed. Without cgo, or off Linux, New returns an error
// that matches errors.ErrUnsupported.
package uring
