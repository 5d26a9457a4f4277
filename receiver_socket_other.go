//go:build !linux

package zcrx

import "github.com/zcrx-go/zcrx/internal/sys"

// Off Linux there is no Receiver: no ring can be made.

const (
	msgNoSignal = 0
	msgWaitAll  = 0
)

func sendMessage(int, [][]byte) (int, error) { return 0, sys.ErrNotLinux }
func abortSocket(int)                        {}
func shutdownSocket(int, int) error          { return sys.ErrNotLinux }
