//go:build linux && cgo

/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "stream.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memory.h"

#define CHUNK ((size_t)256 << 10)
#define NR_BUFFERS 16384
#define BUFFER_SIZE 4096
#define AREA_SIZE ((size_t)NR_BUFFERS * BUFFER_SIZE)
#define SQ_ENTRIES 256
#define CQ_ENTRIES 4096
/* 4096 is more than any kernel needs for the header before the entries. */
#define REGION_SIZE (4096 + NR_BUFFERS * sizeof(struct io_uring_zcrx_rqe))
#define OFFSET_MASK ((1ULL << IORING_ZCRX_AREA_SHIFT) - 1)
#define GROUP 0

enum { RECEIVE = 1, CANCEL = 2 };

int cbench_pair(int fds[2])
{
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);
	int err, l;

	fds[0] = fds[1] = -1;
	memset(&addr, 0, sizeof(addr));
	addr.sin_family = AF_INET;
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l < 0)
		return -errno;
	if (bind(l, (struct sockaddr *)&addr, len) || listen(l, 1) ||
	    getsockname(l, (struct sockaddr *)&addr, &len))
		goto fail;
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fds[0] < 0 || connect(fds[0], (struct sockaddr *)&addr, len))
		goto fail;
	fds[1] = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	if (fds[1] < 0)
		goto fail;
	close(l);
	return 0;
fail:
	err = -errno;
	if (fds[0] >= 0)
		close(fds[0]);
	close(l);
	return err;
}

static void *send_on(void *arg)
{
	struct cbench_sender *s = arg;

	while (send(s->fd, s->chunk, CHUNK, MSG_NOSIGNAL) > 0 || errno == EINTR)
		;
	return NULL;
}

int cbench_sender_start(struct cbench_sender *s, int fd)
{
	int err;

	s->fd = fd;
	s->chunk = calloc(1, CHUNK);
	if (!s->chunk)
		return -ENOMEM;
	err = pthread_create(&s->thread, NULL, send_on, s);
	if (err)
		free(s->chunk);
	return -err;
}

void cbench_sender_stop(struct cbench_sender *s)
{
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
	free(s->chunk);
}

static struct io_uring_sqe *request(struct cbench_stream *s)
{
	/* There is always room: at most two requests are in flight. */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->owned->ring);

	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

