//go:build linux

package vm

import "github.com/zcrx-go/zcrx/vm/internal/guest"

// GuestInit must be the first call of main in an executable that serves as the
// guest's init (see [Config].Init). On the host it does nothing. In the guest,
// where the executable runs as process 1, it sets the system up, runs the program,
// reports how it ended and powers the machine off; it does not return.
func GuestInit() {
	if guest.Is() {
		guest.Main()
	}
}
