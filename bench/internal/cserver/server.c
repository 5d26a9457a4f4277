//go:build linux && cgo

/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "server.h"

#include "zcrx_liburing.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SQ_ENTRIES 1024
#define CQ_ENTRIES 8192
#define CACHE_LINE 64
#define GROUP 0
#define NONE UINT32_MAX

/* What a completion is of: the low bits of its user data, above which is the connection. */
enum { RECEIVE = 1, SEND, ACCEPT, HAND_OVER, ARRIVAL, STOP, KIND_MASK = 15 };

/* A part of a buffer that waits to be sent; next is the buffer after it. */
struct pending {
	uint32_t next, offset, len;
};

struct connection {
	struct connection *prev, *next;
	int fd;
	int armed;   /* a receive is in the ring */
	int sending; /* a send of the first pending buffer is */
	int starved; /* the receive found no buffer */
	int ended;   /* no more bytes will come, or none can be sent */
	uint32_t first, last; /* pending buffers in order, or NONE */
};

struct worker {
	struct cserver *server;
	pthread_t thread;
	struct io_uring ring;
	struct io_uring_buf_ring *buf_ring;
	unsigned char *memory;
	struct pending *pending; /* by the buffer's number */
	struct connection connections; /* head of a circular list */
	unsigned out;      /* buffers that are not in the buffer ring */
	unsigned returned; /* buffers there that are not yet published */
	int starving;      /* there are starved connections */
	int stop;
	uint64_t event;    /* what is read from the eventfd */
	unsigned long long sum;
	long long received __attribute__((aligned(CACHE_LINE)));
};

struct cserver {
	struct cserver_options options;
	int eventfd; /* a semaphore: each worker takes one and ends */
	sem_t ready;
	unsigned next; /* the worker that gets the next connection; used by the one that accepts */
	struct worker *workers;
};

/* The memory is there at once: the first receives have no page faults. */
static void *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static size_t memory_size(const struct cserver_options *o)
{
	return (size_t)o->buffers * o->buffer_size;
}

static unsigned char *buffer(struct worker *w, uint32_t id)
{
	return w->memory + (size_t)id * w->server->options.buffer_size;
}

static struct io_uring_sqe *entry(struct worker *w)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

	while (!sqe) {
		io_uring_submit(&w->ring);
		sqe = io_uring_get_sqe(&w->ring);
	}
	return sqe;
}

static void mark(struct io_uring_sqe *sqe, struct connection *c, unsigned kind)
{
	io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)c | kind);
}

static void accept_connections(struct worker *w)
{
	struct io_uring_sqe *sqe = entry(w);

	io_uring_prep_multishot_accept(sqe, w->server->options.listener, NULL, NULL, SOCK_CLOEXEC);
	mark(sqe, NULL, ACCEPT);
}

static void receive(struct worker *w, struct connection *c)
{
	struct io_uring_sqe *sqe = entry(w);

	io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	mark(sqe, c, RECEIVE);
	c->armed = 1;
	c->starved = 0;
}

static void open_connection(struct worker *w, int fd)
{
	struct connection *c = calloc(1, sizeof(*c)), *head = &w->connections;
	int on = 1;

	/* As all of the others do. */
	if (!c || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) {
		free(c);
		close(fd);
		return;
	}
	c->fd = fd;
	c->first = c->last = NONE;
	c->prev = head->prev;
	c->next = head;
	c->prev->next = head->prev = c;
	receive(w, c);
}

/* Closes an ended connection that the ring has no request of. */
static void close_if_idle(struct connection *c)
{
	if (!c->ended || c->armed || c->sending)
		return;
	c->prev->next = c->next;
	c->next->prev = c->prev;
	close(c->fd);
	free(c);
}

static void give_back(struct worker *w, uint32_t id)
{
	const struct cserver_options *o = &w->server->options;

	io_uring_buf_ring_add(w->buf_ring, buffer(w, id), o->buffer_size, (unsigned short)id,
			      io_uring_buf_ring_mask(o->buffers), (int)w->returned++);
	w->out--;
}

static void send_first(struct worker *w, struct connection *c)
{
	struct pending *p = &w->pending[c->first];
	struct io_uring_sqe *sqe = entry(w);

	io_uring_prep_send(sqe, c->fd, buffer(w, c->first) + p->offset, p->len - p->offset,
			   MSG_NOSIGNAL | MSG_WAITALL);
	mark(sqe, c, SEND);
	c->sending = 1;
}

