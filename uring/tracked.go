package uring

import "unsafe"

// trackedSQE is an entry that is prepared for Requests. The Prep methods tell it which memory
// the kernel will use. It lies on Go's heap and is copied to the queue.
type trackedSQE struct {
	SQE
	half    [sqeSize]byte // the second half of an entry of 128 bytes
	memory  [maxMemory]unsafe.Pointer
	pointed int
}

// maxMemory is how many addresses an entry has at most.
const maxMemory = 3

// trackedMark, in the last word of an entry, says that it is the first part of a trackedSQE. No
// Prep method sets that word.
const trackedMark = 0x7a637278_5351_4531

// begin empties the entry.
func (t *trackedSQE) begin() { *t = trackedSQE{SQE: SQE{tracked: trackedMark}} }

// end forgets the memory, which is the request's now, or nobody's.
func (t *trackedSQE) end() { t.memory = [maxMemory]unsafe.Pointer{} }

func (t *trackedSQE) keep(p unsafe.Pointer) {
	if t.pointed < maxMemory && p != nil {
		t.memory[t.pointed] = p
		t.pointed++
	}
}

// copyTo fills in an entry of the queue.
func (t *trackedSQE) copyTo(s *SQE, of128 bool, userData uint64) {
	*s = t.SQE
	if s.tracked == trackedMark {
		s.tracked = 0
	}
	s.UserData = userData
	if of128 {
		*(*[sqeSize]byte)(unsafe.Add(unsafe.Pointer(s), sqeSize)) = t.half
	}
}
