/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cgo cannot express of liburing: unions, macros, structs that point to
 * each other, and the one call that a turn of a loop makes. Register structs
 * are built here, on the C stack, from flat arguments: no Go memory is ever
 * referred to from memory that the kernel reads.
 *
 * All functions answer 0 or more, or a negative errno.
 */
#ifndef ZCRX_SHIM_H
#define ZCRX_SHIM_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "zcrx_uapi.h"

/* A ring and the thread that owns it. */
struct zcx_ring {
	struct io_uring ring;
	pthread_t owner;
};

/* Answers NULL with *err set when the ring could not be made. */
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
	r->owner = pthread_self();
	return r;
}

static inline void zcx_ring_free(struct zcx_ring *r)
{
	io_uring_queue_exit(&r->ring);
	free(r);
}

static inline int zcx_on_owner(const struct zcx_ring *r)
{
	return pthread_equal(r->owner, pthread_self());
}

/* A refill queue that the kernel shall empty during a turn. */
struct zcx_flush {
	__u64 khead; /* address of the queue's head, which the kernel moves */
	__u32 target; /* flush until the head has reached this tail */
	__u32 zcrx_id;
	__s32 err; /* out: 0 or a negative errno */
	__u32 calls; /* out: system calls made */
};

/*
 * FLUSH_RQ handles at most one queue's worth of entries, stops early at an
 * entry it does not like and answers 0 all the same (Linux 6.19 to 7.3), so it
 * is repeated until the head is where it should be. A call that moves nothing
 * ends the attempt: -EIO.
 */
static inline void zcx_flush_one(struct zcx_ring *r, struct zcx_flush *f)
{
	const __u32 *khead = (const __u32 *)(uintptr_t)f->khead;
	__u32 head = __atomic_load_n(khead, __ATOMIC_ACQUIRE);

	f->err = 0;
	f->calls = 0;
	while ((__s32)(f->target - head) > 0) {
		struct zcrx_ctrl ctrl;
		__u32 before = head;

		memset(&ctrl, 0, sizeof(ctrl));
		ctrl.zcrx_id = f->zcrx_id;
		ctrl.op = ZCX_CTRL_FLUSH_RQ;
		f->err = io_uring_register_zcrx_ctrl(&r->ring, &ctrl);
		f->calls++;
		if (f->err < 0)
			return;
		head = __atomic_load_n(khead, __ATOMIC_ACQUIRE);
		if (head == before) {
			f->err = -EIO;
			return;
		}
	}
}

/*
 * One turn: flush the refill queues that ask for it, submit what is queued,
 * run deferred task work, and wait until wait_nr completions are there or
 * timeout_ns (negative: for ever) has passed.
 */
static inline int zcx_turn(struct zcx_ring *r, unsigned wait_nr, long long timeout_ns,
			   struct zcx_flush *flushes, unsigned nr_flushes)
{
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;
	unsigned i;

	if (!zcx_on_owner(r))
		return -EEXIST;
	for (i = 0; i < nr_flushes; i++)
		zcx_flush_one(r, &flushes[i]);
	if (!wait_nr)
		return io_uring_submit_and_get_events(&r->ring);
	ts.tv_sec = timeout_ns / 1000000000;
	ts.tv_nsec = timeout_ns % 1000000000;
	return io_uring_submit_and_wait_timeout(&r->ring, &cqe, wait_nr,
						timeout_ns < 0 ? NULL : &ts, NULL);
}

static inline int zcx_enable(struct zcx_ring *r)
{
	return io_uring_enable_rings(&r->ring);
}

