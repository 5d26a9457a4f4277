package zcrx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Group is the pools of several loops over fewer hardware queues: some loops own the pool
// of a queue, the others import one. It is for machines with more processors than queues.
//
// All methods are safe from any goroutine. NewGroup, Replace and Close wait for the loops,
// so they must not be called on a loop.
type Group struct {
	mode     Mode
	reason   error // why Auto chose no better mode
	iface    string
	template PoolConfig
	queues   []*groupQueue  // by number; none in Provided mode
	members  []*groupMember // owners by the number of their queues, then importers

	changing   sync.Mutex // held by Replace and Close, while they wait for loops
	registered bool       // guarded by changing: a pool was registered on a loop

	mu     sync.Mutex
	turn   rotation // guarded by mu: over members
	closed bool     // guarded by mu
}

// GroupConfig configures a group.
type GroupConfig struct {
	// Mode is ZeroCopy, DeviceLess, Provided, or Auto, which is ZeroCopy where that works
	// and Provided elsewhere. In Provided mode each loop has a pool of its own, because the
	// kernel does not share these.
	Mode Mode

	// Interface and Queues name the hardware receive queues. Each queue may be there once.
	Interface string
	Queues    []int

	// Loops are the group's loops. They remain the caller's.
	//
	// Loops[i] owns the pool of Queues[i]. Loops beyond the number of queues import: the
	// first of them from the queue with the lowest number, the next from the queue with the
	// second lowest, and so on in turn. Queues beyond the number of loops are not used. In
	// DeviceLess mode the queues are only numbers for pools; in Provided mode they have no
	// meaning and may be left out.
	Loops []*Loop

	// Pool configures each pool. Its numbers are for one pool, not for all together.
	Pool PoolConfig
}

// GroupStep is a step that a group takes for a loop.
type GroupStep string

// The steps.
const (
	GroupCreate GroupStep = "create" // make an owner's pool, or a copying one
	GroupExport GroupStep = "export"
	GroupImport GroupStep = "import"
)

// GroupError says which step of a group failed, and for which loop and queue.
type GroupError struct {
	Loop  int // index in GroupConfig.Loops
	Queue int // number of the pool's queue, -1 for a pool without a queue
	Step  GroupStep
	Err   error
}

func (e *GroupError) Error() string {
	where := fmt.Sprintf("loop %d", e.Loop)
	if e.Queue >= 0 {
		where += fmt.Sprintf(", queue %d", e.Queue)
	}
	return fmt.Sprintf("zcrx: group: %s: %s pool: %s", where, e.Step, strings.TrimPrefix(e.Err.Error(), "zcrx: "))
}

// Unwrap returns the error of the step.
func (e *GroupError) Unwrap() error { return e.Err }

// groupQueue is a hardware queue and the pool on it.
type groupQueue struct {
	number  int
	members []*groupMember
	handle  *PoolHandle // nil if no member imports the pool; guarded by Group.changing

	// Guarded by Group.mu:
	napiID uint32   // 0: unknown
	turn   rotation // over members
}

// groupMember is a place in a group, for one loop at a time.
type groupMember struct {
	index int         // in GroupConfig.Loops
	queue *groupQueue // nil in Provided mode

	// Guarded by Group.mu:
	loop   *Loop
	owner  bool         // the loop made its pool, and did not import it
	pool   BufferPool   // nil while it has none
	former []BufferPool // former pools whose counters may still change
	gone   PoolStats    // the sum of former pools whose counters are final

	picksByNAPI, picksByPort, picksByTurn uint64
}

// live reports whether the member may be given connections.
func (m *groupMember) live() bool {
	return m.pool != nil && !m.loop.isClosing() && m.pool.accounts().inUse()
}

func (m *groupMember) queueNumber() int {
	if m.queue == nil {
		return -1
	}
	return m.queue.number
}

// NewGroup makes the pools of a group: the owners' first, then the importers'. Each step
// runs on its loop; NewGroup waits for it as long as ctx allows. If a step fails, the
// others are undone, the loops can be used as before, and the error is a *GroupError.
//
// What the kernel registered on a loop stays until that loop is closed, and a hardware
// queue stays in use as long. Therefore Auto does not fall back to copying once a queue was
// registered, but returns the error.
//
// Sharing a pool needs Linux 6.19. The caller must Close the group.
func NewGroup(ctx context.Context, cfg GroupConfig) (*Group, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Mode != Auto {
		return openGroup(ctx, newGroup(&cfg, cfg.Mode))
	}
	reason := errNoInterface
	if cfg.Interface != "" && len(cfg.Queues) > 0 {
		zeroCopy := newGroup(&cfg, ZeroCopy)
		g, err := openGroup(ctx, zeroCopy)
		if err == nil || zeroCopy.registered || !mayFallBack(err) {
			return g, err
		}
		reason = err
	}
	g := newGroup(&cfg, Provided)
	g.reason = reason
	return openGroup(ctx, g)
}

