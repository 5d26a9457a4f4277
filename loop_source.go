package zcrx

// The interfaces through which a loop calls higher floors.

// turnSource takes part in every turn of its loop. Pools implement it. Every method runs on
// the loop's thread.
type turnSource interface {
	// beforeTurn returns buffers to the kernel and arms the receivers that waited for them.
	// It may ask for a flush.
	beforeTurn(l *Loop)
	// queueWasFull is called when the completion queue had no room left.
	queueWasFull()
	// count makes the number of leases so far visible to other goroutines. It is called
	// before these leases are handed over.
	count()
	// failReceivers ends every receiver with err.
	failReceivers(err error)
	// closeReceivers ends every receiver, accepts no further one, and calls fn once the
	// last has finished.
	closeReceivers(fn func())
	// abandonReceivers finishes receivers whose requests could not be ended, because the
	// ring is being closed.
	abandonReceivers()
	// detach ends the pool's use of the ring, which may be closed.
	detach(r *zcrxRing)
	// dropUser ends the pool's own use of its memory.
	dropUser()
}

// flusher is a turnSource that has a refill queue to flush.
type flusher interface {
	turnSource
	// flushed is called with the result of a flush that the flusher asked for.
	flushed(l *Loop, f *flushRequest)
}

// publisher has something to hand over at the end of a turn.
type publisher interface{ publish() }