static inline int zcx_register_ring_fd(struct zcx_ring *r)
{
	return io_uring_register_ring_fd(&r->ring);
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

/* The arguments and answers of a zcrx registration, flat. */
struct zcx_register {
	/* in */
	__u32 if_idx, if_rxq, rq_entries, flags, rx_buf_len;
	__u32 area_flags, dmabuf_fd;
	__u64 area_addr, area_len;
	__u64 region_addr, region_size;
	__u32 import_fd;
	__u32 event_mask; /* 0 and stats_offset 0: no event descriptor */
	__u64 event_user_data, stats_offset;
	/* out */
	__u32 zcrx_id, out_rq_entries;
	__u32 head, tail, rqes, out_rx_buf_len;
	__u64 area_token;
};

static inline int zcx_register_ifq(struct zcx_ring *r, struct zcx_register *a)
{
	struct zcx_ifq_reg reg;
	struct io_uring_zcrx_area_reg area;
	struct io_uring_region_desc region;
	struct zcx_event_desc event;
	int ret;

	memset(&reg, 0, sizeof(reg));
	memset(&area, 0, sizeof(area));
	memset(&region, 0, sizeof(region));
	memset(&event, 0, sizeof(event));

	area.addr = a->area_addr;
	area.len = a->area_len;
	area.flags = a->area_flags;
	area.dmabuf_fd = a->dmabuf_fd;
	region.user_addr = a->region_addr;
	region.size = a->region_size;
	region.flags = IORING_MEM_REGION_TYPE_USER;
	reg.if_idx = a->if_idx;
	reg.if_rxq = a->if_rxq;
	reg.rq_entries = a->rq_entries;
	reg.flags = a->flags;
	reg.rx_buf_len = a->rx_buf_len;
	reg.area_ptr = (__u64)(uintptr_t)&area;
	reg.region_ptr = (__u64)(uintptr_t)&region;
	if (a->event_mask || a->stats_offset) {
		event.user_data = a->event_user_data;
		event.type_mask = a->event_mask;
		if (a->stats_offset) {
			event.flags = ZCX_EVENT_FLAG_STATS;
			event.stats_offset = a->stats_offset;
		}
		reg.event_desc = (__u64)(uintptr_t)&event;
	}
	ret = io_uring_register_ifq(&r->ring, (struct io_uring_zcrx_ifq_reg *)&reg);
	a->zcrx_id = reg.zcrx_id;
	a->out_rq_entries = reg.rq_entries;
	a->out_rx_buf_len = reg.rx_buf_len;
	a->head = reg.offsets.head;
	a->tail = reg.offsets.tail;
	a->rqes = reg.offsets.rqes;
	a->area_token = area.rq_area_token;
	return ret;
}

/* An import carries the exported fd where a registration has its interface. */
static inline int zcx_import_ifq(struct zcx_ring *r, struct zcx_register *a)
{
	struct zcx_ifq_reg reg;
	int ret;

	memset(&reg, 0, sizeof(reg));
	reg.if_idx = a->import_fd;
	reg.flags = ZCRX_REG_IMPORT;
	ret = io_uring_register_ifq(&r->ring, (struct io_uring_zcrx_ifq_reg *)&reg);
	a->zcrx_id = reg.zcrx_id;
	a->head = reg.offsets.head;
	a->tail = reg.offsets.tail;
	a->rqes = reg.offsets.rqes;
	return ret;
}

static inline int zcx_export(struct zcx_ring *r, __u32 zcrx_id, int *fd)
{
	struct zcx_ctrl ctrl;
	int ret;

	memset(&ctrl, 0, sizeof(ctrl));
	ctrl.zcrx_id = zcrx_id;
	ctrl.op = ZCX_CTRL_EXPORT;
	ret = io_uring_register_zcrx_ctrl(&r->ring, (struct zcrx_ctrl *)&ctrl);
	/* Only a call that went well has filled in the fd. */
	*fd = ret < 0 ? -1 : (int)ctrl.exp.zcrx_fd;
	return ret;
}

static inline int zcx_arm_event(struct zcx_ring *r, __u32 zcrx_id, __u32 type)
{
	struct zcx_ctrl ctrl;

	memset(&ctrl, 0, sizeof(ctrl));
	ctrl.zcrx_id = zcrx_id;
	ctrl.op = ZCX_CTRL_ARM_EVENT;
	ctrl.arm.event_type = type;
	return io_uring_register_zcrx_ctrl(&r->ring, (struct zcrx_ctrl *)&ctrl);
}

static inline int zcx_add_area(struct zcx_ring *r, __u32 zcrx_id, __u64 addr, __u64 len,
			       __u32 flags, __u32 dmabuf_fd, __u64 *token)
{
	struct io_uring_zcrx_area_reg area;
	struct zcx_ctrl ctrl;
	int ret;

	memset(&area, 0, sizeof(area));
	memset(&ctrl, 0, sizeof(ctrl));
	area.addr = addr;
	area.len = len;
	area.flags = flags;
	area.dmabuf_fd = dmabuf_fd;
	ctrl.zcrx_id = zcrx_id;
	ctrl.op = ZCX_CTRL_ADD_AREA;
	ctrl.add.area_ptr = (__u64)(uintptr_t)&area;
	ret = io_uring_register_zcrx_ctrl(&r->ring, (struct zcrx_ctrl *)&ctrl);
	*token = area.rq_area_token;
	return ret;
}

/*
 * Asks IORING_REGISTER_QUERY without a ring. Answers the call's own error
 * first, then the entry's result.
 */
static inline int zcx_query(__u32 op, void *data, __u32 size)
{
	struct io_uring_query_hdr hdr;
	int ret;

	memset(&hdr, 0, sizeof(hdr));
	hdr.query_data = (__u64)(uintptr_t)data;
	hdr.query_op = op;
	hdr.size = size;
	ret = io_uring_register_query(&hdr);
	return ret < 0 ? ret : hdr.result;
}

/* The number of opcodes that the ring's kernel knows, by IORING_REGISTER_PROBE. */
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