// check returns an error for a configuration that cannot work, before anything is tried.
func (cfg *GroupConfig) check() error {
	switch cfg.Mode {
	case Auto, Provided:
	case ZeroCopy, DeviceLess:
		if len(cfg.Queues) == 0 {
			return fmt.Errorf("zcrx: GroupConfig.Queues is empty: mode %v needs at least one queue", cfg.Mode)
		}
	default:
		return fmt.Errorf("zcrx: mode %v has no pools: allowed are %v, %v, %v and %v", cfg.Mode, Auto, ZeroCopy, DeviceLess, Provided)
	}
	for i, queue := range cfg.Queues {
		if queue < 0 || queue > maxQueue {
			return rangeError(fmt.Sprintf("GroupConfig.Queues[%d]", i), int64(queue), 0, maxQueue)
		}
		if first := slices.Index(cfg.Queues, queue); first < i {
			return fmt.Errorf("zcrx: GroupConfig.Queues[%d] and [%d] are both queue %d: each may be there once", first, i, queue)
		}
	}
	if cfg.Pool.DMABuf != 0 && min(len(cfg.Queues), len(cfg.Loops)) > 1 {
		return fmt.Errorf("zcrx: GroupConfig.Pool.DMABuf %d is the memory of one pool: the group has %d", cfg.Pool.DMABuf, min(len(cfg.Queues), len(cfg.Loops)))
	}
	return cfg.checkLoops()
}

func (cfg *GroupConfig) checkLoops() error {
	if len(cfg.Loops) == 0 {
		return errors.New("zcrx: GroupConfig.Loops is empty: a group needs at least one loop")
	}
	for i, l := range cfg.Loops {
		if l == nil {
			return fmt.Errorf("zcrx: GroupConfig.Loops[%d] is nil", i)
		}
		if first := slices.Index(cfg.Loops, l); first < i {
			return fmt.Errorf("zcrx: GroupConfig.Loops[%d] and [%d] are the same loop: each may be there once", first, i)
		}
		if l.isClosing() {
			return fmt.Errorf("zcrx: GroupConfig.Loops[%d]: %w", i, ErrClosed)
		}
	}
	return nil
}

// newGroup makes a group of the given mode, without pools.
func newGroup(cfg *GroupConfig, mode Mode) *Group {
	g := &Group{mode: mode, iface: cfg.Interface, template: cfg.Pool}
	g.arrange(cfg)
	return g
}

// openGroup makes the pools of a group.
func openGroup(ctx context.Context, g *Group) (*Group, error) {
	if g.mode == ZeroCopy {
		if err := g.checkQueues(); err != nil {
			return nil, err
		}
	}
	if len(g.queues) > 0 && len(g.queues) < len(g.members) {
		if err := errors.Join(Have(FeatureExport), Have(FeatureImport)); err != nil {
			return nil, err
		}
	}
	for _, m := range g.members { // owners come first
		pool, err := g.open(ctx, m, m.loop)
		if err != nil {
			_ = g.Close() // registrations end with their loops
			return nil, err
		}
		g.occupy(m, m.loop, pool)
	}
	return g, nil
}

