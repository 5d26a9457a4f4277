package onloop

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// Place is the place where a loop runs.
type Place struct {
	// Loop is the *zcrx.Loop. It does not change.
	Loop any
	// Local is what the package above keeps for each loop. It belongs to the loop's thread.
	Local any

	self   atomic.Uintptr // the goroutine that runs there: the loop's own, or a fiber's
	thread int            // does not change
}

// places are those of all loops. The list is replaced, never changed.
var places struct {
	sync.Mutex // held while the list is replaced
	list       atomic.Pointer[[]*Place]
}

// Enter makes the calling goroutine, which must be locked to its thread, that of a loop.
func Enter(loop any) *Place {
	p := &Place{Loop: loop, thread: sys.ThreadID()}
	p.self.Store(self())
	replace(func(list []*Place) []*Place { return append(list, p) })
	return p
}

// Leave ends the place. It is called by the goroutine that called Enter.
func (p *Place) Leave() {
	p.self.Store(0)
	replace(func(list []*Place) []*Place {
		return slices.DeleteFunc(list, func(other *Place) bool { return other == p })
	})
}

func replace(change func([]*Place) []*Place) {
	places.Lock()
	defer places.Unlock()
	var list []*Place
	if old := places.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	list = change(list)
	places.list.Store(&list)
}

// Self identifies the calling goroutine while it runs on a loop's thread. The value may be
// passed to Switch, and to nothing else.
func Self() uintptr { return self() }

// Switch says which goroutine runs at the place from now on: one that called Self there.
// It runs on the loop's thread.
func (p *Place) Switch(to uintptr) { p.self.Store(to) }

// IsCurrent reports whether the caller runs at p. It takes about a nanosecond. It does not
// recognise a coroutine that a fiber has made by itself; IsThread does.
func (p *Place) IsCurrent() bool { return p.self.Load() == self() }

// IsThread reports whether the caller runs on p's thread. It takes a system call.
func (p *Place) IsThread() bool { return p.thread == sys.ThreadID() }

// Current returns the place where the caller runs, or nil if that is not on a loop. It
// compares with every loop of the process, and like IsCurrent does not recognise coroutines
// that fibers have made.
func Current() *Place {
	list := places.list.Load()
	if list == nil {
		return nil
	}
	me := self()
	for _, p := range *list {
		if p.self.Load() == me {
			return p
		}
	}
	return nil
}

// AnyThread reports whether the caller runs on the thread of any loop. It takes a system
// call if the process has loops.
func AnyThread() bool {
	list := places.list.Load()
	if list == nil || len(*list) == 0 {
		return false
	}
	me := sys.ThreadID()
	for _, p := range *list {
		if p.thread == me {
			return true
		}
	}
	return false
}
