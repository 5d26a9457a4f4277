package uring

import (
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"github.com/zcrx-go/zcrx/uring/uapi"
)

// A registration ends when the ring is closed.

// RegisterRingFD has the kernel remember the ring for this thread, which saves a
// look-up of the fd in each call (Linux 5.18).
//
// Implements: int io_uring_register_ring_fd(struct io_uring *ring)
func (r *Ring) RegisterRingFD() error {
	_, err := r.call(fnRegisterRingFD)
	return err
}

// UnregisterRingFD ends what RegisterRingFD began. It returns an error if the ring has no other
// fd.
//
// Implements: int io_uring_unregister_ring_fd(struct io_uring *ring)
func (r *Ring) UnregisterRingFD() error {
	if err := r.Check(functionNames[fnUnregisterRingFD]); err != nil {
		return err
	}
	if r.mem.fd < 0 {
		return errors.New("uring: unregister ring fd: the ring has no other one")
	}
	_, err := r.call(fnUnregisterRingFD)
	return err
}

// CloseRingFD closes the ring's fd and keeps the registered one, so that the ring takes no
// place in the process's table of fds. FD returns -1 from then on. It needs RegisterRingFD,
// and FeatRegRegRing for what is registered later (Linux 6.3).
//
// Implements: int io_uring_close_ring_fd(struct io_uring *ring)
func (r *Ring) CloseRingFD() error {
	if _, err := r.call(fnCloseRingFD); err != nil {
		return err
	}
	r.mem.fd = -1
	return nil
}

// SetIOWait says whether the kernel counts a thread that waits on the ring with requests in
// flight as waiting for I/O, which it does by default: the CPU then shows as 100 % iowait.
// Turning it off needs Linux 6.15; before, SetIOWait returns EOPNOTSUPP.
//
// Implements: int io_uring_set_iowait(struct io_uring *ring, bool enable_iowait)
func (r *Ring) SetIOWait(enabled bool) error {
	_, err := r.call(fnSetIowait, boolean(enabled))
	return err
}

// RegisterNAPI has a wait on the ring poll the network queues of the ring's sockets
// for up to busyPoll (0 to 71 minutes, rounded down to microseconds). prefer sets
// prefer_busy_poll: the device's interrupts stay off while the program polls often
// enough (Linux 6.9).
//
// Implements: int io_uring_register_napi(struct io_uring *ring, struct io_uring_napi *napi)
func (r *Ring) RegisterNAPI(busyPoll time.Duration, prefer bool) error {
	const most = 1<<32 - 1
	us := busyPoll.Microseconds()
	if us < 0 || us > most {
		return rangeError("busy poll time in µs", us, 0, most)
	}
	n := &uapi.NAPI{BusyPollTo: uint32(us), PreferBusyPoll: uint8(boolean(prefer))}
	_, err := r.call(fnRegisterNAPI, address(n))
	runtime.KeepAlive(n)
	return err
}

// UnregisterNAPI ends what RegisterNAPI began.
//
// Implements: int io_uring_unregister_napi(struct io_uring *ring, struct io_uring_napi *napi)
func (r *Ring) UnregisterNAPI() error {
	_, err := r.call(fnUnregisterNAPI, 0)
	return err
}

// Probe is the set of operations that a kernel supports.
type Probe struct{ ops [256]bool }

// Supports reports whether the kernel supports the operation.
//
// Implements: int io_uring_opcode_supported(const struct io_uring_probe *p, int op)
func (p *Probe) Supports(op Opcode) bool { return p.ops[op] }

// Probe asks the kernel which operations it supports.
//
// Implements: struct io_uring_probe *io_uring_get_probe_ring(struct io_uring *ring)
// Implements: int io_uring_register_probe(struct io_uring *ring, struct io_uring_probe *p, unsigned nr)
func (r *Ring) Probe() (*Probe, error) {
	answer := &struct {
		head uapi.Probe
		ops  [256]uapi.ProbeOp
	}{}
	_, err := r.call(fnRegisterProbe, address(answer), uint64(len(answer.ops)))
	runtime.KeepAlive(answer)
	if err != nil {
		return nil, err
	}
	p := &Probe{}
	for _, op := range answer.ops[:min(int(answer.head.OpsLen), len(answer.ops))] {
		p.ops[op.Op] = op.Flags&uapi.IO_URING_OP_SUPPORTED != 0
	}
	return p, nil
}

