package zcrx

import (
	"context"
	"errors"
	"syscall"
	"time"
	"unsafe"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// The kernel's zcrx interface (uapi linux/io_uring/zcrx.h), typed. All calls must be made
// on the thread that owns the ring.

// zcrxRing is a ring with the kernel's zcrx interface. Its own methods return this
// package's errors; methods of the embedded uring.Ring return package uring's.
type zcrxRing struct {
	*uring.Ring
	calls ringCalls
	turns uint64 // calls of turn
}

// ringCalls are the calls into C that tests can make fail, for each ring separately.
type ringCalls struct {
	registerIfq     func(ring unsafe.Pointer, req ifqRequest) (ifqAnswer, syscall.Errno)
	importIfq       func(ring unsafe.Pointer, fd int) (ifqAnswer, syscall.Errno)
	export          func(ring unsafe.Pointer, id ZCRXID) (int, syscall.Errno)
	registerBufRing func(ring *uring.Ring, addr unsafe.Pointer, entries uint32, group uint16, flags uring.BufRingFlags) error
}

// newRing makes a ring for the calling thread, as uring.New does. It waits up to 2 seconds
// for memlock charges of rings that were closed shortly before. It returns an
// *UnsupportedError where io_uring is not available, and a *KernelError for other failures.
func newRing(cfg uring.Config) (*zcrxRing, error) {
	if !haveLiburing {
		return nil, unsupportedBuild("io_uring")
	}
	r := &zcrxRing{calls: ringCalls{
		registerIfq: cRingRegisterIfq, importIfq: cRingImportIfq, export: cRingExport,
		registerBufRing: (*uring.Ring).RegisterBufRing,
	}}
	need := ringCharge(cfg)
	err := charges.retry(context.Background(), need, func() (err error) {
		r.Ring, err = uring.New(cfg)
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			return setupError(errno, need)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Enable starts a ring that was made with SetupDisabled.
func (r *zcrxRing) Enable() error { return ringError("enable ring", r.Ring.Enable()) }

// Close closes the ring. Closing it again does nothing.
func (r *zcrxRing) Close() error {
	open := r.Pointer() != nil
	if err := r.Ring.Close(); err != nil {
		return ringError("close ring", err)
	}
	if open {
		charges.released()
	}
	return nil
}

// check refuses a call on a closed ring or off its thread, before the kernel is called.
func (r *zcrxRing) check(op string) error { return ringError(op, r.Check(op)) }

// entries returns the number of calls into C for this ring.
func (r *zcrxRing) entries() uint64 { return r.Calls() + r.turns }

// turn makes the one call into C of a loop's turn: flush, submit, wait. Only the ring's
// thread may call it. A time-out or a signal is not an error.
func (r *zcrxRing) turn(waitFor uint32, timeout time.Duration, flushes []flushRequest) (int, error) {
	ring := r.Pointer()
	if ring == nil {
		return 0, ErrClosed
	}
	r.turns++
	n, errno := cRingTurn(ring, waitFor, int64(timeout), flushes)
	switch errno {
	case 0:
		return n, nil
	case sys.ETIME, syscall.EINTR:
		return 0, nil
	}
	return 0, kernelError("submit", errno)
}

// features returns the features that a registration needs.
func (req *ifqRequest) features() []Feature {
	need := []Feature{FeatureZeroCopy}
	if req.flags&regDeviceLess != 0 {
		need[0] = FeatureDeviceLess
	}
	if req.bufferSize != 0 {
		need = append(need, FeatureBufferSize)
	}
	if req.areaFlags&areaDMABuf != 0 {
		need = append(need, FeatureDMABuf)
	}
	if req.eventMask != 0 || req.statsOffset != 0 {
		need = append(need, FeatureEvents)
	}
	return need
}

// gate does what check does, and then refuses features that the kernel or the process
// lacks.
func (r *zcrxRing) gate(op string, need ...Feature) error {
	if err := r.check(op); err != nil {
		return err
	}
	for _, f := range need {
		if err := Have(f); err != nil {
			return err
		}
	}
	return nil
}

// registerIfq registers a zcrx instance (Linux 6.15; device-less 7.1).
func (r *zcrxRing) registerIfq(req ifqRequest) (ifqAnswer, error) {
	const op = "register interface queue"
	if err := r.gate(op, req.features()...); err != nil {
		return ifqAnswer{}, err
	}
	a, errno := r.calls.registerIfq(r.Pointer(), req)
	if errno != 0 {
		return ifqAnswer{}, registerIfqError(op, req, errno)
	}
	return a, nil
}

// importIfq makes the instance of an exported fd usable on this ring (Linux 6.19). The
// kernel returns only its id and offsets; the exporter must pass on the number of entries
// and the buffer size. The fd remains the caller's and may be closed afterwards.
func (r *zcrxRing) importIfq(fd int) (ifqAnswer, error) {
	const op = "import zcrx instance"
	if err := r.gate(op, FeatureImport); err != nil {
		return ifqAnswer{}, err
	}
	a, errno := r.calls.importIfq(r.Pointer(), fd)
	if errno != 0 {
		return ifqAnswer{}, importError(op, fd, errno)
	}
	return a, nil
}

// exportIfq returns an fd through which other rings import the instance (Linux 6.19). The
// caller closes it.
func (r *zcrxRing) exportIfq(id ZCRXID) (int, error) {
	const op = "export zcrx instance"
	if err := r.gate(op, FeatureExport); err != nil {
		return -1, err
	}
	fd, errno := r.calls.export(r.Pointer(), id)
	if errno != 0 {
		return -1, ctrlError(op, FeatureExport, id, errno)
	}
	return fd, nil
}

// armEvent allows an event that has fired to fire again (Linux 7.2).
func (r *zcrxRing) armEvent(id ZCRXID, event eventType) error {
	const op = "arm zcrx event"
	if err := r.gate(op, FeatureEvents); err != nil {
		return err
	}
	errno := cRingArmEvent(r.Pointer(), id, event)
	if errno == syscall.EINVAL {
		return &KernelError{Op: op, Errno: errno, Meaning: "the event has not fired since it was last armed"}
	}
	if errno != 0 {
		return ctrlError(op, FeatureEvents, id, errno)
	}
	return nil
}

// addArea adds the buffers of an area to the instance (Linux 7.3). It returns the token
// that offsets in the new area carry.
func (r *zcrxRing) addArea(id ZCRXID, a *area) (token uint64, err error) {
	const op = "add zcrx area"
	if err := r.gate(op, FeatureAddArea); err != nil {
		return 0, err
	}
	var req ifqRequest
	a.describe(&req)
	token, errno := cRingAddArea(r.Pointer(), id, req.areaAddr, req.areaLen, req.areaFlags, req.dmabufFD)
	if errno != 0 {
		return 0, addAreaError(op, id, req, errno)
	}
	return token, nil
}

// flushIfq makes the kernel take the entries of the refill queue now (Linux 6.19). FLUSH_RQ
// takes at most a queue's worth of entries, and stops early at an entry that it refuses, so
// it is repeated until the head has reached the tail. flushIfq returns the number of system
// calls.
func (r *zcrxRing) flushIfq(id ZCRXID, q *refillQueue) (calls int, err error) {
	if err := r.gate("flush refill queue", FeatureFlush); err != nil {
		return 0, err
	}
	req := []flushRequest{newFlushRequest(id, q.khead, q.published())}
	if _, err := r.turn(0, 0, req); err != nil {
		return 0, err
	}
	calls, errno := flushResult(&req[0])
	return calls, flushError(id, errno)
}

// registerBufRing registers entries (a power of two, at most 32768) of struct
// io_uring_buf at addr as the provided-buffer ring of a group (Linux 5.19).
func (r *zcrxRing) registerBufRing(addr unsafe.Pointer, entries uint32, group uint16, flags uring.BufRingFlags) error {
	const op = "register provided-buffer ring"
	err := ringError(op, r.calls.registerBufRing(r.Ring, addr, entries, group, flags))
	seen, ok := errors.AsType[*KernelError](err)
	if !ok {
		return err
	}
	feature := FeatureProvidedBuffers
	switch seen.Errno {
	case syscall.EINVAL:
		return &UnsupportedError{
			Feature: feature.String(), Layer: LayerKernel, MinKernel: feature.MinKernel(),
			Remedy: "use a newer kernel", Err: seen,
		}
	case syscall.ENOMEM: // charged in Linux 6.16 to 7.1
		need := wholePages(uint64(entries) * uint64(providedEntrySize))
		return pinError(feature.String(), need, "buffers", seen)
	}
	return err
}

func (r *zcrxRing) unregisterBufRing(group uint16) error {
	return ringError("unregister provided-buffer ring", r.UnregisterBufRing(group))
}

// sliceAddr returns the address of b's bytes. It does not keep them alive.
func sliceAddr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
