// Package uring is liburing in Go: rings, submission queue entries and completions.
//
// Start with runtime.LockOSThread, [New] and [NewRequests]. Then begin requests with
// [Requests.Start], each of which has a Prep method of [SQE] fill in its entry, and call
// [Requests.Turn], which hands them to the kernel and calls the functions that wait for
// their completions.
//
// # Two layers
//
// [Ring], [SQE] and [CQE] are mechanical. Types, methods and constants are liburing's and
// the kernel's, with Go's spelling: io_uring_prep_recv_multishot is [SQE.PrepRecvMultishot],
// IORING_SETUP_CQE32 is [SetupCQE32]. docs/liburing.md has each of liburing's functions and
// its Go form. The queues are mapped memory, which Go code reads and writes: taking an entry
// with [Ring.GetSQE] and reading completions with [Ring.Completions] cost no call into C.
// Each method that makes a system call makes it through liburing. This layer is not
// memory-safe: an entry holds the addresses of buffers, which do not keep them, and user data
// is any number that the program likes.
//
// [Requests] is safe to use, and costs no allocation more. It keeps the memory of a request
// until its last completion, finds the function that waits for a completion, begins a chain
// whole or not at all, and cancels requests whose context ends.
//
// There are no buffer pools, no connections and no scheduler here; package zcrx builds these
// on it. [Ring.Pointer] returns the struct io_uring, for programs that call liburing
// themselves. Package uapi has the kernel's constants and structs.
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
