// Package sys has the system calls that several packages of this module need: memory,
// eventfds, sockets, limits, namespaces, the kernel's version. It has no calls
// of io_uring; package uring has them. Each function stands for itself, so there is no
// place to start. Off Linux the package builds, and calls that cannot work there return
// ErrNotLinux.
package sys
