/* SPDX-License-Identifier: Apache-2.0 */
#include "ring.h"
#include <time.h>

static long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int cbench_ring_open(struct io_uring *r, unsigned entries)
{
	return io_uring_queue_init(entries, r, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
}

long long cbench_nops(struct io_uring *r, long long n)
{
	struct io_uring_cqe *cqe;
	long long start = now(), i;
	int ret;

	for (i = 0; i < n; i++) {
		io_uring_prep_nop(io_uring_get_sqe(r));
		ret = io_uring_submit_and_wait(r, 1);
		if (ret < 0)
			return ret;
		ret = io_uring_peek_cqe(r, &cqe);
		if (ret < 0)
			return ret;
		io_uring_cqe_seen(r, cqe);
	}
	return now() - start;
}

/* xorshift: the same places as in Go. */
static unsigned long long next(unsigned long long *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

long long cbench_reads(struct io_uring *r, int fd, char *memory, unsigned block,
		       unsigned long long blocks, unsigned depth, long long n)
{
	unsigned long long state = 88172645463325252ULL;
	long long start = now(), begun = 0, done = 0;
	unsigned slot;

	for (slot = 0; slot < depth && begun < n; slot++, begun++) {
		struct io_uring_sqe *s = io_uring_get_sqe(r);

		io_uring_prep_read(s, fd, memory + (size_t)slot * block, block, next(&state) % blocks * block);
		s->user_data = slot;
	}
	while (done < n) {
		struct io_uring_cqe *cqe;
		unsigned head, seen = 0;
		int ret = io_uring_submit_and_wait(r, 1);

		if (ret < 0)
			return ret;
		io_uring_for_each_cqe(r, head, cqe) {
			seen++;
			if (cqe->res != (int)block)
				return cqe->res < 0 ? cqe->res : -EIO;
			if (begun < n) {
				struct io_uring_sqe *s = io_uring_get_sqe(r);

				io_uring_prep_read(s, fd, memory + cqe->user_data * block, block,
						   next(&state) % blocks * block);
				s->user_data = cqe->user_data;
				begun++;
			}
		}
		io_uring_cq_advance(r, seen);
		done += seen;
	}
	return now() - start;
}
