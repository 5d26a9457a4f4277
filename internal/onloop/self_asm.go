//go:build amd64 || arm64

package onloop

// self returns the address of the runtime's record of the calling goroutine. It is only
// compared, never followed: while a goroutine lives no other has that address.
func self() uintptr
