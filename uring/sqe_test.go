//go:build linux && cgo

package uring

import (
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"github.com/zcrx-go/zcrx/internal/cprep"
)

// TestPrepMatchesLiburing holds every Prep method against liburing's function,
// byte for byte.
func TestPrepMatchesLiburing(t *testing.T) {
	// Addresses that are never followed; built from integers that are not the
	// address of anything.
	addr := uintptr(cprep.Buffer)
	buf := unsafe.Slice(*(**byte)(unsafe.Pointer(&addr)), 64)
	at := uintptr(cprep.Timespec)
	ts := *(**Timespec)(unsafe.Pointer(&at))
	for name, c := range map[string]struct {
		which int
		prep  func(*SQE)
	}{
		"nop":              {cprep.Nop, func(s *SQE) { s.PrepNop() }},
		"accept":           {cprep.Accept, func(s *SQE) { s.PrepAccept(7, 0o2000000) }},
		"multishot accept": {cprep.MultishotAccept, func(s *SQE) { s.PrepMultishotAccept(7, 0o2000000) }},
		"connect":          {cprep.Connect, func(s *SQE) { s.PrepConnect(7, buf[:16]) }},
		"read":             {cprep.Read, func(s *SQE) { s.PrepRead(7, buf, 5) }},
		"recv":             {cprep.Recv, func(s *SQE) { s.PrepRecv(7, buf, 0x40) }},
		"recv multishot":   {cprep.RecvMultishot, func(s *SQE) { s.PrepRecvMultishot(7, 9, 0x40) }},
		"recv bundle": {cprep.RecvBundle, func(s *SQE) {
			s.PrepRecvMultishot(7, 9, 0)
			s.Ioprio |= RecvSendBundle
		}},
		"send":           {cprep.Send, func(s *SQE) { s.PrepSend(7, buf, 0x4000) }},
		"send zc":        {cprep.SendZC, func(s *SQE) { s.PrepSendZC(7, buf, 0x4000, 8) }},
		"poll add":       {cprep.PollAdd, func(s *SQE) { s.PrepPollAdd(7, 0x201) }},
		"poll multishot": {cprep.PollMultishot, func(s *SQE) { s.PrepPollMultishot(7, 0x201) }},
		"timeout":        {cprep.Timeout, func(s *SQE) { s.PrepTimeout(ts, 3, 1) }},
		"cancel":         {cprep.Cancel, func(s *SQE) { s.PrepCancel(0x1122334455667788, CancelAll) }},
		"cancel fd":      {cprep.CancelFD, func(s *SQE) { s.PrepCancelFD(7, CancelAll) }},
		"shutdown":       {cprep.Shutdown, func(s *SQE) { s.PrepShutdown(7, 1) }},
		"close":          {cprep.Close, func(s *SQE) { s.PrepClose(7) }},
		"msg ring":       {cprep.MsgRing, func(s *SQE) { s.PrepMsgRing(7, 33, 44, 1) }},
		"recv zc":        {cprep.RecvZC, func(s *SQE) { s.PrepRecvZC(7, 3, 4096) }},
	} {
		var s SQE
		c.prep(&s)
		got := *(*[64]byte)(unsafe.Pointer(&s))
		assert.Equal(t, cprep.Prep(c.which), got, name)
	}
}

func TestTimespecOf(t *testing.T) {
	assert.Equal(t, Timespec{Sec: 2, Nsec: 5}, TimespecOf(2*time.Second+5))
}
