//go:build race || !(amd64 || arm64 || ppc64 || ppc64le || riscv64 || s390x || loong64 || mips64 || mips64le)

package zcrx

import "sync/atomic"

// generation counts the leases of a record. See generation.go.
type generation struct{ n atomic.Uint64 }

func (g *generation) load() uint64 { return g.n.Load() }

func (g *generation) store(n uint64) { g.n.Store(n) }
