/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The return path of a zcrx buffer in C, over liburing's structs. The benchmarks
 * compare the library's with it.
 */
#ifndef CBENCH_LEASE_H
#define CBENCH_LEASE_H

#include <pthread.h>
#include "zcrx_liburing.h"

#define CBENCH_BATCH 64
#define CBENCH_WORKERS 8
/* Leases that the workers release in one round. */
#define CBENCH_ROUND 16384

/* A completion of RECV_ZC as it lies in a ring of 32-byte completions. */
struct cbench_cqe {
	struct io_uring_cqe cqe;
	struct io_uring_zcrx_cqe zcrx;
};

struct cbench_lease {
	__u64 generation;
	__u64 token;
	struct cbench_pool *home;
	struct cbench_lease *next;
};

struct cbench_buffer {
	struct cbench_lease *lease;
	__u64 generation;
	unsigned char *data;
	__u32 length;
};

struct cbench_pool {
	unsigned char *area;
	__u64 area_size, buffer_size;
	void *region;
	size_t region_size;
	struct io_uring_zcrx_rq rq;

	/* For the owner only. */
	struct cbench_lease *spare;
	struct cbench_lease *records;
	__u64 leased, leased_bytes;

	pthread_mutex_t lock;
	/* Guarded by lock, as is rq. */
	struct cbench_lease *returned;
	__u64 returns;
};

/* Returns 0 or a negative errno. entries and buffer_size must be powers of two. */
int cbench_pool_open(struct cbench_pool *p, unsigned entries, unsigned buffer_size);
void cbench_pool_close(struct cbench_pool *p);

/*
 * Each handles n completions: it computes the address, checks its bounds, reads the
 * first byte and returns the buffer. Every 64 completions it empties the refill queue,
 * as the kernel would. It returns the nanoseconds that this took, or a negative errno.
 */

/* As liburing's zcrx example: one thread, no check, a store of the tail per entry. */
long long cbench_return_plain(struct cbench_pool *p, long long n);
/* As the library: a record with a generation, a lock, a check for room. */
long long cbench_return_locked(struct cbench_pool *p, long long n);
/* The same, with 64 returns under one lock. */
long long cbench_return_batch(struct cbench_pool *p, long long n);
/* One thread leases, eight return; only the time of the returns counts. */
long long cbench_return_parallel(struct cbench_pool *p, long long n);

#endif
