//go:build linux && cgo

// Package cprep prepares submission queue entries with liburing's own functions, so
// that tests can compare the entries of package uring with them. It is a package
// because test files cannot use cgo; programs do not import it. Start with Prep.
package cprep

/*
#cgo CFLAGS: -I${SRCDIR}/../../csrc -I${SRCDIR}/../../third_party/liburing/dist/include
#cgo LDFLAGS: -L${SRCDIR}/../../third_party/liburing/dist/lib -l:liburing.a
#include <string.h>
#include "zcrx_liburing.h"

#define BUF ((void *)0x1000)
#define TS ((struct __kernel_timespec *)0x2000)

static void prep(int which, struct io_uring_sqe *s)
{
	memset(s, 0, sizeof(*s));
	switch (which) {
	case 0: io_uring_prep_nop(s); break;
	case 1: io_uring_prep_accept(s, 7, 0, 0, 02000000); break;
	case 2: io_uring_prep_multishot_accept(s, 7, 0, 0, 02000000); break;
	case 3: io_uring_prep_connect(s, 7, BUF, 16); break;
	case 4: io_uring_prep_read(s, 7, BUF, 64, 5); break;
	case 5: io_uring_prep_recv(s, 7, BUF, 64, 0x40); break;
	case 6:
		io_uring_prep_recv_multishot(s, 7, NULL, 0, 0x40);
		s->flags |= IOSQE_BUFFER_SELECT;
		s->buf_group = 9;
		break;
	case 7: io_uring_prep_send(s, 7, BUF, 64, 0x4000); break;
	case 8: io_uring_prep_send_zc(s, 7, BUF, 64, 0x4000, 8); break;
	case 9: io_uring_prep_poll_add(s, 7, 0x201); break;
	case 10: io_uring_prep_poll_multishot(s, 7, 0x201); break;
	case 11: io_uring_prep_timeout(s, TS, 3, 1); break;
	case 12: io_uring_prep_cancel64(s, 0x1122334455667788, 1); break;
	case 13: io_uring_prep_cancel_fd(s, 7, 1); break;
	case 14: io_uring_prep_shutdown(s, 7, 1); break;
	case 15: io_uring_prep_close(s, 7); break;
	case 16: io_uring_prep_msg_ring(s, 7, 33, 44, 1); break;
	case 17:
		// liburing 2.15 has no function for this; its zcrx example does the same.
		io_uring_prep_rw(IORING_OP_RECV_ZC, s, 7, NULL, 4096, 0);
		s->ioprio |= IORING_RECV_MULTISHOT;
		s->zcrx_ifq_idx = 3;
		break;
	case 18:
		io_uring_prep_recv_multishot(s, 7, NULL, 0, 0);
		s->flags |= IOSQE_BUFFER_SELECT;
		s->ioprio |= IORING_RECVSEND_BUNDLE;
		s->buf_group = 9;
		break;
	}
}
*/
import "C"

import (
	"unsafe"

	_ "github.com/zcrx-go/zcrx/csrc" // so that a changed header recompiles this
)

// The requests that Prep prepares. Their arguments are fd 7, a buffer of 64 bytes at
// Buffer, a timeout at Timespec, group 9, and the MSG flags 0x40 for receiving and
// 0x4000 for sending.
const (
	Nop = iota
	Accept
	MultishotAccept
	Connect
	Read
	Recv
	RecvMultishot
	Send
	SendZC
	PollAdd
	PollMultishot
	Timeout
	Cancel
	CancelFD
	Shutdown
	Close
	MsgRing
	RecvZC
	RecvBundle

	Buffer   = 0x1000
	Timespec = 0x2000
)

// Prep returns the entry that liburing prepares for one of the requests above.
func Prep(which int) [64]byte {
	var s C.struct_io_uring_sqe
	C.prep(C.int(which), &s)
	return *(*[64]byte)(unsafe.Pointer(&s))
}
