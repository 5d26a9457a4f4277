package zcrx

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"unsafe"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// Have returns nil if f can be used here. It returns an error that matches ErrNotSupported
// and names layer and remedy if not, and another error if that could not be found out; then
// the next call tries again. It calls ProbeFeatures, whose result is cached. Safe from any
// goroutine.
func Have(f Feature) error {
	fs, err := ProbeFeatures()
	if err != nil {
		return err
	}
	return fs.Have(f)
}

// Features says what the kernel, this process and this build support together.
type Features struct {
	Kernel   string // release, as uname -r prints it
	Liburing string // version linked in; empty without cgo

	// RefillHeaderSize is the number of bytes before a refill queue's entries,
	// RefillHeaderAlign their alignment in bytes. Both are 0 where the kernel does not
	// report them (before Linux 6.19).
	RefillHeaderSize, RefillHeaderAlign int
	// EventTypes is the number of kinds of event, EventStatsSize the size of the copy
	// statistics and EventStatsAlign their alignment, both in bytes. All are 0 before Linux
	// 7.2.
	EventTypes, EventStatsSize, EventStatsAlign int

	errs [numFeatures]error
}

// Have returns nil if the feature can be used, an error that matches ErrNotSupported if
// not, and another error if that could not be found out.
func (fs *Features) Have(f Feature) error {
	if f >= numFeatures {
		return rangeError("Feature", int64(f), 0, int64(numFeatures)-1)
	}
	return fs.errs[f]
}

// Layouts of IORING_REGISTER_QUERY (uapi linux/io_uring/query.h, Linux 6.18).
type queryOpcodes struct {
	requestOps, registerOps uint32
	features, setupFlags    uint64
	enterFlags, sqeFlags    uint64
	queryOps, _             uint32
}

type queryZCRX struct {
	registerFlags, areaFlags uint64
	ctrlOps, features        uint32
	headerSize, headerAlign  uint32
	_                        uint64
}

type queryEvent struct {
	flags, statsSize, statsAlign uint32
	_                            [9]uint32
}

const (
	queryOpOpcodes = 0
	queryOpZCRX    = 1
	queryOpEvent   = 3

	featureRxPageSize = 1 << 0 // ZCRX_FEATURE_RX_PAGE_SIZE
	featureEvent      = 1 << 1 // ZCRX_FEATURE_EVENT

	ctrlFlush   = 0
	ctrlExport  = 1
	ctrlAddArea = 3
)

// featureCache keeps a conclusive result. Callers that come while a probe runs wait for its
// result.
type featureCache struct {
	mu       sync.Mutex
	features *Features // guarded by mu
}

func (c *featureCache) get(probe func() (*Features, error)) (*Features, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.features != nil {
		return c.features, nil
	}
	fs, err := probe()
	if err == nil {
		c.features = fs
	}
	return fs, err
}

// probed caches the features of this process and its kernel, which do not change.
var probed featureCache

// ProbeFeatures finds out what the kernel, this process and this build support. It makes
// one small ring and queries the kernel; it changes nothing and leaves nothing behind. Safe
// from any goroutine.
//
// A conclusive result is cached: privileges that the process gains later are not seen. If
// the probe could not find out, for instance because the memlock limit leaves no room for
// the ring, ProbeFeatures returns an error and the next call asks again.
//
// The kernel's query (Linux 6.19) does not prove that zcrx was compiled in, so the probe
// also attempts a registration that cannot succeed and reads its errno.
func ProbeFeatures() (*Features, error) {
	return probed.get(probeFeatures)
}

// probeFeatures fills in a Features in this order: build, sandbox, opcodes, query bits, and
// a registration attempt. It always returns a *Features; the error says that something
// could not be found out and the result must not be cached.
func probeFeatures() (*Features, error) {
	fs := &Features{Kernel: sys.KernelRelease()}
	if !haveLiburing {
		fs.setAll(unsupportedBuild("io_uring"))
		return fs, nil
	}
	major, minor := uring.Version()
	fs.Liburing = fmt.Sprintf("%d.%d", major, minor)

	// The ring belongs to its thread; nothing else may run on it meanwhile.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ring, err := newRing(uring.Config{Entries: 1, Flags: uring.SetupSingleIssuer | uring.SetupDeferTaskrun | uring.SetupCQE32})
	if err != nil {
		fs.setAll(err)
		if !errors.Is(err, ErrNotSupported) || errors.Is(err, syscall.ENOMEM) {
			return fs, err // out of memory, memlock or fds: says nothing about the kernel
		}
		return fs, nil
	}
	defer func() { _ = ring.Close() }() // cannot fail on its own thread

	ops, err := ring.Probe()
	if err != nil {
		err = ringError("probe opcodes", err)
		fs.setAll(err)
		return fs, err
	}
	fs.probeCopying(ring, ops)
	fs.probeZeroCopy(ring, ops)
	return fs, nil
}

func (fs *Features) setAll(err error) {
	for i := range fs.errs {
		fs.errs[i] = err
	}
}

// set records that the kernel has the feature, or lacks it.
func (fs *Features) set(f Feature, have bool) {
	if have {
		fs.errs[f] = nil
		return
	}
	fs.errs[f] = &UnsupportedError{
		Feature: f.String(), Layer: LayerKernel, MinKernel: f.MinKernel(),
		Remedy: "use a newer kernel; this is " + fs.Kernel,
	}
}

