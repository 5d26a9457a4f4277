// Package uring is liburing in Go: rings, submission queue entries and completions.
//
// Start with runtime.LockOSThread and [New]. Then take an entry with [Ring.GetSQE],
// fill it in with one of its Prep methods, hand it to the kernel with
// [Ring.SubmitAndWait], and read the results with [Ring.Completions].
//
// # What it is
//
// A mechanical layer. Types, methods and constants are liburing's and the kernel's,
// with Go's spelling: io_uring_prep_recv_multishot is [SQE.PrepRecvMultishot],
// IORING_SETUP_CQE32 is [SetupCQE32]. The queues are mapped memory, which Go code
// reads and writes: taking an entry and reading completions cost no call into C.
// Each method that makes a system call makes it through liburing.
//
// # What it is not
//
// It is not memory-safe: an entry holds the addresses of buffers, which do not keep
// them. They must stay reachable until the request is done. It has no buffer pools, no connections
// and no scheduler; package zcrx builds these on it. It does not cover all of
// liburing, only what networking on one thread needs. [Ring.Pointer] returns the
// struct io_uring, for programs that call liburing themselves.
//
// # User data
//
// The kernel copies [SQE.UserData] to the request's completions. In a ring of one's own it
// may have any value. The loops of package zcrx set bit 63 in the user data of all their
// requests. A program that takes an entry of a loop's ring itself, in a function for
// Loop.Do, must leave that bit clear: otherwise the loop may take the completion for that
// of one of its requests. The loop reads the completions of all requests of its ring, drops
// those that it does not know, and counts them (LoopStats.Strays). Loop.Start sets the user
// data, and passes the completions to the program.
//
// # Threads
//
// A ring belongs to the thread that made it: call runtime.LockOSThread before New,
// and call its methods on that thread only. On another thread, methods that call the
// kernel return an error that matches [ErrWrongThread], and the others are data races.
//
// # Errors
//
// An error of the kernel is an *os.SyscallError with the name of the system call or
// of liburing's function; errors.Is finds the errno in it. Methods of a closed ring
// return an error that matches os.ErrClosed. Without cgo, or off Linux, New returns an
// error that matches errors.ErrUnsupported.
package uring
