package zcrx

import (
	"slices"
	"sync"
	"unsafe"

	"github.com/zcrx-go/zcrx/uring"
)

// completer handles the completions of one request. It runs on the loop's thread.
type completer interface {
	complete(c *uring.CQE)
}

// opTag is in the user data of every request of the loop: what a program puts into the
// ring by itself, with user data of its own, is not taken for one of them.
const opTag = 1 << 63

// ops maps the user data of requests to their completers. User data consists of index and
// generation, so a late completion of a request that has ended is recognised. It belongs to
// the loop's thread.
type ops struct {
	entries []op
	free    []uint32
	live    int // requests in flight; persistent ones are not counted
}

type op struct {
	completer  completer
	memory     unsafe.Pointer // that the kernel uses: kept until the last completion
	generation uint32         // 31 bits
	kind       opKind
}

type opKind uint8

const (
	opRequest    opKind = iota // ends with its first completion without CQEMore
	opPersistent               // ends when removed: for the events of a pool
)

// add adds an entry and returns its user data.
func (t *ops) add(c completer, kind opKind) uint64 {
	var i uint32
	if n := len(t.free); n > 0 {
		i = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		i = uint32(len(t.entries))
		t.entries = append(t.entries, op{})
	}
	e := &t.entries[i]
	e.completer, e.kind = c, kind
	if kind == opRequest {
		t.live++
	}
	return opTag | uint64(e.generation)<<32 | uint64(i)
}

// remove ends an entry. Unknown user data is ignored.
func (t *ops) remove(userData uint64) {
	e := t.find(userData)
	if e == nil {
		return
	}
	if e.kind == opRequest {
		t.live--
	}
	e.completer, e.memory = nil, nil
	e.generation = (e.generation + 1) &^ (opTag >> 32)
	t.free = append(t.free, uint32(userData))
}

// keep has the memory that a prepared request uses stay until the last completion: the
// address in the entry alone would not keep it.
func (t *ops) keep(s *uring.SQE) {
	if e := t.find(s.UserData); e != nil && slices.Contains(memoryOps, s.Opcode) {
		e.memory = *(*unsafe.Pointer)(unsafe.Pointer(&s.Addr))
	}
}

// unfinished is the memory of requests that a closed ring left in flight: a send without a
// copy cannot be cancelled once its bytes are queued, and goes on until its peer has
// acknowledged them. Nothing tells when that is.
var unfinished struct {
	sync.Mutex
	memory []unsafe.Pointer
}

// keepForEver has the memory of requests in flight stay when the ring goes.
func (t *ops) keepForEver() {
	unfinished.Lock()
	defer unfinished.Unlock()
	for i := range t.entries {
		if e := &t.entries[i]; e.completer != nil && e.memory != nil {
			unfinished.memory = append(unfinished.memory, e.memory)
		}
	}
}

// memoryOps are the operations whose Addr is the address of memory.
var memoryOps = []uring.Opcode{uring.OpRead, uring.OpRecv, uring.OpSend, uring.OpSendZC, uring.OpConnect, uring.OpTimeout}

// mute makes later completions of an entry be ignored. It is used for requests that the
// kernel cannot end.
func (t *ops) mute(userData uint64) {
	if e := t.find(userData); e != nil {
		e.completer = completerFunc(func(*uring.CQE) {})
	}
}

func (t *ops) find(userData uint64) *op {
	i := uint32(userData)
	if uint64(i) >= uint64(len(t.entries)) {
		return nil
	}
	e := &t.entries[i]
	if e.completer == nil || uint64(e.generation)<<32|opTag != userData&^(1<<32-1) {
		return nil
	}
	return e
}

// dispatch passes a completion to its completer. It returns false if there is none.
func (t *ops) dispatch(c *uring.CQE) bool {
	e := t.find(c.UserData)
	if e == nil {
		return false
	}
	completer := e.completer
	if e.kind == opRequest && !c.More() {
		t.remove(c.UserData)
	}
	completer.complete(c)
	return true
}

// completerFunc is a function that implements completer.
type completerFunc func(c *uring.CQE)

func (f completerFunc) complete(c *uring.CQE) { f(c) }