// checkQueues returns an error for an interface or a queue that does not exist.
func (g *Group) checkQueues() error {
	for _, q := range g.queues {
		if _, err := g.queueOf(q).resolve(); err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) queueOf(q *groupQueue) Queue { return Queue{Interface: g.iface, Number: q.number} }

// occupy puts a loop and its pool into a place.
func (g *Group) occupy(m *groupMember, l *Loop, pool BufferPool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m.loop, m.pool = l, pool
	if p, ok := pool.(*Pool); ok {
		m.owner, m.queue.napiID = p.owner, p.napiID
	}
}

// arrange gives every loop its place and, except in Provided mode, its queue.
func (g *Group) arrange(cfg *GroupConfig) {
	for i, l := range cfg.Loops {
		m := &groupMember{index: i, loop: l, owner: true}
		if g.mode != Provided && i < len(cfg.Queues) {
			m.queue = &groupQueue{number: cfg.Queues[i]}
			g.queues = append(g.queues, m.queue)
		}
		g.members = append(g.members, m)
	}
	if g.mode == Provided {
		return
	}
	byNumber := func(a, b *groupQueue) int { return cmp.Compare(a.number, b.number) }
	slices.SortFunc(g.queues, byNumber)
	owners := len(g.queues)
	slices.SortFunc(g.members[:owners], func(a, b *groupMember) int { return byNumber(a.queue, b.queue) })
	for i, m := range g.members {
		if i >= owners {
			m.owner, m.queue = false, g.queues[(i-owners)%owners]
		}
		m.queue.members = append(m.queue.members, m)
	}
}

// open makes the pool of a place on a loop: its own pool, which is exported if the queue
// has other members, or an imported one.
func (g *Group) open(ctx context.Context, m *groupMember, l *Loop) (BufferPool, error) {
	failed := func(step GroupStep, err error) error {
		return &GroupError{Loop: m.index, Queue: m.queueNumber(), Step: step, Err: err}
	}
	q := m.queue
	if q == nil {
		pool, err := newProvidedPool(ctx, l, g.template, bestConsumption())
		if err != nil {
			return nil, failed(GroupCreate, err)
		}
		pool.reason = g.reason
		return pool, nil
	}
	if q.handle != nil {
		pool, err := ImportPool(ctx, l, q.handle)
		if err != nil {
			return nil, failed(GroupImport, err)
		}
		return pool, nil
	}
	pool, err := g.create(ctx, q, l)
	if err != nil {
		return nil, failed(GroupCreate, err)
	}
	g.registered = true
	if len(q.members) > 1 {
		if q.handle, err = pool.Export(ctx); err != nil {
			_ = pool.Close() // fails only if the loop has closed it
			return nil, failed(GroupExport, err)
		}
	}
	return pool, nil
}

// create makes the pool that owns q.
func (g *Group) create(ctx context.Context, q *groupQueue, l *Loop) (*Pool, error) {
	if g.mode == DeviceLess {
		return NewDeviceLessPool(ctx, l, g.template)
	}
	return NewPool(ctx, l, g.queueOf(q), g.template)
}

// Replace closes the pool of old, a loop of the group, and puts next into old's place with
// a pool of its own. It is for a loop that has ended or will end: next imports what old
// owned or imported, and the other members continue meanwhile. If old was alone on its
// queue, next registers a new pool there. next must not be in the group.
//
// If the new pool cannot be made, old's place is left without a pool; Replace may be called
// again.
func (g *Group) Replace(ctx context.Context, old, next *Loop) error {
	g.changing.Lock()
	defer g.changing.Unlock()
	m, pool, err := g.vacate(old, next)
	if err != nil {
		return err
	}
	if pool != nil {
		_ = pool.Close() // fails only if the loop has closed it
	}
	if pool, err = g.open(ctx, m, next); err != nil {
		return err
	}
	g.occupy(m, next, pool)
	return nil
}

// vacate empties old's place, and returns the place and the pool that was there.
func (g *Group) vacate(old, next *Loop) (*groupMember, BufferPool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, ErrClosed
	}
	m := g.find(old)
	switch {
	case m == nil:
		return nil, nil, errors.New("zcrx: replace in group: the old loop is not in the group")
	case next == nil:
		return nil, nil, errors.New("zcrx: replace in group: the new loop is nil")
	case g.find(next) != nil:
		return nil, nil, errors.New("zcrx: replace in group: the new loop is in the group already")
	case next.isClosing():
		return nil, nil, fmt.Errorf("zcrx: replace in group: the new loop: %w", ErrClosed)
	}
	pool := m.pool
	m.retire()
	return m, pool, nil
}

// find returns the member of the loop, or nil. Called with mu held.
func (g *Group) find(l *Loop) *groupMember {
	for _, m := range g.members {
		if m.loop == l {
			return m
		}
	}
	return nil
}

// Close closes every pool of the group. The loops stay open. In ZeroCopy mode the kernel
// frees a hardware queue once every loop that had a pool on it is closed. Leases that are
// out stay valid until they are released. Close may be called repeatedly.
func (g *Group) Close() error {
	g.changing.Lock()
	defer g.changing.Unlock()
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	var errs []error
	for _, pool := range g.Pools() {
		errs = append(errs, pool.Close())
	}
	for _, q := range g.queues {
		if q.handle != nil {
			errs = append(errs, q.handle.Close())
		}
	}
	return errors.Join(errs...)
}

// Mode returns how received bytes get into the buffers.
func (g *Group) Mode() Mode { return g.mode }

// Reason says why Auto did not choose a better mode; nil otherwise.
func (g *Group) Reason() error { return g.reason }

// Loops returns the loops: owners by the number of their queues, then importers.
func (g *Group) Loops() []*Loop {
	g.mu.Lock()
	defer g.mu.Unlock()
	loops := make([]*Loop, len(g.members))
	for i, m := range g.members {
		loops[i] = m.loop
	}
	return loops
}

// Pools returns the pools in the order of Loops. A loop whose Replace failed has none.
func (g *Group) Pools() []BufferPool {
	g.mu.Lock()
	defer g.mu.Unlock()
	var pools []BufferPool
	for _, m := range g.members {
		if m.pool != nil {
			pools = append(pools, m.pool)
		}
	}
	return pools
}

// Pool returns the pool of a loop, or nil if the loop has none in the group.
func (g *Group) Pool(l *Loop) BufferPool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.find(l); m != nil {
		return m.pool
	}
	return nil
}

// Queues returns the numbers of the queues that have a pool, lowest first. In Provided mode
// there are none.
func (g *Group) Queues() []int {
	numbers := make([]int, len(g.queues))
	for i, q := range g.queues {
		numbers[i] = q.number
	}
	return numbers
}
