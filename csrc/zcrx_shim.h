/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cgo cannot express of liburing's zcrx interface: unions, structs that point
 * to each other, and the one call that a turn of a loop makes. Structs that the
 * kernel reads are filled in here, on the C stack, from flat arguments, so that they
 * never hold a pointer to Go memory.
 *
 * All functions return 0 or more, or a negative errno.
 */
#ifndef ZCRX_SHIM_H
#define ZCRX_SHIM_H

#include "uring_shim.h"
#include "zcrx_uapi.h"

/* A refill queue that the kernel is asked to empty during a turn. */
struct zcx_flush {
	__u64 khead; /* address of the queue's head, which the kernel moves */
	__u32 target; /* flush until the head has reached this tail */
	__u32 zcrx_id;
	__s32 err; /* out: 0 or a negative errno */
	__u32 calls; /* out: system calls made */
};

/*
 * FLUSH_RQ takes at most one queue's worth of entries, stops early at a bad entry,
 * and returns 0 in both cases (Linux 6.19 to 7.3). So it is repeated until the head
 * has reached the target. If a call takes no entry, err is -EIO.
 */
static inline void zcx_flush_one(struct io_uring *r, struct zcx_flush *f)
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
		f->err = io_uring_register_zcrx_ctrl(r, &ctrl);
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
 * timeout_ns (negative: for ever) has passed. Only the ring's thread may call it.
 */
static inline int zcx_turn(struct io_uring *r, unsigned wait_nr, long long timeout_ns,
			   struct zcx_flush *flushes, unsigned nr_flushes)
{
	unsigned i;

	for (i = 0; i < nr_flushes; i++)
		zcx_flush_one(r, &flushes[i]);
	return zcx_submit(r, wait_nr, timeout_ns);
}

/* The arguments and results of a zcrx registration, flat. */
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

static inline int zcx_register_ifq(struct io_uring *r, struct zcx_register *a)
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
	ret = io_uring_register_ifq(r, (struct io_uring_zcrx_ifq_reg *)&reg);
	a->zcrx_id = reg.zcrx_id;
	a->out_rq_entries = reg.rq_entries;
	a->out_rx_buf_len = reg.rx_buf_len;
	a->head = reg.offsets.head;
	a->tail = reg.offsets.tail;
	a->rqes = reg.offsets.rqes;
	a->area_token = area.rq_area_token;
	return ret;
}

/* An import passes the exported fd in the field of the interface's index. */
static inline int zcx_import_ifq(struct io_uring *r, struct zcx_register *a)
{
	struct zcx_ifq_reg reg;
	int ret;

	memset(&reg, 0, sizeof(reg));
	reg.if_idx = a->import_fd;
	reg.flags = ZCRX_REG_IMPORT;
	ret = io_uring_register_ifq(r, (struct io_uring_zcrx_ifq_reg *)&reg);
	a->zcrx_id = reg.zcrx_id;
	a->head = reg.offsets.head;
	a->tail = reg.offsets.tail;
	a->rqes = reg.offsets.rqes;
	return ret;
}

static inline int zcx_export(struct io_uring *r, __u32 zcrx_id, int *fd)
{
	struct zcx_ctrl ctrl;
	int ret;

	memset(&ctrl, 0, sizeof(ctrl));
	ctrl.zcrx_id = zcrx_id;
	ctrl.op = ZCX_CTRL_EXPORT;
	ret = io_uring_register_zcrx_ctrl(r, (struct zcrx_ctrl *)&ctrl);
	/* The kernel fills in the fd only if the call succeeds. */
	*fd = ret < 0 ? -1 : (int)ctrl.exp.zcrx_fd;
	return ret;
}

static inline int zcx_arm_event(struct io_uring *r, __u32 zcrx_id, __u32 type)
{
	struct zcx_ctrl ctrl;

	memset(&ctrl, 0, sizeof(ctrl));
	ctrl.zcrx_id = zcrx_id;
	ctrl.op = ZCX_CTRL_ARM_EVENT;
	ctrl.arm.event_type = type;
	return io_uring_register_zcrx_ctrl(r, (struct zcrx_ctrl *)&ctrl);
}

static inline int zcx_add_area(struct io_uring *r, __u32 zcrx_id, __u64 addr, __u64 len,
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
	ret = io_uring_register_zcrx_ctrl(r, (struct zcrx_ctrl *)&ctrl);
	*token = area.rq_area_token;
	return ret;
}

/*
 * Calls IORING_REGISTER_QUERY without a ring. Returns the call's own error if there
 * is one, else the entry's result.
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

#endif
