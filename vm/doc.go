// Package vm runs one statically linked program on a Debian kernel in a QEMU virtual machine
// and returns the program's exit status. It is for tests that need another kernel than the
// host's, a kernel module, a sysctl, or root.
//
// Start with the command vmrun beside this package, which needs no Go code:
//
//	CGO_ENABLED=0 go build -o vmrun ./vmrun
//	CGO_ENABLED=0 go test -exec "$PWD/vmrun --kernel 6.18" PACKAGE
//
// In Go, call [Run] with a [Config]. The main function of a program that does so begins with
// [GuestInit]. [FetchKernel] downloads a kernel before its first run.
//
// The guest has only the program, the files that the Config names, and an init process,
// which is the calling executable itself (see [Config].Init). Kernels come from the Debian
// archive and are kept in the user's cache folder. Host and guest communicate over one
// virtio-serial port; the serial console has only what the kernel prints.
//
// It does not manage virtual machines: there is no distribution, no shell, no disk, and no
// network but lo, and the machine ends with the program. The host must be a Debian machine
// for x86-64 with the packages qemu-system-x86 and debian-archive-keyring. KVM is used if
// it works.
package vm
