// Package vm boots a Debian kernel under QEMU around one static program and
// returns how the program ended. It is for tests that need a kernel other than
// the one they are started on: go test -exec, a kernel module, a sysctl, root.
//
// The guest has nothing but that program, the files given to it, and an init
// that is the calling executable itself (see [Config].Init). Kernels come from the
// Debian archive and are cached below the user's cache folder. Everything between
// host and guest goes through one virtio-serial port; the serial console only
// carries what the kernel prints.
//
// It is not a manager of virtual machines: there is no distribution, no shell, no
// disk, no network but lo, and the machine ends with the program. The host is a
// Debian machine for x86-64 with the packages qemu-system-x86 and
// debian-archive-keyring; KVM is used where it works.
//
// Start with the command vmrun beside this package, which needs no Go code:
//
//	CGO_ENABLED=0 go build -o vmrun ./vmrun
//	CGO_ENABLED=0 go test -exec "$PWD/vmrun --kernel 6.18" PACKAGE
//
// In Go, [Run] with a [Config] is the whole of it; the main function of a program
// that calls it begins with [GuestInit]. [FetchKernel] downloads a kernel ahead of
// its first run.
package vm