// GetProbe is Ring.Probe for a ring that it makes and closes.
//
// Implements: struct io_uring_probe *io_uring_get_probe(void)
func GetProbe() (*Probe, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := New(Config{Entries: 2})
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	return r.Probe()
}

// RegisterEventfd has the kernel add 1 to an eventfd(2) for each completion: a poller can wait
// for the ring by it. With SetupDeferTaskrun it also adds 1 when there is task work to run, which
// GetEvents does (Linux 5.2). A ring has one at most.
//
// Implements: int io_uring_register_eventfd(struct io_uring *ring, int fd)
func (r *Ring) RegisterEventfd(fd int) error {
	_, err := r.call(fnRegisterEventfd, signed(fd))
	return err
}

// RegisterEventfdAsync is RegisterEventfd for the completions of requests that a worker carried
// out, and of no others: a poll or a receive that waited is none (Linux 5.6).
//
// Implements: int io_uring_register_eventfd_async(struct io_uring *ring, int fd)
func (r *Ring) RegisterEventfdAsync(fd int) error {
	_, err := r.call(fnRegisterEventfdAsync, signed(fd))
	return err
}

// UnregisterEventfd ends what RegisterEventfd began.
//
// Implements: int io_uring_unregister_eventfd(struct io_uring *ring)
func (r *Ring) UnregisterEventfd() error {
	_, err := r.call(fnUnregisterEventfd)
	return err
}

// RegisterPersonality has the kernel keep the calling thread's credentials, and returns their
// number, for SQE.Personality (Linux 5.6).
//
// Implements: int io_uring_register_personality(struct io_uring *ring)
func (r *Ring) RegisterPersonality() (id uint16, err error) {
	n, err := r.call(fnRegisterPersonality)
	return uint16(n), err
}

// UnregisterPersonality ends what RegisterPersonality began.
//
// Implements: int io_uring_unregister_personality(struct io_uring *ring, int id)
func (r *Ring) UnregisterPersonality(id uint16) error {
	_, err := r.call(fnUnregisterPersonality, uint64(id))
	return err
}

// Restriction is one of the things that a ring with restrictions allows.
type Restriction struct{ raw uapi.Restriction }

// AllowRegister allows a registration: op is an uapi.IORING_REGISTER_* number.
func AllowRegister(op uint8) Restriction {
	return Restriction{uapi.Restriction{Opcode: uapi.IORING_RESTRICTION_REGISTER_OP, RegisterOp: op}}
}

// AllowOp allows an operation.
func AllowOp(op Opcode) Restriction {
	return Restriction{uapi.Restriction{Opcode: uapi.IORING_RESTRICTION_SQE_OP, RegisterOp: uint8(op)}}
}

// AllowFlags allows flags of entries.
func AllowFlags(flags SQEFlags) Restriction {
	return Restriction{uapi.Restriction{Opcode: uapi.IORING_RESTRICTION_SQE_FLAGS_ALLOWED, RegisterOp: uint8(flags)}}
}

// RequireFlags refuses entries without all of the flags.
func RequireFlags(flags SQEFlags) Restriction {
	return Restriction{uapi.Restriction{Opcode: uapi.IORING_RESTRICTION_SQE_FLAGS_REQUIRED, RegisterOp: uint8(flags)}}
}

// RegisterRestrictions has the kernel refuse everything but what is allowed, with EACCES, for
// as long as the ring lives. The ring must have been made with SetupDisabled, and the
// restrictions begin with Enable (Linux 5.10).
//
// Implements: int io_uring_register_restrictions(struct io_uring *ring, struct io_uring_restriction *res, unsigned int nr_res)
func (r *Ring) RegisterRestrictions(allowed ...Restriction) error {
	_, err := r.call(fnRegisterRestrictions, sliceAddress(allowed), uint64(len(allowed)))
	runtime.KeepAlive(allowed)
	return err
}