static void drop_first(struct worker *w, struct connection *c)
{
	uint32_t id = c->first;

	c->first = w->pending[id].next;
	if (c->first == NONE)
		c->last = NONE;
	give_back(w, id);
}

/* Ends a connection that cannot send: its receive ends too. */
static void fail(struct worker *w, struct connection *c)
{
	c->ended = 1;
	while (c->first != NONE)
		drop_first(w, c);
	shutdown(c->fd, SHUT_RDWR);
}

static void echo(struct worker *w, struct connection *c, uint32_t id, uint32_t len)
{
	struct pending *p = &w->pending[id];

	p->offset = 0;
	p->len = len;
	p->next = NONE;
	if (c->first == NONE && !w->server->options.ring_sends) {
		ssize_t n = send(c->fd, buffer(w, id), len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n == (ssize_t)len) {
			give_back(w, id);
			return;
		}
		/* The ring sends what the socket has no room for, and finds the error. */
		if (n > 0)
			p->offset = (uint32_t)n;
	}
	if (c->first == NONE) {
		c->first = c->last = id;
		send_first(w, c);
	} else {
		w->pending[c->last].next = id;
		c->last = id;
	}
}

static void read_lines(struct worker *w, const unsigned char *p, uint32_t len)
{
	unsigned long long sum = 0;
	uint32_t i;

	for (i = 0; i < len; i += CACHE_LINE)
		sum += p[i];
	w->sum += sum;
}

static void received(struct worker *w, struct connection *c, const struct io_uring_cqe *cqe)
{
	if (!(cqe->flags & IORING_CQE_F_MORE))
		c->armed = 0;
	if (cqe->res > 0) {
		uint32_t id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

		w->out++;
		__atomic_store_n(&w->received, w->received + cqe->res, __ATOMIC_RELAXED);
		if (c->ended) {
			give_back(w, id);
		} else if (w->server->options.echo) {
			echo(w, c, id, (uint32_t)cqe->res);
		} else {
			read_lines(w, buffer(w, id), (uint32_t)cqe->res);
			give_back(w, id);
		}
	} else if (cqe->res == -ENOBUFS) {
		c->starved = w->starving = 1;
		return;
	} else {
		c->ended = 1;
	}
	if (!c->armed && !c->ended)
		receive(w, c);
	close_if_idle(c);
}

static void sent(struct worker *w, struct connection *c, int res)
{
	struct pending *p = &w->pending[c->first];

	c->sending = 0;
	if (res <= 0) {
		fail(w, c);
	} else {
		p->offset += (uint32_t)res;
		if (p->offset == p->len)
			drop_first(w, c);
		if (c->first != NONE)
			send_first(w, c);
	}
	close_if_idle(c);
}

static void accepted(struct worker *w, const struct io_uring_cqe *cqe)
{
	struct cserver *s = w->server;
	struct worker *to = &s->workers[s->next++ % s->options.threads];

	if (cqe->res >= 0 && to == w) {
		open_connection(w, cqe->res);
	} else if (cqe->res >= 0) {
		struct io_uring_sqe *sqe = entry(w);

		io_uring_prep_msg_ring(sqe, to->ring.ring_fd, (unsigned)cqe->res, ARRIVAL, 0);
		mark(sqe, NULL, HAND_OVER);
	}
	if (!(cqe->flags & IORING_CQE_F_MORE))
		accept_connections(w);
}

static void complete(struct worker *w, const struct io_uring_cqe *cqe)
{
	struct connection *c = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)KIND_MASK);

	switch (cqe->user_data & KIND_MASK) {
	case RECEIVE:
		received(w, c, cqe);
		break;
	case SEND:
		sent(w, c, cqe->res);
		break;
	case ACCEPT:
		accepted(w, cqe);
		break;
	case ARRIVAL:
		open_connection(w, cqe->res);
		break;
	case STOP:
		w->stop = 1;
		break;
	}
}

/* Publishes returned buffers, and starts the receives that waited for them. */
static void publish(struct worker *w)
{
	struct connection *c;

	io_uring_buf_ring_advance(w->buf_ring, (int)w->returned);
	w->returned = 0;
	if (!w->starving || w->out == w->server->options.buffers)
		return;
	w->starving = 0;
	for (c = w->connections.next; c != &w->connections; c = c->next)
		if (c->starved)
			receive(w, c);
}

