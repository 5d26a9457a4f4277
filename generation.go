//go:build !race && (amd64 || arm64 || ppc64 || ppc64le || riscv64 || s390x || loong64 || mips64 || mips64le)

package zcrx

import "sync/atomic"

// generation counts the leases of a record. Writers hold the ledger's lock; the
// loads outside of it are those of Bytes, and of the loop, whose records came to it
// through that lock.
//
// The store is a plain one, because an atomic one is a locked exchange on amd64,
// once per buffer of a batch. Go's memory model has a load of a machine word that
// races with a store see a value that was really written, never half of one; and a
// generation only grows, so that every newer one is refused as well. A Bytes that
// comes after the Release, by whatever orders goroutines, sees its store or a later
// one: the store comes before the Unlock, which publishes it, and the compiler
// moves no store past an atomic operation. A Bytes that nothing orders may see
// either, as it may with an atomic store.
//
// The race detector knows nothing of this argument: builds for it have the atomic
// store, as have machines whose word is smaller.
type generation struct{ n uint64 }

func (g *generation) load() uint64 { return atomic.LoadUint64(&g.n) }

func (g *generation) store(n uint64) { g.n = n }
