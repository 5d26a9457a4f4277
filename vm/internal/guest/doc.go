//go:build linux

// Package guest is the init of the virtual machines of package vm: the kernel starts the
// executable that called vm.Run as process 1 of an initramfs. It receives a job from the host
// over the port of package wire, runs the program, and sends back its output and its exit
// status. It runs nothing on the host. Start with [Is] and [Main], which vm.GuestInit calls.
package guest
