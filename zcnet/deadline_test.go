package zcnet

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestDeadline(t *testing.T) {
	var d deadline
	never := d.done()
	assert.False(t, isClosed(never))
	assert.False(t, d.hasPassed.Load())

	d.set(time.Now().Add(time.Hour))
	d.set(time.Now().Add(time.Millisecond)) // also for goroutines that wait already
	<-never
	assert.True(t, d.hasPassed.Load())

	d.set(time.Time{})
	assert.False(t, isClosed(d.done()), "a later call of done gets a new channel")
	assert.True(t, isClosed(never), "the old channel stays closed")
	assert.False(t, d.hasPassed.Load())

	d.set(time.Unix(1, 0))
	assert.True(t, isClosed(d.done()))
	d.set(time.Unix(1, 0)) // must not close the channel twice
	d.set(time.Now().Add(time.Hour))
	assert.False(t, isClosed(d.done()))
	d.set(time.Time{})
}

// TestDeadlineMovedByMany moves a deadline from several goroutines, and checks that only
// the last call of set counts.
func TestDeadlineMovedByMany(t *testing.T) {
	var d deadline
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 500 {
				switch (i + k) % 4 {
				case 0:
					d.set(time.Now().Add(time.Duration(k%50) * time.Microsecond))
				case 1:
					d.set(time.Unix(1, 0))
				case 2:
					d.set(time.Time{})
				case 3:
					if done := d.done(); d.hasPassed.Load() {
						_ = isClosed(done)
					}
				}
			}
		})
	}
	wg.Wait()
	d.set(time.Now().Add(time.Hour))
	require.False(t, isClosed(d.done()), "a timer of an earlier set does nothing")
	d.set(time.Unix(1, 0))
	require.True(t, isClosed(d.done()))
}
