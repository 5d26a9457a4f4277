//go:build linux && cgo

package zcrx

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"math"
	"unsafe"
)

func TestBufferHasLengthAndCapacityOfCompletion(t *testing.T) {
	k := newPool73(t, 4, 4)
	b := k.complete(0, 0, 2048)
	bytes := b.Bytes()
	assert.Len(t, bytes, 2048)
	assert.Equal(t, 2048, cap(bytes))
	grown := append(bytes, 1) //nolint:gocritic // grown must not share memory with bytes
	assert.NotSame(t, unsafe.SliceData(bytes), unsafe.SliceData(grown), "append must copy")
	release(t, b)
	k.destroy()
}

func TestReceivedBufferHasLengthAndCapacityOfItsBytes(t *testing.T) {
	_, p := newDeviceLessPool(t, PoolConfig{NumBuffers: 8})
	sender, r := newTestReceiver(t, p)
	_, err := sender.Write(pattern(1, 2048))
	require.NoError(t, err)
	b := takeBuffers(t, r, 1)[0]
	assert.Equal(t, pattern(1, 2048), b.Bytes())
	assert.Equal(t, 2048, cap(b.Bytes()))
	require.NoError(t, b.Release())
}

func TestSkipKeepsTheLease(t *testing.T) {
	b := NewBuffer([]byte("hello"))
	assert.Equal(t, "hello", string(b.Bytes()))
	assert.Equal(t, "lo", string(b.Skip(1).Skip(2).Bytes()))
	assert.Empty(t, b.Skip(5).Bytes())
	assert.Zero(t, b.Skip(5).Skip(0).Len())
	for _, n := range []int{-1, 6, math.MaxInt, math.MinInt} {
		assert.Panics(t, func() { b.Skip(n) }, "%d", n)
	}
	require.NoError(t, b.Release())
	require.NoError(t, b.Release())
	assert.Equal(t, "hello", string(b.Bytes()), "memory of its own stays")
	assert.Zero(t, NewBuffer(nil).Len())

	k := newPool73(t, 1, 4)
	lease := k.completeN(1)[0]
	rest := lease.Skip(lease.Len() - 1)
	assert.Equal(t, 1, rest.Len())
	require.NoError(t, rest.Release())
	assert.ErrorIs(t, lease.Release(), ErrReleased, "it was the same lease")
	assert.Nil(t, lease.Bytes())
	k.takeEntries(1)
	k.destroy()
}
