package uring

import (
	"iter"
	"math"
	"sync"
	"unsafe"
)

// Request names a request that was begun. It is never used again for another one.
type Request uint64

// request is one in flight.
type request struct {
	used       bool
	own        bool // of Requests itself
	cancelled  bool // Close has cancelled it
	generation uint32
	done       func(*CQE)                // nil if nobody waits
	stop       func() bool               // ends the watch of its context; nil if there is none
	memory     [maxMemory]unsafe.Pointer // kept until the last completion
}

// requestTable has the requests in flight. A Request consists of a place and a generation, so
// that a late completion, or a cancellation, of one that has ended is recognised.
type requestTable struct {
	entries []request
	free    []uint32
	first   uint32 // the generation of a place that is used for the first time
	live    int    // the program's
	own     int    // the others
}

func (t *requestTable) add(r request) Request {
	if r.own {
		t.own++
	} else {
		t.live++
	}
	r.used = true
	if n := len(t.free); n > 0 {
		i := t.free[n-1]
		t.free = t.free[:n-1]
		r.generation = t.entries[i].generation
		t.entries[i] = r
		return Request(r.generation)<<32 | Request(i)
	}
	r.generation = t.first
	t.entries = append(t.entries, r)
	return Request(t.first)<<32 | Request(len(t.entries)-1)
}

// find returns a request in flight, nil for others. It is valid until the next add.
func (t *requestTable) find(id Request) *request {
	i := uint32(id)
	if uint64(i) >= uint64(len(t.entries)) {
		return nil
	}
	if r := &t.entries[i]; r.used && r.generation == uint32(id>>32) {
		return r
	}
	return nil
}

// remove ends a request. Its place is free for others, unless its generations are used up.
func (t *requestTable) remove(id Request) {
	r := t.find(id)
	if r.own {
		t.own--
	} else {
		t.live--
	}
	*r = request{generation: r.generation}
	if r.generation < math.MaxUint32 {
		r.generation++
		t.free = append(t.free, uint32(id))
	}
}

// unused returns a generation that no request has had.
func (t *requestTable) unused() uint32 {
	unused := t.first
	for i := range t.entries {
		unused = max(unused, t.entries[i].generation+1)
	}
	return unused
}

// all returns an iterator over the requests in flight.
func (t *requestTable) all() iter.Seq2[Request, request] {
	return func(yield func(Request, request) bool) {
		for i := range t.entries {
			if r := t.entries[i]; r.used && !yield(Request(r.generation)<<32|Request(i), r) {
				return
			}
		}
	}
}

// rooted has all Requests, so that their memory stays although the program has dropped them.
// Those that are closed leave it once nothing is in flight.
var rooted = root{all: map[*Requests]struct{}{}}

type root struct {
	sync.Mutex
	all map[*Requests]struct{} // guarded by the mutex
}

func (r *root) add(q *Requests) {
	r.Lock()
	defer r.Unlock()
	r.all[q] = struct{}{}
}

func (r *root) remove(q *Requests) {
	r.Lock()
	defer r.Unlock()
	delete(r.all, q)
}