// RegisterWorkerCPUs has the kernel's workers for this process run on those CPUs only
// (Linux 5.14).
//
// Implements: int io_uring_register_iowq_aff(struct io_uring *ring, size_t cpusz, const cpu_set_t *mask)
func (r *Ring) RegisterWorkerCPUs(cpus ...int) error {
	const bits, most = wordBits, 1 << 16
	if len(cpus) == 0 {
		return errors.New("uring: no CPUs: there must be at least one")
	}
	var mask []uintptr
	for _, cpu := range cpus {
		if cpu < 0 || cpu >= most {
			return rangeError("CPU", int64(cpu), 0, most-1)
		}
		for cpu/bits >= len(mask) {
			mask = append(mask, 0)
		}
		mask[cpu/bits] |= 1 << (cpu % bits)
	}
	_, err := r.call(fnRegisterIowqAff, uint64(len(mask)*bits/8), sliceAddress(mask))
	runtime.KeepAlive(mask)
	return err
}

// UnregisterWorkerCPUs ends what RegisterWorkerCPUs began.
//
// Implements: int io_uring_unregister_iowq_aff(struct io_uring *ring)
func (r *Ring) UnregisterWorkerCPUs() error {
	_, err := r.call(fnUnregisterIowqAff)
	return err
}

// RegisterMaxWorkers bounds the kernel's workers of this process on a NUMA node: for files and
// block devices (bounded), and for sockets, pipes and the like (unbounded). 0 leaves a number
// as it is. It returns the numbers before (Linux 5.15).
//
// Implements: int io_uring_register_iowq_max_workers(struct io_uring *ring, unsigned int *values)
func (r *Ring) RegisterMaxWorkers(bounded, unbounded uint32) (hadBounded, hadUnbounded uint32, err error) {
	values := &[2]uint32{bounded, unbounded}
	_, err = r.call(fnRegisterIowqMaxWorkers, address(values))
	runtime.KeepAlive(values)
	return values[0], values[1], err
}

// RegisterClock sets the clock of the ring's wait timeouts: unix.CLOCK_MONOTONIC, the default,
// or unix.CLOCK_BOOTTIME (Linux 6.12).
//
// Implements: int io_uring_register_clock(struct io_uring *ring, struct io_uring_clock_register *arg)
func (r *Ring) RegisterClock(clock int) error {
	arg := &uapi.ClockRegister{Clockid: uint32(clock)}
	_, err := r.call(fnRegisterClock, address(arg))
	runtime.KeepAlive(arg)
	return err
}

// SyncCancel says what Ring.SyncCancel cancels.
type SyncCancel struct {
	UserData uint64      // of the requests; not with CancelFD, CancelAny and CancelOp, unless CancelUserData is set
	FD       int         // with CancelFD
	Op       Opcode      // with CancelOp
	Flags    CancelFlags // as for PrepCancel
	// Timeout is how long to wait for requests that cannot be ended at once: ETIME after it.
	// A negative one waits for ever.
	Timeout time.Duration
}

// SyncCancel cancels requests and waits until they have ended. It returns how many, with
// CancelAll and CancelAny, else 0. Their completions come as always; ENOENT means that none
// matched (Linux 6.0).
//
// Implements: int io_uring_register_sync_cancel(struct io_uring *ring, struct io_uring_sync_cancel_reg *reg)
func (r *Ring) SyncCancel(what SyncCancel) (int, error) {
	arg := &uapi.SyncCancelReg{Addr: what.UserData, FD: int32(what.FD), Flags: uint32(what.Flags), Opcode: uint8(what.Op)}
	arg.Timeout = uapi.Timespec{Sec: -1, Nsec: -1}
	if what.Timeout >= 0 {
		arg.Timeout = TimespecOf(what.Timeout)
	}
	n, err := r.call(fnRegisterSyncCancel, address(arg))
	runtime.KeepAlive(arg)
	return n, err
}

// RegisterSyncMsg carries out an entry made by PrepMsgRing, PrepMsgRingFD and the like, at once
// and without a ring: for programs that only send to the rings of others (Linux 6.13).
//
// Implements: int io_uring_register_sync_msg(struct io_uring_sqe *sqe)
func RegisterSyncMsg(s *SQE) error {
	_, err := callC(fnRegisterSyncMsg, address(s))
	runtime.KeepAlive(s)
	return err
}

// RegisterRegion registers memory of the program for what the flags say: with
// uapi.IORING_MEM_REGION_REG_WAIT_ARG, for the arguments of waits (SubmitAndWaitReg). memory
// begins with a page, is not Go's heap, and must stay mapped until after Close. The ring must
// have been made with SetupDisabled (Linux 6.13).
//
// Implements: int io_uring_register_region(struct io_uring *ring, struct io_uring_mem_region_reg *reg)
func (r *Ring) RegisterRegion(memory []byte, flags uint64) error {
	region := &uapi.RegionDesc{UserAddr: sliceAddress(memory), Size: uint64(len(memory)), Flags: uapi.IORING_MEM_REGION_TYPE_USER}
	arg := &uapi.MemRegionReg{RegionUptr: address(region), Flags: flags}
	_, err := r.call(fnRegisterRegion, address(arg))
	runtime.KeepAlive(region)
	runtime.KeepAlive(arg)
	return err
}

