//go:build linux && cgo

package uring

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// endedOwner returns a ring, registered with RegisterRingFD, whose thread has ended.
func endedOwner(t *testing.T, cfg Config) *Ring {
	t.Helper()
	rings := make(chan *Ring)
	var makeRing func()
	makeRing = func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			go makeRing()
			select {}
		}
		r, err := New(cfg)
		assert.NoError(t, err)
		assert.NoError(t, r.RegisterRingFD())
		rings <- r
	}
	go makeRing()
	r := <-rings
	require.Eventually(t, func() bool { return cOwnerEnded(r.h) }, eventuallyWithin, eventuallyEvery)
	return r
}

// TestThreadWithTheOwnersHandle: a thread that was made after the owner has ended is not
// the owner, even if the C library gave it the same pthread_t; and closing the old ring leaves
// that thread's own ring as it was.
func TestThreadWithTheOwnersHandle(t *testing.T) {
	old := endedOwner(t, Config{Entries: 4, Flags: ownerFlags})
	var once, all sync.WaitGroup
	const threads = 64
	once.Add(threads)
	for range threads {
		all.Add(1)
		go func() {
			defer all.Done()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			taken := old.Check("x") == nil
			once.Done()
			once.Wait() // so that each has a thread of its own
			if !taken {
				return
			}
			t.Errorf("thread %d is taken for the owner, which was %d and has ended", unix.Gettid(), int(old.h.owner_tid))
			own, err := New(Config{Entries: 4, Flags: ownerFlags})
			if !assert.NoError(t, err) {
				return
			}
			assert.NoError(t, own.RegisterRingFD())
			_, err = own.Submit()
			assert.NoError(t, err)
			_, err = old.Submit()
			assert.ErrorIs(t, err, ErrWrongThread, "a submit of the old ring")
			assert.NoError(t, old.Close())
			_, err = own.Submit()
			assert.NoError(t, err, "the thread's own ring after the Close of the old one")
			assert.NoError(t, own.Close())
		}()
	}
	all.Wait()
	if old.h != nil {
		require.NoError(t, old.Close())
	}
}

// TestClosedRingWaits: "Methods of a closed ring return an error that matches
// os.ErrClosed."
func TestClosedRingWaits(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	require.NoError(t, r.Close())
	_, err := r.SubmitAndWait(1, 0)
	assert.ErrorIs(t, err, os.ErrClosed)
}

// TestRefusalIsNoDataRace: a method that calls the kernel is refused on another thread;
// it is the others that are data races. Run with -race.
func TestRefusalIsNoDataRace(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for range 100 {
			_, err := r.Submit()
			assert.ErrorIs(t, err, ErrWrongThread)
			assert.ErrorIs(t, r.Check("x"), ErrWrongThread)
		}
	}()
	for range 100 {
		_, err := r.Submit()
		assert.NoError(t, err)
	}
	<-ended
}

// TestClamp: "SetupClamp: reduce sizes that are too large instead of refusing them".
func TestClamp(t *testing.T) {
	if unsafe.Sizeof(0) < 8 {
		t.Skip("needs ints of 64 bits")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thousand, huge := 1<<20, 1
	huge <<= 16
	huge <<= 16
	for name, cfg := range map[string]Config{
		"both large":           {Entries: thousand, CQEntries: MaxCQEntries, Flags: SetupClamp},
		"more than 32 bits":    {Entries: huge + 4, Flags: SetupClamp},
		"exactly 1<<32":        {Entries: huge, Flags: SetupClamp},
		"completions, 32 bits": {Entries: 4, CQEntries: huge + 4, Flags: SetupClamp},
	} {
		var r *Ring
		var err error
		for end := time.Now().Add(eventuallyWithin); time.Now().Before(end); time.Sleep(eventuallyEvery) {
			if r, err = New(cfg); !errors.Is(err, syscall.ENOMEM) {
				break // what closed rings had charged to the memlock limit comes back late
			}
		}
		if !assert.NoError(t, err, name) {
			continue
		}
		if cfg.Entries > MaxEntries {
			assert.Equal(t, MaxEntries, r.SQEntries(), name)
		}
		if cfg.CQEntries > MaxCQEntries {
			assert.Equal(t, MaxCQEntries, r.CQEntries(), name)
		}
		require.NoError(t, r.Close())
	}
}

// TestFlagsOfARing: CQEntries 0 means twice Entries, with the flags that another ring
// has, too.
func TestFlagsOfARing(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, CQEntries: 16, Flags: ownerFlags})
	other, err := New(Config{Entries: 4, Flags: r.Flags()})
	if assert.NoError(t, err) {
		assert.Equal(t, 8, other.CQEntries())
		require.NoError(t, other.Close())
	}
}

// TestCloseCancels: "Close cancels the requests in flight": after Close nothing is
// written to the memory of a receive.
func TestCloseCancels(t *testing.T) {
	for name, flags := range map[string]SetupFlags{"owner": ownerFlags, "plain": 0} {
		written := 0
		for range 50 {
			r := newTestRing(t, Config{Entries: 4, Flags: flags})
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			require.NoError(t, err)
			mem := mapped(t, os.Getpagesize())
			queue(t, r, 1, func(s *SQE) { s.PrepRecv(fds[0], mem[:8], 0) })
			_, err = r.Submit()
			require.NoError(t, err)
			require.NoError(t, r.Close())
			_, err = unix.Write(fds[1], []byte("late"))
			require.NoError(t, err)
			time.Sleep(2 * time.Millisecond)
			if mem[0] != 0 {
				written++
			}
			unix.Close(fds[0])
			unix.Close(fds[1])
		}
		assert.Zero(t, written, "%s: of 50 receives wrote after Close", name)
	}
}

// TestOrphanOfLargeEntries closes a ring of large queues whose thread has ended.
func TestOrphanOfLargeEntries(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fds, maps := countFDs(t), ringMappings(t)
	for _, flags := range []SetupFlags{SetupSQE128 | SetupCQE32, SetupSQE128, SetupCQE32, 0} {
		r := endedOwner(t, Config{Entries: 256, Flags: ownerFlags | flags})
		if !r.onThisThread() { // else see TestThreadWithTheOwnersHandle
			require.NoError(t, r.Close())
			assert.Equal(t, fds, countFDs(t))
			assert.Equal(t, maps, ringMappings(t))
		}
	}
}

func (r *Ring) onThisThread() bool { return cOnOwner(r.h) }
