//go:build linux && cgo

package uring

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
)

// The tests of operations, TestOp..., look at what the kernel does: with real files, sockets and
// processes, with bad input, and with a cancellation where one can be.

// ringTypes are the kinds of rings that eachRing goes through.
var ringTypes = []struct {
	name   string
	cfg    Config
	kernel string // that it came with
}{
	{"plain", Config{Entries: 32}, "5.1"},
	{"owner", Config{Entries: 32, Flags: ownerFlags}, "6.1"},
	{"sqpoll", Config{Entries: 32, Flags: SetupSQPoll}, "5.11"},
	{"big", Config{Entries: 32, Flags: SetupSQE128 | SetupCQE32}, "5.19"},
	{"mixed", Config{Entries: 32, Flags: ownerFlags | SetupCQEMixed | SetupSQEMixed}, "6.19"},
}

// eachRing runs the test with a ring of each kind.
func eachRing(t *testing.T, test func(t *testing.T, r *Ring)) {
	for _, typ := range ringTypes {
		t.Run(typ.name, func(t *testing.T) {
			skipSetup(t, typ.cfg, typ.kernel)
			test(t, newTestRing(t, typ.cfg))
		})
	}
}

// skipSetup skips the test if the kernel does not know the flags of the ring.
func skipSetup(t *testing.T, cfg Config, kernel string) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := New(cfg)
	if errors.Is(err, syscall.EINVAL) {
		skip.Unless(t, fmt.Sprintf("set-up flags %#x", uint32(cfg.Flags)), kernel, err)
	}
	require.NoError(t, err)
	require.NoError(t, r.Close())
}

// need skips the test unless the kernel has the operation, which came with that Linux.
func need(t *testing.T, r *Ring, op Opcode, kernel string) {
	t.Helper()
	p, err := r.Probe()
	require.NoError(t, err)
	if !p.Supports(op) {
		skip.Unless(t, fmt.Sprintf("operation %d", op), kernel, syscall.EOPNOTSUPP)
	}
}

// one carries out one request and returns its completion.
func one(t *testing.T, r *Ring, prep func(*SQE)) CQE {
	t.Helper()
	queue(t, r, 77, prep)
	c := reap(t, r, 1)[0]
	assert.EqualValues(t, 77, c.UserData)
	return c
}

// succeed is one for a request that must succeed. It returns the result.
func succeed(t *testing.T, r *Ring, prep func(*SQE)) int {
	t.Helper()
	c := one(t, r, prep)
	require.Zero(t, c.Errno(), "%v", c.Errno())
	return int(c.Res)
}

// failWith is one for a request that must fail.
func failWith(t *testing.T, r *Ring, want syscall.Errno, prep func(*SQE)) {
	t.Helper()
	c := one(t, r, prep)
	assert.Equal(t, want, c.Errno(), "result %d", c.Res)
}

// keep keeps memory that the kernel uses until the test ends, and returns it.
func keep[T any](t *testing.T, v T) T {
	t.Cleanup(func() { runtime.KeepAlive(v) })
	return v
}

// failed is the result of a request that failed.
func failed(errno syscall.Errno) int32 { return -int32(errno) }

// path returns the address of a path.
func path(t *testing.T, s string) *byte {
	t.Helper()
	p, err := unix.BytePtrFromString(s)
	require.NoError(t, err)
	return p
}
