//go:build linux && cgo

package uring

import (
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// FuzzRing makes calls of a Ring, valid or not, that the input chooses: nothing but errors
// may come of them, and each completion belongs to a request.
func FuzzRing(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17})
	f.Add([]byte{4, 4, 4, 4, 4, 4, 4, 4, 4, 13, 14, 15, 4, 13, 14})
	f.Add([]byte{16, 4, 13, 14, 15, 16, 0, 12})
	f.Fuzz(func(t *testing.T, input []byte) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		next := func() byte {
			if len(input) == 0 {
				return 0
			}
			b := input[0]
			input = input[1:]
			return b
		}
		sizes := []SetupFlags{0, SetupCQE32, SetupSQE128, SetupSQE128 | SetupCQE32}
		r, err := New(Config{Entries: 1 + int(next()%8), Flags: ownerFlags | sizes[next()%4]})
		require.NoError(t, err)
		defer func() { require.NoError(t, r.Close()) }()
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		require.NoError(t, err)
		defer unix.Close(pair[0])
		defer unix.Close(pair[1])
		memory := make([]byte, 256)
		requests := map[uint64]bool{}
		begun := uint64(0)
		request := func(prep func(s *SQE, fd int, b []byte)) {
			s := r.GetSQE()
			if s == nil {
				return // full, or closed
			}
			fds := []int{pair[0], pair[1], -1, 1 << 20, -1 << 20}
			prep(s, fds[next()%5], memory[:next()])
			begun++
			s.UserData = begun
			requests[begun] = true
		}
		batch := make([]CQE, 4)
		for len(input) > 0 {
			switch next() % 18 {
			case 0:
				request(func(s *SQE, _ int, _ []byte) { s.PrepNop() })
			case 1:
				request(func(s *SQE, fd int, b []byte) { s.PrepRead(fd, b, -1) })
			case 2:
				request(func(s *SQE, fd int, b []byte) { s.PrepRecv(fd, b, unix.MSG_DONTWAIT) })
			case 3:
				request(func(s *SQE, fd int, b []byte) { s.PrepSend(fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) })
			case 4:
				request(func(s *SQE, fd int, b []byte) {
					s.PrepSendZC(fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uint16(next()))
				})
			case 5:
				request(func(s *SQE, fd int, _ []byte) { s.PrepRecvMultishot(fd, uint16(next()), 0) })
			case 6:
				request(func(s *SQE, fd int, _ []byte) { s.PrepPollAdd(fd, uint32(next())) })
			case 7:
				request(func(s *SQE, fd int, _ []byte) { s.PrepPollMultishot(fd, uint32(next())) })
			case 8:
				request(func(s *SQE, fd int, b []byte) { s.PrepConnect(fd, b) })
			case 9:
				request(func(s *SQE, fd int, _ []byte) { s.PrepAccept(fd, int(next())) })
			case 10:
				request(func(s *SQE, fd int, _ []byte) { s.PrepCancelFD(fd, CancelFlags(next())) })
			case 11:
				request(func(s *SQE, _ int, _ []byte) { s.PrepCancel(uint64(next()), CancelFlags(next())) })
			case 12:
				request(func(s *SQE, fd int, _ []byte) { s.PrepRecvZC(fd, uint32(next()), uint32(next())) })
			case 13:
				_, _ = r.Submit()
			case 14:
				_, err := r.SubmitAndWait(int(int8(next())), time.Duration(next())*time.Microsecond)
				require.NotErrorIs(t, err, ErrWrongThread)
			case 15:
				n := r.Completions(batch[:next()%5])
				for _, c := range batch[:n] {
					require.True(t, requests[c.UserData], "completion of %d, which was not begun", c.UserData)
				}
			case 16:
				if next() < 16 { // seldom: everything else is tried on the closed ring then
					require.NoError(t, r.Close())
				}
			case 17:
				_ = r.RegisterBufRing(unsafe.Pointer(nil), uint32(next()), uint16(next()), 0)
				_ = r.UnregisterBufRing(uint16(next()))
				_ = r.RegisterNAPI(time.Duration(int8(next())), true)
				_ = r.SetIOWait(next()%2 == 0)
				_, _ = r.Probe()
				_, _, _ = r.SQSpaceLeft(), r.Overflown(), r.Dropped()
			}
		}
		runtime.KeepAlive(memory)
	})
}