// probeCopying finds out which features of the copying modes there are.
func (fs *Features) probeCopying(ring *zcrxRing, ops *uring.Probe) {
	// A ring with DEFER_TASKRUN was made, so this is Linux 6.1 or newer, which has
	// multishot receive (6.0) and provided-buffer rings (5.19).
	fs.set(FeatureMultishotRecv, ops.Supports(uring.OpRecv))
	fs.set(FeatureProvidedBuffers, true)
	fs.set(FeatureSendZC, ops.Supports(uring.OpSendZC))
	fs.set(FeatureBundles, ring.Features()&uring.FeatRecvSendBundle != 0)
	fs.set(FeatureIncrementalBuffers, ring.Features()&uring.FeatMinTimeout != 0) // both came with 6.12
	napi := ring.RegisterNAPI(0, false)
	if napi == nil {
		_ = ring.UnregisterNAPI() // the ring is closed soon anyway
	}
	fs.set(FeatureNAPI, napi == nil)
}

// probeZeroCopy finds out which features of the zero-copy modes there are.
func (fs *Features) probeZeroCopy(ring *zcrxRing, ops *uring.Probe) {
	var q queryOpcodes
	haveQuery := cQuery(queryOpOpcodes, unsafe.Pointer(&q), unsafe.Sizeof(q)) == 0
	fs.set(FeatureMixedCQE, haveQuery && q.setupFlags&uint64(uring.SetupCQEMixed) != 0)

	if !ops.Supports(uring.OpRecvZC) {
		for _, f := range []Feature{FeatureZeroCopy, FeatureDMABuf, FeatureImport, FeatureExport, FeatureFlush,
			FeatureBufferSize, FeatureDeviceLess, FeatureEvents, FeatureAddArea} {
			fs.set(f, false)
		}
		return
	}
	var z queryZCRX
	haveZCRX := cQuery(queryOpZCRX, unsafe.Pointer(&z), unsafe.Sizeof(z)) == 0
	// Linux 6.15 to 6.18 have zcrx and no query for it. Of these only 6.15 lacks dma-buf
	// areas, and only its version shows which one it is.
	fs.set(FeatureDMABuf, !haveZCRX && !olderKernel(fs.Kernel, 6, 16, 0) || z.areaFlags&1 != 0)
	fs.set(FeatureImport, z.registerFlags&regImport != 0)
	fs.set(FeatureExport, z.ctrlOps > ctrlExport)
	fs.set(FeatureFlush, z.ctrlOps > ctrlFlush)
	fs.set(FeatureBufferSize, z.features&featureRxPageSize != 0)
	fs.set(FeatureDeviceLess, z.registerFlags&regDeviceLess != 0)
	fs.set(FeatureEvents, z.features&featureEvent != 0)
	fs.set(FeatureAddArea, z.ctrlOps > ctrlAddArea)
	fs.set(FeatureZeroCopy, true)
	fs.RefillHeaderSize, fs.RefillHeaderAlign = int(z.headerSize), int(z.headerAlign)
	if fs.errs[FeatureEvents] == nil {
		fs.probeEvents()
	}
	fs.attemptRegistration(ring)
}

func (fs *Features) probeEvents() {
	var e queryEvent
	if cQuery(queryOpEvent, unsafe.Pointer(&e), unsafe.Sizeof(e)) != 0 {
		return
	}
	for mask := e.flags; mask != 0; mask >>= 1 {
		fs.EventTypes++
	}
	fs.EventStatsSize, fs.EventStatsAlign = int(e.statsSize), int(e.statsAlign)
}

// attemptRegistration registers a queue with arguments that no kernel accepts, and reads
// from the errno how far the call came: EOPNOTSUPP means that zcrx was compiled out, EPERM
// that the process may not register.
func (fs *Features) attemptRegistration(ring *zcrxRing) {
	_, errno := cRingRegisterIfq(ring.Pointer(), ifqRequest{})
	seen := &KernelError{Op: "register interface queue", Errno: errno}
	var err func(f Feature) error
	switch errno {
	case syscall.EPERM:
		err = func(f Feature) error { return privilegeError(f, seen) }
	case syscall.EOPNOTSUPP:
		err = func(f Feature) error {
			return &UnsupportedError{
				Feature: f.String(), Layer: LayerKernel, MinKernel: f.MinKernel(),
				Remedy: "use a kernel with CONFIG_IO_URING_ZCRX", Err: seen,
			}
		}
	default:
		return
	}
	for _, f := range []Feature{FeatureZeroCopy, FeatureDMABuf, FeatureImport, FeatureExport, FeatureFlush,
		FeatureBufferSize, FeatureDeviceLess, FeatureEvents, FeatureAddArea} {
		if fs.errs[f] == nil {
			fs.errs[f] = err(f)
		}
	}
}

// olderKernel reports whether the release is older than major.minor.patch. A release that
// cannot be parsed counts as the newest.
func olderKernel(release string, major, minor, patch int) bool {
	var got [3]int
	if n, _ := fmt.Sscanf(release, "%d.%d.%d", &got[0], &got[1], &got[2]); n < 2 {
		return false
	}
	return slices.Compare(got[:], []int{major, minor, patch}) < 0
}
