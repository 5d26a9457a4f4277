//go:build linux && cgo

package zcrx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

var errNoRoom = &KernelError{Op: "set up ring", Errno: syscall.ENOMEM}

// watchWithin returns a chargeWatch with a limit, for a process in which a ring was closed
// some time ago.
func watchWithin(limit uint64, closed time.Duration) *chargeWatch {
	return &chargeWatch{
		limit: func() (uint64, bool) { return limit, limit > 0 },
		last:  time.Now().Add(-closed),
	}
}

func TestChargeThatComesBackIsWaitedFor(t *testing.T) {
	for _, later := range []time.Duration{0, 30 * time.Millisecond, chargeTimeout - time.Millisecond, chargeTimeout} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			err := watchWithin(8192, 0).retry(t.Context(), 8192, func() error {
				if time.Since(begun) < later {
					return errNoRoom
				}
				return nil
			})
			assert.NoError(t, err, "back after %v", later)
			assert.LessOrEqual(t, time.Since(begun), later+maxChargePause)
		})
	}
}

// TestLimitTooSmallIsNotWaitedFor checks what is refused at once, and that no call waits
// longer than charges take to end.
func TestLimitTooSmallIsNotWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		limit  uint64 // 0: no limit
		closed time.Duration
		err    error
		waits  time.Duration
	}{
		"no ring was closed of late":  {8192, chargeTimeout, errNoRoom, 0},
		"the limit is below the need": {8191, 0, errNoRoom, 0},
		"there is no limit":           {0, 0, errNoRoom, 0},
		"another error":               {8192, 0, syscall.EMFILE, 0},
		"a ring was closed":           {8192, 0, errNoRoom, chargeTimeout},
		"a ring was closed before":    {8192, chargeTimeout - 10*time.Millisecond, errNoRoom, 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				watch := watchWithin(c.limit, c.closed)
				err := watch.retry(t.Context(), 8192, func() error { return c.err })
				assert.Equal(t, c.err, err)
				assert.Equal(t, c.waits, time.Since(begun))
				err = watch.retry(t.Context(), 8192, func() error { return c.err })
				assert.Equal(t, c.err, err)
				assert.Equal(t, c.waits, time.Since(begun), "the second refusal is not waited for again")
			})
		})
	}
}

func TestWaitingForChargesEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begun := time.Now()
		err := watchWithin(8192, 0).retry(ctx, 8192, func() error { return errNoRoom })
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, syscall.ENOMEM)
		assert.Equal(t, 100*time.Millisecond, time.Since(begun))
	})
}

const memlockChild = "ZCRX_MEMLOCK_CHILD"

// TestMemlockIsShort runs TestMemlockChild as a user without other rings and without
// CAP_IPC_LOCK.
func TestMemlockIsShort(t *testing.T) {
	var err error
	if os.Geteuid() != 0 {
		err = errors.New("only root can become another user")
	}
	skip.Unless(t, "a user of its own", "6.1", err)
	user := uint32(1<<20 + os.Getpid()) // a new one for each run: limits are per user
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestMemlockChild$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), memlockChild+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: user, Gid: user},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN}, // for the pools
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}

func setMemlock(t *testing.T, bytes uint64) {
	t.Helper()
	var r unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r))
	r.Cur = bytes
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &r))
}

// TestMemlockChild repeatedly opens and closes what just fits into the limit.
func TestMemlockChild(t *testing.T) {
	if os.Getenv(memlockChild) == "" {
		return
	}
	cfg := LoopConfig{Entries: 8, CQEntries: 64}
	ringConfig := uring.Config{Entries: cfg.Entries, CQEntries: cfg.CQEntries, Flags: uring.SetupCQE32}
	ring := ringCharge(ringConfig)
	setMemlock(t, ring)
	for i := range 20 {
		l, err := NewLoop(cfg) // the first one probes, with a ring of its own
		require.NoError(t, err, "loop %d", i)
		require.NoError(t, l.Close())
		fs, err := probeFeatures()
		require.NoError(t, err, "probe %d", i)
		require.NoError(t, fs.Have(FeatureProvidedBuffers))
	}
	ringsAreCharged(t, ringConfig)
	provided := PoolConfig{NumBuffers: 16}
	setMemlock(t, ring+wholePages(16*uint64(providedEntrySize)))
	for i := range 10 {
		l, err := NewLoop(cfg)
		require.NoError(t, err, "loop %d", i)
		for j := range 3 {
			p, err := NewProvidedPool(l, provided)
			require.NoError(t, err, "provided pool %d of loop %d", j, i)
			require.NoError(t, p.Close())
		}
		require.NoError(t, l.Close())
	}
	if Have(FeatureDeviceLess) == nil {
		deviceLessPoolsWithin(t, cfg, ring)
	}
}

// ringsAreCharged looks at which kernels charge rings, and what they say of a limit
// that is too small or used up. The limit is the size of one ring.
func ringsAreCharged(t *testing.T, cfg uring.Config) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	first, err := newRing(cfg)
	require.NoError(t, err)
	defer first.Close()
	begun := time.Now()
	second, err := newRing(cfg)
	took := time.Since(begun)
	// Not tested: 6.13 to 6.15, one of which was the first.
	if release := sys.KernelRelease(); !skip.Older(release, "6.16") && skip.Older(release, "7.2") {
		assertLayer(t, err, LayerPrivilege)
		assert.ErrorContains(t, err, "hold too much of the 8192 that it may pin")
		assert.ErrorContains(t, err, "from 8192 to 16384 bytes")
		assert.Less(t, took, chargeTimeout+time.Second)
		begun = time.Now()
		_, err = newRing(uring.Config{Entries: 128})
		assert.ErrorContains(t, err, "from 8192 to at least 16384 bytes")
		assert.Less(t, time.Since(begun), time.Second, "no wait helps")
		fs, err := probeFeatures()
		assert.ErrorIs(t, err, syscall.ENOMEM, "an answer that is not kept")
		assertLayer(t, fs.Have(FeatureSendZC), LayerPrivilege)
	} else if skip.Older(release, "6.13") || !skip.Older(release, "7.2") {
		require.NoError(t, err, "these kernels do not charge rings")
		require.NoError(t, second.Close())
	}
	fmt.Println("a ring was refused after", took)
}

// deviceLessPoolsWithin has every pool wait for what its predecessor was charged.
func deviceLessPoolsWithin(t *testing.T, cfg LoopConfig, ring uint64) {
	t.Helper()
	const buffers, entries = 16, 64
	area := wholePages(buffers * uint64(pageSize()))
	pool := area + uint64(refillRegionSize(entries, pageSize()))
	if !skip.Older(sys.KernelRelease(), "7.2") {
		ring = 0
	}
	setMemlock(t, ring+pool)
	poolConfig := PoolConfig{NumBuffers: buffers, RefillEntries: entries}
	for i := range 10 {
		l, err := NewLoop(cfg)
		require.NoError(t, err, "loop %d", i)
		p, err := NewDeviceLessPool(t.Context(), l, poolConfig)
		require.NoError(t, err, "pool %d", i)
		if i == 9 && Have(FeatureAddArea) == nil {
			err := p.Grow(t.Context(), buffers)
			assertLayer(t, err, LayerPrivilege)
			assert.ErrorContains(t, err, "other rings and pools of this user hold too much")
			setMemlock(t, ring+pool+area)
			require.NoError(t, p.Grow(t.Context(), buffers))
		}
		require.NoError(t, l.Close())
	}
}
