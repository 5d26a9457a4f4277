package zcrx

import "fmt"

// Mode is how received bytes come into a program's buffers.
type Mode uint8

// The modes, best first; Auto takes the first of ZeroCopy, Provided and Socket
// that works.
const (
	Auto       Mode = iota
	ZeroCopy        // the interface puts them there
	DeviceLess      // zcrx's interface, but the kernel copies: for development and tests
	Provided        // the kernel copies, into a provided-buffer ring
	Socket          // plain reads
)

var modeNames = [...]string{Auto: "auto", ZeroCopy: "zerocopy", DeviceLess: "deviceless", Provided: "provided", Socket: "socket"}

// String is the mode's name in lower case, as ParseMode takes it.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// ParseMode is the inverse of String.
func ParseMode(s string) (Mode, error) {
	for m, name := range modeNames {
		if s == name {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("zcrx: mode %q is unknown: allowed are %v", s, modeNames)
}
