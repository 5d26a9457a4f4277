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

// Group is the pools of several loops over fewer hardware queues: some loops own
// the pool of a queue, the others import one. It is the answer to more processors
// than queues.
//
// All methods are safe from any goroutine. NewGroup, Replace and Close wait for
// the loops, so they must not be called on a loop.
type Group struct {
	mode     Mode
	reason   error // why Auto took no better mode
	iface    string
	template PoolConfig
	queues   []*groupQueue  // by number; in Provided mode none
	members  []*groupMember // owners by queue number, then importers

	changing   sync.Mutex // held by Replace and Close, while they wait for loops
	registered bool       // guarded by changing: a pool was registered on a loop

	mu     sync.Mutex
	turn   rotation // guarded by mu: over members
	closed bool     // guarded by mu
}

// GroupConfig says what group to make.
type GroupConfig struct {
	// Mode is ZeroCopy, DeviceLess, Provided, or Auto, which is ZeroCopy where that
	// works and Provided else. In Provided mode each loop has a pool of its own:
	// the kernel shares none.
	Mode Mode

	// Interface and Queues name the hardware receive queues; no two are the same.
	Interface string
	Queues    []int

	// Loops are the group's loops, which stay the caller's.
	//
	// Loops[i] owns the pool of Queues[i]. Loops beyond the number of queues import:
	// the first of them from the queue with the lowest number, the next from that
	// with the second lowest, and so on, around. Queues beyond the number of loops
	// are left alone. In DeviceLess mode the queues are numbers of pools without a
	// queue; in Provided mode they have no meaning and may be left out.
	Loops []*Loop

	// Pool says what each pool is like. Its numbers are those of one pool, not of all
	// together.
	Pool PoolConfig
}

// GroupStep is what a group did with a loop.
type GroupStep string

// The steps.
const (
	GroupCreate GroupStep = "create" // an owner's pool, or a copying one
	GroupExport GroupStep = "export"
	GroupImport GroupStep = "import"
)

// GroupError says which step of a group failed, and where.
type GroupError struct {
	Loop  int // index in GroupConfig.Loops
	Queue int // number of the queue whose pool it was, -1 for a pool without
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

// Unwrap returns what went wrong.
func (e *GroupError) Unwrap() error { return e.Err }

// groupQueue is a hardware queue and the pool on it.
type groupQueue struct {
	number  int
	members []*groupMember
	handle  *PoolHandle // nil if nobody imports the pool; guarded by Group.changing

	// Guarded by Group.mu:
	napiID uint32   // 0: unknown
	turn   rotation // over members
}

// groupMember is a place in a group.
type groupMember struct {
	index int         // in GroupConfig.Loops
	queue *groupQueue // nil in Provided mode

	// Guarded by Group.mu:
	loop   *Loop
	owner  bool         // it created its pool
	pool   BufferPool   // nil while it has none
	former []BufferPool // whose counters may change still
	gone   PoolStats    // of former pools that are no longer kept

	picksByNAPI, picksByPort, picksByTurn uint64
}

// live tells whether connections may be given to the member.
func (m *groupMember) live() bool {
	return m.pool != nil && !m.loop.isClosing() && m.pool.accounts().inUse()
}

func (m *groupMember) queueNumber() int {
	if m.queue == nil {
		return -1
	}
	return m.queue.number
}

// NewGroup makes the pools of a group: the owners' first, then the importers'.
// Each step runs on the loop concerned and is waited for as long as ctx allows.
// If one fails, all are undone, the loops can be used as before, and the error is a
// *GroupError. The kernel alone keeps what was registered on a loop until that is
// closed: a hardware queue stays taken as long. For that reason Auto does not copy
// instead once a queue was taken, but returns the error.
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
		if err == nil || zeroCopy.registered || !calledOff(err) {
			return g, err
		}
		reason = err
	}
	g := newGroup(&cfg, Provided)
	g.reason = reason
	return openGroup(ctx, g)
}

// check refuses what can be seen to be wrong before anything is tried.
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

// newGroup makes a group whose mode is decided, without pools.
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
			_ = g.Close() // what cannot be undone ends with its loop
			return nil, err
		}
		g.occupy(m, m.loop, pool)
	}
	return g, nil
}

// checkQueues refuses an interface or a queue that does not exist.
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

// arrange gives every loop its place and, but for copying modes, its queue.
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

// open makes the pool of a place on a loop: its own, which is exported if there are
// others on the queue, or an imported one.
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
			_ = pool.Close() // its loop runs, or closed it
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

// Replace closes the pool of old, a loop of the group, and puts next into old's
// place, with a pool of its own. It is for a loop that has ended or shall end:
// next imports what old owned or imported, and the other members go on meanwhile.
// If old was alone on its queue, next registers a new pool there. next must not be
// in the group.
//
// On an error old's place is left without a pool: Replace may be tried again.
func (g *Group) Replace(ctx context.Context, old, next *Loop) error {
	g.changing.Lock()
	defer g.changing.Unlock()
	m, pool, err := g.vacate(old, next)
	if err != nil {
		return err
	}
	if pool != nil {
		_ = pool.Close() // its loop runs, or closed it
	}
	if pool, err = g.open(ctx, m, next); err != nil {
		return err
	}
	g.occupy(m, next, pool)
	return nil
}

// vacate empties old's place, and returns the pool that was there.
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

// find is called with mu held.
func (g *Group) find(l *Loop) *groupMember {
	for _, m := range g.members {
		if m.loop == l {
			return m
		}
	}
	return nil
}

// Close closes every pool of the group. The loops stay open; in ZeroCopy mode the
// kernel frees a hardware queue once the loops are closed that had a pool on it.
// Leases that are out stay valid until they are released. It is idempotent.
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

// Mode is how received bytes come into the buffers.
func (g *Group) Mode() Mode { return g.mode }

// Reason says why Auto took no better mode; nil else.
func (g *Group) Reason() error { return g.reason }

// Loops lists the loops: owners by the number of their queues, then importers.
func (g *Group) Loops() []*Loop {
	g.mu.Lock()
	defer g.mu.Unlock()
	loops := make([]*Loop, len(g.members))
	for i, m := range g.members {
		loops[i] = m.loop
	}
	return loops
}

// Pools lists the pools in the order of Loops. A loop whose Replace failed has
// none.
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

// Pool is the pool of a loop, nil if it has none in the group.
func (g *Group) Pool(l *Loop) BufferPool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.find(l); m != nil {
		return m.pool
	}
	return nil
}

// Queues lists the numbers of the queues that have a pool, lowest first. In
// Provided mode there are none.
func (g *Group) Queues() []int {
	numbers := make([]int, len(g.queues))
	for i, q := range g.queues {
		numbers[i] = q.number
	}
	return numbers
}