static void arm(struct cbench_stream *s)
{
	struct io_uring_sqe *sqe = request(s);

	if (s->mode == CBENCH_PROVIDED) {
		io_uring_prep_recv_multishot(sqe, s->fd, NULL, 0, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = GROUP;
	} else {
		io_uring_prep_rw(IORING_OP_RECV_ZC, sqe, s->fd, NULL, 0, 0);
		sqe->ioprio |= IORING_RECV_MULTISHOT;
		sqe->zcrx_ifq_idx = s->zcrx_id;
	}
	sqe->user_data = RECEIVE;
	s->armed = 1;
}

static int open_provided(struct cbench_stream *s)
{
	int i, err = 0;

	s->buffers = io_uring_setup_buf_ring(&s->owned->ring, NR_BUFFERS, GROUP, 0, &err);
	if (!s->buffers)
		return err;
	for (i = 0; i < NR_BUFFERS; i++)
		io_uring_buf_ring_add(s->buffers, s->area + (size_t)i * BUFFER_SIZE, BUFFER_SIZE,
				      (unsigned short)i, NR_BUFFERS - 1, i);
	io_uring_buf_ring_advance(s->buffers, NR_BUFFERS);
	return 0;
}

static int open_zcrx(struct cbench_stream *s, unsigned if_idx, unsigned if_rxq)
{
	struct zcx_register a;
	int ret;

	s->region = cbench_map(REGION_SIZE);
	if (!s->region)
		return -ENOMEM;
	memset(&a, 0, sizeof(a));
	a.rq_entries = NR_BUFFERS;
	if (s->mode == CBENCH_DEVICE_LESS)
		a.flags = ZCRX_REG_NODEV;
	a.if_idx = if_idx;
	a.if_rxq = if_rxq;
	a.area_addr = (__u64)(uintptr_t)s->area;
	a.area_len = AREA_SIZE;
	a.region_addr = (__u64)(uintptr_t)s->region;
	a.region_size = REGION_SIZE;
	ret = zcx_register_ifq(&s->owned->ring, &a);
	if (ret < 0)
		return ret;
	s->zcrx_id = a.zcrx_id;
	s->rq.khead = (__u32 *)((char *)s->region + a.head);
	s->rq.ktail = (__u32 *)((char *)s->region + a.tail);
	s->rq.rqes = (struct io_uring_zcrx_rqe *)((char *)s->region + a.rqes);
	s->rq.ring_entries = a.out_rq_entries;
	return 0;
}

int cbench_stream_open(struct cbench_stream *s, int fd, enum cbench_mode mode,
		       unsigned if_idx, unsigned if_rxq)
{
	struct io_uring_params p;
	int ret = 0;

	memset(s, 0, sizeof(*s));
	s->fd = fd;
	s->mode = mode;
	memset(&p, 0, sizeof(p));
	p.cq_entries = CQ_ENTRIES;
	p.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
		  IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_CQSIZE;
	if (mode != CBENCH_PROVIDED)
		p.flags |= IORING_SETUP_CQE32;
	s->owned = zcx_ring_new(SQ_ENTRIES, &p, NULL, 0, &ret);
	if (!s->owned)
		return ret;
	s->area = cbench_map(AREA_SIZE);
	if (!s->area)
		ret = -ENOMEM;
	else if (mode == CBENCH_PROVIDED)
		ret = open_provided(s);
	else
		ret = open_zcrx(s, if_idx, if_rxq);
	if (ret < 0)
		cbench_stream_close(s);
	return ret;
}

/* Reads the completion's first byte and returns its buffer to the kernel. */
static inline int take_provided(struct cbench_stream *s, const struct io_uring_cqe *cqe)
{
	unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	unsigned char *data;

	if (!(cqe->flags & IORING_CQE_F_BUFFER) || id >= NR_BUFFERS || cqe->res > BUFFER_SIZE)
		return -EBADMSG;
	data = s->area + (size_t)id * BUFFER_SIZE;
	s->sum += *data;
	io_uring_buf_ring_add(s->buffers, data, BUFFER_SIZE, (unsigned short)id, NR_BUFFERS - 1, 0);
	io_uring_buf_ring_advance(s->buffers, 1);
	return 0;
}

static inline int take_zcrx(struct cbench_stream *s, const struct io_uring_cqe *cqe)
{
	const struct io_uring_zcrx_cqe *z = (const struct io_uring_zcrx_cqe *)(cqe + 1);
	__u64 off = z->off & OFFSET_MASK;
	struct io_uring_zcrx_rqe *e;

	if (z->off != off || off >= AREA_SIZE || (__u64)cqe->res > AREA_SIZE - off)
		return -EBADMSG;
	s->sum += s->area[off];
	/* There is room: the queue has an entry for each buffer. */
	e = &s->rq.rqes[s->rq.rq_tail & (s->rq.ring_entries - 1)];
	e->off = z->off;
	e->len = (__u32)cqe->res;
	io_uring_smp_store_release(s->rq.ktail, ++s->rq.rq_tail);
	return 0;
}

/* Returns 0 if the receive can be armed again after a completion without data. */
static int no_data(struct cbench_stream *s, int res)
{
	switch (res) {
	case 0:
		return -ENODATA;
	case -ENOBUFS:
	case -ENOMEM:
		s->flush_now = 1; /* so that the receive finds buffers */
		return 0;
	case -ENOSPC:
	case -EINTR:
	case -EAGAIN:
		return 0;
	}
	return res;
}

/* Handles the completions that are there. */
static int reap(struct cbench_stream *s)
{
	struct io_uring *ring = &s->owned->ring;
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	int ret = 0;

	io_uring_for_each_cqe(ring, head, cqe) {
		int err = 0;

		n++;
		if (cqe->user_data == CANCEL) {
			s->cancelling = 0;
			continue;
		}
		if (!(cqe->flags & IORING_CQE_F_MORE))
			s->armed = 0;
		if (cqe->res <= 0) {
			err = no_data(s, cqe->res);
		} else {
			s->received += cqe->res;
			err = s->mode == CBENCH_PROVIDED ? take_provided(s, cqe) : take_zcrx(s, cqe);
		}
		if (err && !ret)
			ret = err;
	}
	io_uring_cq_advance(ring, n);
	return ret;
}

/* The kernel does not empty the refill queue of a device-less instance unless asked. */
static int flush(struct cbench_stream *s)
{
	__u32 pending = s->rq.rq_tail - io_uring_smp_load_acquire(s->rq.khead);
	struct zcx_flush f;

	if (!pending || (pending < NR_BUFFERS / 4 && !s->flush_now))
		return 0;
	s->flush_now = 0;
	memset(&f, 0, sizeof(f));
	f.khead = (__u64)(uintptr_t)s->rq.khead;
	f.target = s->rq.rq_tail;
	f.zcrx_id = s->zcrx_id;
	zcx_flush_one(&s->owned->ring, &f);
	return f.err;
}

int cbench_stream_run(struct cbench_stream *s, long long bytes)
{
	long long target = s->received + bytes;
	int ret;

	while (s->received < target) {
		if (s->mode == CBENCH_DEVICE_LESS) {
			ret = flush(s);
			if (ret < 0)
				return ret;
		}
		if (!s->armed)
			arm(s);
		ret = io_uring_submit_and_wait(&s->owned->ring, 1);
		if (ret < 0 && ret != -EINTR)
			return ret;
		ret = reap(s);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Waits for the end of the receive: the area must not be unmapped before. */
static void stop_receive(struct cbench_stream *s)
{
	if (s->armed) {
		struct io_uring_sqe *sqe = request(s);

		io_uring_prep_cancel64(sqe, RECEIVE, 0);
		sqe->user_data = CANCEL;
		s->cancelling = 1;
	}
	while (s->armed || s->cancelling) {
		int ret = io_uring_submit_and_wait(&s->owned->ring, 1);

		if (ret < 0 && ret != -EINTR)
			break;
		(void)reap(s); /* an error ends the receive too */
	}
}

void cbench_stream_close(struct cbench_stream *s)
{
	stop_receive(s);
	if (s->buffers)
		io_uring_free_buf_ring(&s->owned->ring, s->buffers, NR_BUFFERS, GROUP);
	zcx_ring_free(s->owned);
	cbench_unmap(s->area, AREA_SIZE);
	cbench_unmap(s->region, REGION_SIZE);
	memset(s, 0, sizeof(*s));
}
