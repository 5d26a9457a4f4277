/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What package uring needs of liburing and cgo cannot express: inline functions, and
 * structs that the kernel reads. These are filled in here, on the C stack, from flat
 * arguments, so that they never hold a pointer to Go memory.
 *
 * All functions return 0 or more, or a negative errno.
 */
#ifndef URING_SHIM_H
#define URING_SHIM_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "zcrx_liburing.h"
#include "zcrx_layout.h"

ZCX_SIZE(struct io_uring_sqe, 64);
ZCX_SIZE(struct io_uring_cqe, 16);
ZCX_SIZE(struct io_uring_buf, 16);
ZCX_OFFSET(struct io_uring_buf_ring, tail, 14);

/*
 * The calling thread's number, which no other thread of the process ever had: a pthread_t is
 * given to a later thread, and asking the kernel for the thread id is a system call.
 */
static inline unsigned long zcx_this_thread(void)
{
	static unsigned long last;
	static __thread unsigned long own;

	if (!own)
		own = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
	return own;
}

/*
 * A ring and the thread that owns it. ring is the first field because Ring.Pointer
 * returns the address of this struct as that of the ring.
 */
struct zcx_ring {
	struct io_uring ring;
	unsigned long owner;
	pid_t owner_tid;
};

/* Returns NULL and sets *err if the ring cannot be made. */
static inline struct zcx_ring *zcx_ring_new(unsigned entries, unsigned cq_entries,
					    unsigned flags, int *err)
{
	struct io_uring_params p;
	struct zcx_ring *r = calloc(1, sizeof(*r));

	if (!r) {
		*err = -ENOMEM;
		return NULL;
	}
	memset(&p, 0, sizeof(p));
	p.flags = flags;
	if (flags & IORING_SETUP_CQSIZE)
		p.cq_entries = cq_entries;
	*err = io_uring_queue_init_params(entries, &r->ring, &p);
	if (*err < 0) {
		free(r);
		return NULL;
	}
	r->owner = zcx_this_thread();
	r->owner_tid = syscall(SYS_gettid);
	return r;
}

static inline void zcx_ring_free(struct zcx_ring *r)
{
	io_uring_queue_exit(&r->ring);
	free(r);
}

/*
 * zcx_ring_free for a ring whose thread has ended. io_uring_queue_exit would take the
 * place that the ring had among its thread's registered fds for one of the calling
 * thread's, so what liburing mapped and opened is given back here.
 */
static inline void zcx_ring_free_orphan(struct zcx_ring *r)
{
	struct io_uring_sq *sq = &r->ring.sq;
	struct io_uring_cq *cq = &r->ring.cq;

	munmap(sq->sqes, sq->sqes_sz);
	munmap(sq->ring_ptr, sq->ring_sz);
	if (cq->ring_ptr && cq->ring_ptr != sq->ring_ptr)
		munmap(cq->ring_ptr, cq->ring_sz);
	close(r->ring.ring_fd);
	free(r);
}

/* The number may have been given to another thread since: then it seems to live. */
static inline int zcx_owner_ended(const struct zcx_ring *r)
{
	return syscall(SYS_tgkill, getpid(), r->owner_tid, 0) < 0 && errno == ESRCH;
}

static inline unsigned zcx_sqe_size(const struct zcx_ring *r)
{
	return r->ring.flags & IORING_SETUP_SQE128 ? 128 : 64;
}

static inline int zcx_on_owner(const struct zcx_ring *r)
{
	return r->owner == zcx_this_thread();
}

/*
 * Submits what is queued, runs deferred task work, and waits until wait_nr
 * completions are there or timeout_ns (negative: for ever) has passed.
 */
static inline int zcx_submit(struct io_uring *r, unsigned wait_nr, long long timeout_ns)
{
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;

	if (!wait_nr)
		return io_uring_submit_and_get_events(r);
	ts.tv_sec = timeout_ns / 1000000000;
	ts.tv_nsec = timeout_ns % 1000000000;
	return io_uring_submit_and_wait_timeout(r, &cqe, wait_nr,
						timeout_ns < 0 ? NULL : &ts, NULL);
}

/* zcx_submit on the thread that owns the ring, -EEXIST on others. */
static inline int zcx_submit_on_owner(struct zcx_ring *r, unsigned wait_nr,
					long long timeout_ns)
{
	if (!zcx_on_owner(r))
		return -EEXIST;
	return zcx_submit(&r->ring, wait_nr, timeout_ns);
}

static inline int zcx_enable(struct zcx_ring *r)
{
	return io_uring_enable_rings(&r->ring);
}

static inline int zcx_register_ring_fd(struct zcx_ring *r)
{
	return io_uring_register_ring_fd(&r->ring);
}

static inline int zcx_set_iowait(struct zcx_ring *r, int enabled)
{
	return io_uring_set_iowait(&r->ring, enabled != 0);
}

static inline int zcx_register_napi(struct zcx_ring *r, unsigned busy_poll_us, int prefer)
{
	struct io_uring_napi n;

	memset(&n, 0, sizeof(n));
	n.busy_poll_to = busy_poll_us;
	n.prefer_busy_poll = prefer ? 1 : 0;
	return io_uring_register_napi(&r->ring, &n);
}

static inline int zcx_unregister_napi(struct zcx_ring *r)
{
	return io_uring_unregister_napi(&r->ring, NULL);
}

static inline int zcx_register_buf_ring(struct zcx_ring *r, __u64 addr, unsigned entries,
					unsigned short bgid, unsigned short flags)
{
	struct io_uring_buf_reg reg;

	memset(&reg, 0, sizeof(reg));
	reg.ring_addr = addr;
	reg.ring_entries = entries;
	reg.bgid = bgid;
	reg.flags = flags;
	return io_uring_register_buf_ring(&r->ring, &reg, 0);
}

static inline int zcx_unregister_buf_ring(struct zcx_ring *r, int bgid)
{
	return io_uring_unregister_buf_ring(&r->ring, bgid);
}

/* Sets supported[op] for each of the first n opcodes (IORING_REGISTER_PROBE). */
static inline int zcx_probe_ops(struct zcx_ring *r, unsigned char *supported, unsigned n)
{
	struct io_uring_probe *p = io_uring_get_probe_ring(&r->ring);
	unsigned i;

	if (!p)
		return -EOPNOTSUPP;
	for (i = 0; i < n; i++)
		supported[i] = io_uring_opcode_supported(p, (int)i) ? 1 : 0;
	io_uring_free_probe(p);
	return 0;
}

#endif
