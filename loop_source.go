package zcrx

// What a loop knows of those above it.

// turnSource takes part in every turn of its loop: a pool. Every method runs on the
// loop's thread.
type turnSource interface {
	// beforeTurn gets buffers back to the kernel and arms the receivers that
	// waited for them. It may ask for a flush.
	beforeTurn(l *Loop)
	// queueWasFull tells that the completion queue had no room left.
	queueWasFull()
	// count shows what was leased so far, before that is handed over.
	count()
	// failReceivers ends every receiver with err.
	failReceivers(err error)
	// closeReceivers ends every receiver, lets none in any more, and calls fn once the
	// last has gone.
	closeReceivers(fn func())
	// abandonReceivers gives up what could not be ended, because the ring is going.
	abandonReceivers()
	// detach ends what the pool has on the ring, which may be closed.
	detach(r *zcrxRing)
	// dropUser ends the pool's own use of its memory.
	dropUser()
}

// flusher is a turnSource whose refill queue a turn flushes.
type flusher interface {
	turnSource
	// flushed takes the result of a flush that was asked for.
	flushed(l *Loop, f *flushRequest)
}

// publisher has something to hand over at the end of a turn.
type publisher interface{ publish() }
