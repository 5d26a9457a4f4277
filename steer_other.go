//go:build !linux

package zcrx

import (
	"context"
	"net"
	"syscall"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// Off Linux there are no hardware queues to steer to.
type steering struct{}

func newSteering(string, []int) (*steering, error) { return nil, sys.ErrNotLinux }

func (*steering) control(context.Context, string, string, syscall.RawConn) error { return nil }
func (*steering) queueOf(*net.TCPConn) int                                       { return -1 }
