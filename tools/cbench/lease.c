//go:build linux && cgo

/* SPDX-License-Identifier: Apache-2.0 */
#include "lease.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "memory.h"

/* The offsets that Linux 7.3 uses. */
#define HEAD_AT 0
#define TAIL_AT 64
#define ENTRIES_AT 128

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int cbench_pool_open(struct cbench_pool *p, unsigned entries, unsigned buffer_size)
{
	unsigned i;

	memset(p, 0, sizeof(*p));
	pthread_mutex_init(&p->lock, NULL);
	p->buffer_size = buffer_size;
	p->area_size = (__u64)entries * buffer_size;
	p->region_size = ENTRIES_AT + entries * sizeof(struct io_uring_zcrx_rqe);
	p->area = cbench_map(p->area_size);
	p->region = cbench_map(p->region_size);
	p->records = calloc(CBENCH_ROUND, sizeof(*p->records));
	if (!p->area || !p->region || !p->records) {
		cbench_pool_close(p);
		return -ENOMEM;
	}
	p->rq.khead = (__u32 *)((char *)p->region + HEAD_AT);
	p->rq.ktail = (__u32 *)((char *)p->region + TAIL_AT);
	p->rq.rqes = (struct io_uring_zcrx_rqe *)((char *)p->region + ENTRIES_AT);
	p->rq.ring_entries = entries;
	for (i = 0; i < CBENCH_ROUND; i++) {
		p->records[i].home = p;
		p->records[i].next = p->spare;
		p->spare = &p->records[i];
	}
	return 0;
}

void cbench_pool_close(struct cbench_pool *p)
{
	cbench_unmap(p->area, p->area_size);
	cbench_unmap(p->region, p->region_size);
	free(p->records);
	pthread_mutex_destroy(&p->lock);
	memset(p, 0, sizeof(*p));
}

/*
 * Writes the completion that the kernel would write. After the barrier the compiler must
 * read the fields again, as it must with the kernel's.
 */
static inline void next_completion(struct cbench_pool *p, struct cbench_cqe *c, long long i)
{
	c->cqe.res = (int)p->buffer_size;
	c->cqe.flags = IORING_CQE_F_MORE;
	c->zcrx.off = ((__u64)i * p->buffer_size) & (p->area_size - 1);
	__asm__ volatile("" : : "r"(c) : "memory");
}

static inline void kernel_takes_all(struct cbench_pool *p)
{
	io_uring_smp_store_release(p->rq.khead, p->rq.rq_tail);
}

static inline unsigned char *locate(const struct cbench_pool *p, const struct cbench_cqe *c)
{
	__u64 off = c->zcrx.off & ((1ULL << IORING_ZCRX_AREA_SHIFT) - 1);
	__u64 n = (__u64)c->cqe.res;

	if (c->zcrx.off >> IORING_ZCRX_AREA_SHIFT)
		return NULL; /* there is one area */
	if (!n || n > p->buffer_size || off > p->area_size || n > p->area_size - off ||
	    (off & (p->buffer_size - 1)) > p->buffer_size - n)
		return NULL;
	return p->area + off;
}

static inline void touch(const unsigned char *data)
{
	(void)*(const volatile unsigned char *)data;
}

static inline struct io_uring_zcrx_rqe *next_entry(struct cbench_pool *p)
{
	return &p->rq.rqes[p->rq.rq_tail & (p->rq.ring_entries - 1)];
}

long long cbench_return_plain(struct cbench_pool *p, long long n)
{
	long long start = now_ns();
	struct cbench_cqe c;
	long long i;

	memset(&c, 0, sizeof(c));
	for (i = 0; i < n; i++) {
		struct io_uring_zcrx_rqe *e;
		unsigned char *data;

		next_completion(p, &c, i);
		data = locate(p, &c);
		if (!data)
			return -EINVAL;
		touch(data);
		e = next_entry(p);
		e->off = c.zcrx.off;
		e->len = (__u32)c.cqe.res;
		io_uring_smp_store_release(p->rq.ktail, ++p->rq.rq_tail);
		if (i % CBENCH_BATCH == CBENCH_BATCH - 1)
			kernel_takes_all(p);
	}
	kernel_takes_all(p);
	return now_ns() - start;
}

/* For the owner only. Returns 0 if no record is left, or for a bad completion. */
static inline int take(struct cbench_pool *p, const struct cbench_cqe *c, struct cbench_buffer *b)
{
	unsigned char *data = locate(p, c);
	struct cbench_lease *l = p->spare;

	if (!data)
		return 0;
	if (!l) {
		pthread_mutex_lock(&p->lock);
		l = p->returned;
		p->returned = NULL;
		pthread_mutex_unlock(&p->lock);
		if (!l)
			return 0;
	}
	p->spare = l->next;
	l->next = NULL;
	l->token = c->zcrx.off;
	b->lease = l;
	b->generation = __atomic_load_n(&l->generation, __ATOMIC_RELAXED);
	b->data = data;
	b->length = (__u32)c->cqe.res;
	p->leased++;
	p->leased_bytes += b->length;
	return 1;
}

/*
 * Called with the lock held. Returns 1 in the first call for a lease, 0 in others.
 * The accesses are atomic because touch_lease reads the generation without the lock.
 */
static inline int end_lease(const struct cbench_buffer *b)
{
	if (__atomic_load_n(&b->lease->generation, __ATOMIC_RELAXED) != b->generation)
		return 0;
	__atomic_store_n(&b->lease->generation, b->generation + 1, __ATOMIC_RELAXED);
	return 1;
}

