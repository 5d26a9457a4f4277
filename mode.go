package zcrx

import "fmt"

// Mode says how received bytes get into a program's buffers.
type Mode uint8

// The modes, best first. Auto takes the first of ZeroCopy, Provided and Socket that works;
// it never takes DeviceLess.
const (
	Auto       Mode = iota
	ZeroCopy        // the network interface writes them there
	DeviceLess      // zcrx without a network interface, the kernel copies: for development and tests
	Provided        // the kernel copies, into a provided-buffer ring
	Socket          // reads through Go's poller
)

var modeNames = [...]string{Auto: "auto", ZeroCopy: "zerocopy", DeviceLess: "deviceless", Provided: "provided", Socket: "socket"}

// String returns the mode's name in lower case, as ParseMode accepts it.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// ParseMode returns the mode of that name. It is the inverse of Mode.String.
func ParseMode(s string) (Mode, error) {
	for m, name := range modeNames {
		if s == name {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("zcrx: mode %q is unknown: allowed are %v", s, modeNames)
}
