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
	int app_mem; /* the queues lie in memory of the program's */
};

static inline struct zcx_ring *zcx_ring_made(struct zcx_ring *r, int err)
{
	if (err < 0) {
		free(r);
		return NULL;
	}
	r->owner = zcx_this_thread();
	r->owner_tid = syscall(SYS_gettid);
	return r;
}

/* Returns NULL and sets *err if the ring cannot be made. */
static inline struct zcx_ring *zcx_ring_new(unsigned entries, struct io_uring_params *p,
					    void *buf, size_t size, int *err)
{
	struct zcx_ring *r = calloc(1, sizeof(*r));

	if (!r) {
		*err = -ENOMEM;
		return NULL;
	}
	r->app_mem = buf != NULL;
	if (buf)
		*err = io_uring_queue_init_mem(entries, &r->ring, p, buf, size);
	else
		*err = io_uring_queue_init_params(entries, &r->ring, p);
	return zcx_ring_made(r, *err);
}

/* zcx_ring_new for an fd that io_uring_setup returned. */
static inline struct zcx_ring *zcx_ring_map(int fd, struct io_uring_params *p, int *err)
{
	struct zcx_ring *r = calloc(1, sizeof(*r));

	if (!r) {
		*err = -ENOMEM;
		return NULL;
	}
	*err = io_uring_queue_mmap(fd, p, &r->ring);
	if (!*err && !(p->flags & IORING_SETUP_NO_SQARRAY)) {
		unsigned i;

		for (i = 0; i < p->sq_entries; i++)
			r->ring.sq.array[i] = i;
	}
	return zcx_ring_made(r, *err);
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

	if (!r->app_mem) {
		munmap(sq->sqes, sq->sqes_sz);
		munmap(sq->ring_ptr, sq->ring_sz);
		if (cq->ring_ptr && cq->ring_ptr != sq->ring_ptr)
			munmap(cq->ring_ptr, cq->ring_sz);
	}
	if (r->ring.ring_fd >= 0)
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
	if (timeout_ns < 0) /* cheaper: the kernel copies no argument */
		return io_uring_cq_ready(r) < wait_nr ? io_uring_submit_and_wait(r, wait_nr) :
							io_uring_submit(r);
	ts.tv_sec = timeout_ns / 1000000000;
	ts.tv_nsec = timeout_ns % 1000000000;
	return io_uring_submit_and_wait_timeout(r, &cqe, wait_nr, &ts, NULL);
}

/* zcx_submit on the thread that owns the ring, -EEXIST on others. */
static inline int zcx_submit_on_owner(struct zcx_ring *r, unsigned wait_nr,
					long long timeout_ns)
{
	if (!zcx_on_owner(r))
		return -EEXIST;
	return zcx_submit(&r->ring, wait_nr, timeout_ns);
}

#endif
