//go:build !race && (amd64 || arm64 || ppc64 || ppc64le || riscv64 || s390x || loong64 || mips64 || mips64le)

package zcrx

import "sync/atomic"

// generation counts the leases of a record. Writers hold the ledger's lock. Bytes loads it
// without the lock, and so does the loop, which got the record under that lock.
//
// The store is not atomic, because an atomic one is a locked exchange on amd64, for each
// buffer of a batch. Go's memory model guarantees that a load of a machine word that races
// with a store sees a value that was written, never half of one. A generation only grows,
// so every newer value is refused as well. A Bytes that happens after the Release sees its
// store or a later one: the store comes before the Unlock, which publishes it, and the
// compiler moves no store past an atomic operation. A Bytes that is concurrent with the
// Release may see either value, as with an atomic store.
//
// The race detector does not know this argument, so builds for it use an atomic store, and
// so do builds for machines with smaller words.
type generation struct{ n uint64 }

func (g *generation) load() uint64 { return atomic.LoadUint64(&g.n) }

func (g *generation) store(n uint64) { g.n = n }
