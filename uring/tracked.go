package uring

import "unsafe"

// trackedSQE is an entry that is prepared for Requests. The Prep methods tell it which memory
// the kernel will use. It lies on Go's heap, does not move, and is copied to the queue.
type trackedSQE struct {
	SQE
	half      [sqeSize]byte // the second half of an entry of 128 bytes
	memory    [maxMemory]unsafe.Pointer
	pointed   int
	commanded bool // Command has taken the place of the mark
}

// maxMemory is how many addresses a request keeps: an entry has three at most.
const maxMemory = 4

// markOf returns what the last word of an entry at s has if it is the first part of a
// trackedSQE. No Prep method sets that word, and a copy of the entry has another mark.
func markOf(s *SQE) uint64 { return 0x7a637278_5351_4531 ^ uint64(uintptr(unsafe.Pointer(s))) }

func (s *SQE) isTracked() bool { return s.tracked == markOf(s) }

// begin empties the entry.
func (t *trackedSQE) begin() {
	*t = trackedSQE{}
	t.tracked = markOf(&t.SQE)
}

// end forgets the memory, which is the request's now, or nobody's.
func (t *trackedSQE) end() { t.memory = [maxMemory]unsafe.Pointer{} }

func (t *trackedSQE) keep(p unsafe.Pointer) {
	if p == nil {
		return
	}
	if t.pointed == maxMemory {
		panic("uring: an entry was prepared more than once: call one Prep method")
	}
	t.memory[t.pointed] = p
	t.pointed++
}

// intact reports whether the memory of the entry is known.
func (t *trackedSQE) intact() bool { return t.isTracked() || t.commanded }

// wide reports whether the entry must be one of 128 bytes.
func (t *trackedSQE) wide() bool { return t.Opcode == OpNop128 || t.Opcode == OpUringCmd128 }

// copyTo fills in an entry of the queue.
func (t *trackedSQE) copyTo(s *SQE, of128 bool, userData uint64) {
	*s = t.SQE
	if !t.commanded {
		s.tracked = 0
	}
	s.UserData = userData
	if of128 {
		*(*[sqeSize]byte)(unsafe.Add(unsafe.Pointer(s), sqeSize)) = t.half
	}
}