static void *run(void *arg)
{
	struct worker *w = arg;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	unsigned head, n;

	io_uring_enable_rings(&w->ring);
	sem_post(&w->server->ready);
	sqe = entry(w);
	io_uring_prep_read(sqe, w->server->eventfd, &w->event, sizeof(w->event), 0);
	mark(sqe, NULL, STOP);
	if (w == &w->server->workers[w->server->options.threads - 1])
		accept_connections(w);
	while (!w->stop) {
		int ret = io_uring_submit_and_wait(&w->ring, 1);

		if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY)
			break;
		n = 0;
		io_uring_for_each_cqe(&w->ring, head, cqe) {
			complete(w, cqe);
			n++;
		}
		io_uring_cq_advance(&w->ring, n);
		publish(w);
	}
	return NULL;
}

static int open_worker(struct worker *w, struct cserver *s)
{
	const struct cserver_options *o = &s->options;
	struct io_uring_params p;
	unsigned i;
	int ret;

	w->server = s;
	w->connections.prev = w->connections.next = &w->connections;
	memset(&p, 0, sizeof(p));
	p.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
		  IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED;
	p.cq_entries = CQ_ENTRIES;
	ret = io_uring_queue_init_params(SQ_ENTRIES, &w->ring, &p);
	if (ret < 0)
		return ret;
	w->memory = map(memory_size(o));
	w->pending = calloc(o->buffers, sizeof(*w->pending));
	w->buf_ring = io_uring_setup_buf_ring(&w->ring, o->buffers, GROUP, 0, &ret);
	if (!w->memory || !w->pending || !w->buf_ring) {
		io_uring_queue_exit(&w->ring);
		if (w->memory)
			munmap(w->memory, memory_size(o));
		free(w->pending);
		return ret < 0 ? ret : -ENOMEM;
	}
	w->out = o->buffers;
	for (i = 0; i < o->buffers; i++)
		give_back(w, i);
	publish(w);
	return 0;
}

static void close_worker(struct worker *w)
{
	struct connection *c, *next;

	for (c = w->connections.next; c != &w->connections; c = c->next)
		shutdown(c->fd, SHUT_RDWR);
	io_uring_free_buf_ring(&w->ring, w->buf_ring, w->server->options.buffers, GROUP);
	io_uring_queue_exit(&w->ring);
	for (c = w->connections.next; c != &w->connections; c = next) {
		next = c->next;
		close(c->fd);
		free(c);
	}
	munmap(w->memory, memory_size(&w->server->options));
	free(w->pending);
}

/* Ends the first running workers, and frees the first opened ones and s. */
static void end(struct cserver *s, unsigned running, unsigned opened)
{
	uint64_t n = running;
	unsigned i;

	if (running && write(s->eventfd, &n, sizeof(n)) != sizeof(n))
		abort(); /* an eventfd takes every number but the largest */
	for (i = 0; i < running; i++)
		pthread_join(s->workers[i].thread, NULL);
	for (i = 0; i < opened; i++)
		close_worker(&s->workers[i]);
	sem_destroy(&s->ready);
	if (s->eventfd >= 0)
		close(s->eventfd);
	free(s->workers);
	free(s);
}

int cserver_start(struct cserver **out, const struct cserver_options *options)
{
	struct cserver *s = calloc(1, sizeof(*s));
	unsigned opened, running = 0;
	int err = 0;

	if (!s)
		return -ENOMEM;
	s->options = *options;
	s->workers = aligned_alloc(CACHE_LINE, options->threads * sizeof(*s->workers));
	s->eventfd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
	sem_init(&s->ready, 0, 0);
	if (!s->workers || s->eventfd < 0) {
		err = s->workers ? -errno : -ENOMEM;
		end(s, 0, 0);
		return err;
	}
	memset(s->workers, 0, options->threads * sizeof(*s->workers));
	for (opened = 0; opened < options->threads; opened++) {
		err = open_worker(&s->workers[opened], s);
		if (err < 0)
			break;
	}
	/* The last one accepts, when the others can take connections. */
	while (!err && running < opened) {
		struct worker *w = &s->workers[running];

		err = -pthread_create(&w->thread, NULL, run, w);
		if (err)
			break;
		sem_wait(&s->ready);
		running++;
	}
	if (err) {
		end(s, running, opened);
		return err;
	}
	*out = s;
	return 0;
}

long long cserver_received(struct cserver *s)
{
	long long sum = 0;
	unsigned i;

	for (i = 0; i < s->options.threads; i++)
		sum += __atomic_load_n(&s->workers[i].received, __ATOMIC_RELAXED);
	return sum;
}

void cserver_stop(struct cserver *s)
{
	int listener = s->options.listener;

	end(s, s->options.threads, s->options.threads);
	close(listener);
}