/* Called with the lock held. Returns 0 if the queue has no room. */
static inline int give_back(struct cbench_pool *p, struct cbench_lease *l)
{
	struct io_uring_zcrx_rqe *e;

	if (p->rq.rq_tail - io_uring_smp_load_acquire(p->rq.khead) >= p->rq.ring_entries)
		return 0;
	e = next_entry(p);
	e->off = l->token;
	e->len = 0;
	p->rq.rq_tail++;
	p->returns++;
	l->next = p->returned;
	p->returned = l;
	return 1;
}

static inline int release(struct cbench_buffer *b)
{
	struct cbench_pool *p = b->lease->home;
	int ok;

	pthread_mutex_lock(&p->lock);
	ok = end_lease(b) && give_back(p, b->lease);
	io_uring_smp_store_release(p->rq.ktail, p->rq.rq_tail);
	pthread_mutex_unlock(&p->lock);
	return ok;
}

static inline int release_all(struct cbench_buffer *b, int n)
{
	struct cbench_pool *p = b->lease->home;
	int i, ok = 1;

	pthread_mutex_lock(&p->lock);
	for (i = 0; i < n && b[i].lease->home == p; i++)
		ok &= end_lease(&b[i]) && give_back(p, b[i].lease);
	io_uring_smp_store_release(p->rq.ktail, p->rq.rq_tail);
	pthread_mutex_unlock(&p->lock);
	return ok && i == n;
}

/* Does what Buffer.Bytes does. Returns 0 if the lease has ended. */
static inline int touch_lease(const struct cbench_buffer *b)
{
	if (__atomic_load_n(&b->lease->generation, __ATOMIC_ACQUIRE) != b->generation)
		return 0;
	touch(b->data);
	return 1;
}

long long cbench_return_locked(struct cbench_pool *p, long long n)
{
	long long start = now_ns();
	struct cbench_cqe c;
	long long i;

	memset(&c, 0, sizeof(c));
	for (i = 0; i < n; i++) {
		struct cbench_buffer b;

		next_completion(p, &c, i);
		if (!take(p, &c, &b) || !touch_lease(&b) || !release(&b))
			return -EINVAL;
		if (i % CBENCH_BATCH == CBENCH_BATCH - 1)
			kernel_takes_all(p);
	}
	kernel_takes_all(p);
	return now_ns() - start;
}

long long cbench_return_batch(struct cbench_pool *p, long long n)
{
	struct cbench_buffer batch[CBENCH_BATCH];
	long long start = now_ns();
	struct cbench_cqe c;
	long long i;
	int used = 0;

	memset(&c, 0, sizeof(c));
	for (i = 0; i < n; i++) {
		next_completion(p, &c, i);
		if (!take(p, &c, &batch[used]) || !touch_lease(&batch[used]))
			return -EINVAL;
		if (++used < CBENCH_BATCH && i < n - 1)
			continue;
		if (!release_all(batch, used))
			return -EINVAL;
		used = 0;
		kernel_takes_all(p);
	}
	return now_ns() - start;
}

struct crew {
	pthread_barrier_t begin, end;
	struct cbench_buffer *out;
	int share; /* buffers of each worker; negative: end */
	int failures;
};

struct worker {
	pthread_t thread;
	struct crew *crew;
	int index;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct crew *crew = w->crew;

	for (;;) {
		struct cbench_buffer *mine;
		int i;

		pthread_barrier_wait(&crew->begin);
		if (crew->share < 0)
			return NULL;
		mine = crew->out + w->index * crew->share;
		for (i = 0; i < crew->share; i++)
			if (!release(&mine[i]))
				__atomic_fetch_add(&crew->failures, 1, __ATOMIC_RELAXED);
		pthread_barrier_wait(&crew->end);
	}
}

/* One round: the owner leases, the workers release. */
static long long run_round(struct cbench_pool *p, struct crew *crew, int share)
{
	struct cbench_cqe c;
	long long start;
	int i;

	memset(&c, 0, sizeof(c));
	for (i = 0; i < share * CBENCH_WORKERS; i++) {
		next_completion(p, &c, i);
		if (!take(p, &c, &crew->out[i]))
			return -EINVAL;
	}
	crew->share = share;
	start = now_ns();
	pthread_barrier_wait(&crew->begin);
	pthread_barrier_wait(&crew->end);
	start = now_ns() - start;
	kernel_takes_all(p);
	return crew->failures ? -EINVAL : start;
}

long long cbench_return_parallel(struct cbench_pool *p, long long n)
{
	struct worker workers[CBENCH_WORKERS];
	struct crew crew;
	long long took, sum = 0;
	int i;

	memset(&crew, 0, sizeof(crew));
	crew.out = calloc(CBENCH_ROUND, sizeof(*crew.out));
	if (!crew.out)
		return -ENOMEM;
	pthread_barrier_init(&crew.begin, NULL, CBENCH_WORKERS + 1);
	pthread_barrier_init(&crew.end, NULL, CBENCH_WORKERS + 1);
	for (i = 0; i < CBENCH_WORKERS; i++) {
		workers[i].crew = &crew;
		workers[i].index = i;
		/* The barriers wait for all eight threads. */
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			abort();
	}
	while (n > 0) {
		long long share = (n + CBENCH_WORKERS - 1) / CBENCH_WORKERS;

		if (share > CBENCH_ROUND / CBENCH_WORKERS)
			share = CBENCH_ROUND / CBENCH_WORKERS;
		took = run_round(p, &crew, (int)share);
		if (took < 0) {
			sum = took;
			break;
		}
		sum += took;
		n -= share * CBENCH_WORKERS;
	}
	crew.share = -1;
	pthread_barrier_wait(&crew.begin);
	for (i = 0; i < CBENCH_WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&crew.begin);
	pthread_barrier_destroy(&crew.end);
	free(crew.out);
	return sum;
}