// RegisterWaitReg returns EINVAL: liburing 2.15 has the function, and no kernel has the
// registration any more. RegisterRegion has replaced it.
//
// Implements: int io_uring_register_wait_reg(struct io_uring *ring, struct io_uring_reg_wait *reg, int nr)
func (r *Ring) RegisterWaitReg(args []uapi.RegWait) error {
	_, err := r.call(fnRegisterWaitReg, sliceAddress(args), uint64(len(args)))
	runtime.KeepAlive(args)
	return err
}

// RegisterBPFFilter has the kernel ask a classic BPF program before each request of the ring
// with the filter's operation (Linux 7.0).
//
// Implements: int io_uring_register_bpf_filter(struct io_uring *ring, struct io_uring_bpf *bpf)
func (r *Ring) RegisterBPFFilter(filter *BPFFilter) error {
	arg, err := filter.arg()
	if err != nil {
		return err
	}
	_, err = r.call(fnRegisterBPFFilter, address(arg))
	runtime.KeepAlive(arg)
	runtime.KeepAlive(filter)
	return err
}

// RegisterBPFFilterTask is RegisterBPFFilter for all rings that the calling thread makes from
// now on.
//
// Implements: int io_uring_register_bpf_filter_task(struct io_uring_bpf *bpf)
func RegisterBPFFilterTask(filter *BPFFilter) error {
	arg, err := filter.arg()
	if err != nil {
		return err
	}
	_, err = callC(fnRegisterBPFFilterTask, address(arg))
	runtime.KeepAlive(arg)
	runtime.KeepAlive(filter)
	return err
}

// BPFFilter is a filter of requests. Its program gets an uapi.BPFCtx, and returns 1 to allow a
// request, or 0, which ends it with EACCES.
type BPFFilter struct {
	Op      Opcode
	Flags   uint32 // uapi.IO_URING_BPF_FILTER_*
	PDUSize uint8  // the length in bytes of what BPFCtx has for the operation; 0 if it has nothing
	Program []BPFInstruction
}

// BPFInstruction is an instruction of classic BPF, with the layout of struct sock_filter.
type BPFInstruction struct {
	Code   uint16
	Jt, Jf uint8
	K      uint32
}

func (f *BPFFilter) arg() (*uapi.BPF, error) {
	const most = 4096 // BPF_MAXINSNS
	if len(f.Program) < 1 || len(f.Program) > most {
		return nil, rangeError("number of BPF instructions", int64(len(f.Program)), 1, most)
	}
	arg := &uapi.BPF{CmdType: uapi.IO_URING_BPF_CMD_FILTER}
	arg.Filter = uapi.BPFFilter{
		Opcode: uint32(f.Op), Flags: f.Flags, FilterLen: uint32(len(f.Program)), PDUSize: f.PDUSize,
		FilterPtr: sliceAddress(f.Program),
	}
	return arg, nil
}

// Query asks the kernel about itself: op is an uapi.IO_URING_QUERY_* number, and answer gets
// what the kernel knows of the struct for it, such as uapi.QueryOpcode. It returns how many
// bytes that was. It needs no ring (Linux 6.18).
//
// Implements: int io_uring_register_query(struct io_uring_query_hdr *query)
func Query(op uint32, answer unsafe.Pointer, size int) (int, error) {
	if size < 0 || size > maxQuery {
		return 0, rangeError("size of the answer", int64(size), 0, maxQuery)
	}
	query := &uapi.QueryHdr{QueryOp: op, QueryData: uint64(escape(answer)), Size: uint32(size)}
	_, err := callC(fnRegisterQuery, address(query))
	runtime.KeepAlive(answer)
	if err != nil {
		return 0, err
	}
	if query.Result < 0 {
		return 0, fmt.Errorf("uring: query %d: %w", op, errnoOf32(query.Result))
	}
	return int(query.Size), nil
}

// maxQuery is the largest answer that the kernel accepts: a page.
const maxQuery = 4096
