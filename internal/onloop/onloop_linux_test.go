package onloop

import (
	"iter"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
)

// onThread runs fn on a goroutine that is locked to its thread.
func onThread(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		fn()
	}()
	<-done
}

func TestPlacesAreFoundFromTheirThreadsAlone(t *testing.T) {
	assert.Nil(t, Current())
	onThread(func() {
		p := Enter("a loop")
		assert.Same(t, p, Current())
		assert.True(t, p.IsCurrent())
		assert.True(t, p.IsThread())
		assert.True(t, AnyThread())
		onThread(func() {
			other := Enter("another")
			assert.Same(t, other, Current())
			assert.False(t, p.IsCurrent())
			assert.False(t, p.IsThread())
			other.Leave()
			assert.Nil(t, Current())
			assert.False(t, AnyThread())
		})
		assert.Same(t, p, Current())
		p.Leave()
		assert.Nil(t, Current())
		assert.False(t, p.IsCurrent())
		assert.False(t, AnyThread())
	})
}

// TestSwitch has a coroutine take the place of its loop's goroutine.
func TestSwitch(t *testing.T) {
	onThread(func() {
		p := Enter("a loop")
		defer p.Leave()
		own := Self()
		next, stop := iter.Pull(func(yield func(bool) bool) {
			yield(p.IsThread())
			before := p.IsCurrent()
			p.Switch(Self())
			yield(p.IsCurrent() && Current() == p && before == (Self() == own))
		})
		defer stop()
		thread, _ := next()
		assert.True(t, thread)
		switched, _ := next()
		assert.True(t, switched)
		p.Switch(own)
		assert.Same(t, p, Current())
	})
}

func BenchmarkCurrent(b *testing.B) {
	onThread(func() {
		p := Enter("a loop")
		defer p.Leave()
		for b.Loop() {
			Current()
		}
	})
}
