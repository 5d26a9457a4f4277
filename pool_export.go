package zcrx

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// PoolHandle lets other loops import a pool. It holds the kernel's exported fd, and what
// the kernel does not report to importers. Until it is closed it may be imported any number
// of times, at most once by each loop, also after the pool's owner was closed. Safe from
// any goroutine.
//
// A handle keeps the pool's memory and its hardware queue in use. A handle that is dropped
// without Close is closed when the garbage collector finds it.
type PoolHandle struct {
	memory *poolMemory
	mode   Mode
	queue  Queue
	napiID uint32

	mu      sync.Mutex
	fd      int // guarded by mu: -1 when closed
	cleanup runtime.Cleanup
}

// Export makes a handle through which other loops import the pool (Linux 6.19). Only the
// owner can export; an importer returns an error. The caller must Close the handle.
func (p *Pool) Export(ctx context.Context) (*PoolHandle, error) {
	if err := Have(FeatureExport); err != nil {
		return nil, err
	}
	if !p.owner {
		return nil, errors.New("zcrx: an imported pool cannot be exported: export its owner")
	}
	h := &PoolHandle{memory: p.memory, mode: p.mode, queue: p.queue, napiID: p.napiID, fd: -1}
	err := p.loop.Do(ctx, func(*uring.Ring) (err error) {
		if p.receivers.closing || !p.loop.hasSource(p) {
			return ErrClosed
		}
		if h.fd, err = p.loop.ring.exportIfq(p.id); err != nil {
			return err
		}
		p.memory.hold()
		return nil
	})
	if err != nil {
		return nil, err
	}
	h.cleanup = runtime.AddCleanup(h, func(e exported) { e.giveUp() }, exported{fd: h.fd, memory: h.memory})
	return h, nil
}

// exported is what a handle holds.
type exported struct {
	fd     int
	memory *poolMemory
}

func (e exported) giveUp() {
	_ = sys.Close(e.fd) // no other owner of the fd
	charges.released()  // the handle may have been the last to hold the pool
	e.memory.mu.Lock()
	e.memory.drop()
	e.memory.mu.Unlock()
}

// Close closes the handle. Pools imported through it stay. It may be called repeatedly.
func (h *PoolHandle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd < 0 {
		return nil
	}
	h.cleanup.Stop()
	exported{fd: h.fd, memory: h.memory}.giveUp()
	h.fd = -1
	return nil
}

// duplicate returns an fd of the caller's own, which keeps the memory too: see exported.
// An import waits for its loop, where another function may close the handle, so nothing
// is locked meanwhile.
func (h *PoolHandle) duplicate() (fd int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd < 0 {
		return -1, ErrClosed
	}
	if fd, err = sys.Duplicate(h.fd); err == nil {
		h.memory.hold()
	}
	return fd, err
}

// Queue returns the owner's Pool.Queue.
func (h *PoolHandle) Queue() Queue { return h.queue }

// NAPIID returns the owner's Pool.NAPIID.
func (h *PoolHandle) NAPIID() int { return int(h.napiID) }

// ImportPool makes a pool on loop that uses the buffers and the hardware queue of the
// handle's pool (Linux 6.19). Receivers on it work as on the owner's; its counters are its
// own. It needs CAP_NET_ADMIN in the initial user namespace, and a loop with 32-byte
// completions. The handle remains the caller's. The caller must Close the pool; owner and
// importers may be closed in any order.
func ImportPool(ctx context.Context, loop *Loop, h *PoolHandle) (*Pool, error) {
	if err := Have(FeatureImport); err != nil {
		return nil, err
	}
	if err := loop.needWideCompletions(); err != nil {
		return nil, err
	}
	features, err := ProbeFeatures()
	if err != nil {
		return nil, err
	}
	fd, err := h.duplicate()
	if err != nil {
		return nil, fmt.Errorf("zcrx: import pool: the handle: %w", err)
	}
	own := exported{fd: fd, memory: h.memory}
	defer own.giveUp()
	p := newMember(loop, h.mode, features)
	p.queue, p.napiID = h.queue, h.napiID
	p.setMemory(h.memory)
	err = loop.Do(ctx, func(*uring.Ring) error {
		if loop.hasMember(h.memory) {
			return errors.New("zcrx: import pool: the loop is a member of the pool already")
		}
		a, err := loop.ring.importIfq(fd)
		if err != nil {
			return err
		}
		p.id = a.id
		h.memory.hold()
		h.memory.join(p)
		loop.addSource(p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// hasMember reports whether one of the loop's pools uses that memory. It runs on the loop's
// thread.
func (l *Loop) hasMember(m *poolMemory) bool {
	for _, s := range l.sources {
		if p, ok := s.(*Pool); ok && p.memory == m {
			return true
		}
	}
	return false
}
