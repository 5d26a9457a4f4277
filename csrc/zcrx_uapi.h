/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the kernel's zcrx interface that is newer than liburing 2.15:
 * events (Linux 7.2), areas added at run time (Linux 7.3) and the query for
 * events. The names have the prefix zcx, so that they do not clash with those of a
 * later liburing.
 *
 * Every size and offset that the library relies on is asserted at compile
 * time, for liburing's structs as well as for ours.
 */
#ifndef ZCRX_UAPI_H
#define ZCRX_UAPI_H

#include "zcrx_liburing.h"
#include "zcrx_layout.h"

/* Values of enum zcrx_ctrl_op past what liburing 2.15 declares. */
#define ZCX_CTRL_FLUSH_RQ 0
#define ZCX_CTRL_EXPORT 1
#define ZCX_CTRL_ARM_EVENT 2
#define ZCX_CTRL_ADD_AREA 3

/* zcx_event_desc.flags: keep copy statistics at stats_offset. */
#define ZCX_EVENT_FLAG_STATS 1

/* io_uring_query_hdr.query_op for struct zcx_query_event. */
#define ZCX_QUERY_EVENT 3

/* io_uring_zcrx_ifq_reg as of Linux 7.2: the first reserved word became
 * event_desc. */
struct zcx_ifq_reg {
	__u32 if_idx;
	__u32 if_rxq;
	__u32 rq_entries;
	__u32 flags;
	__u64 area_ptr;
	__u64 region_ptr;
	struct io_uring_zcrx_offsets offsets;
	__u32 zcrx_id;
	__u32 rx_buf_len;
	__u64 event_desc;
	__u64 resv[2];
};

struct zcx_event_desc {
	__u64 user_data;
	__u32 type_mask;
	__u32 flags;
	__u64 stats_offset;
	__u64 resv[9];
};

struct zcx_stats {
	__u64 copy_count;
	__u64 copy_bytes;
};

struct zcx_query_event {
	__u32 event_flags;
	__u32 stats_size;
	__u32 stats_off_alignment;
	__u32 resv[9];
};

struct zcx_ctrl {
	__u32 zcrx_id;
	__u32 op;
	__u64 resv[2];
	union {
		struct { __u32 zcrx_fd; __u32 pad[11]; } exp;
		struct { __u32 event_type; __u32 pad[11]; } arm;
		struct { __u64 area_ptr; __u64 pad[5]; } add;
	};
};

ZCX_SIZE(struct zcx_ifq_reg, 96);
ZCX_SIZE(struct io_uring_zcrx_ifq_reg, 96);
ZCX_OFFSET(struct zcx_ifq_reg, area_ptr, 16);
ZCX_OFFSET(struct zcx_ifq_reg, region_ptr, 24);
ZCX_OFFSET(struct zcx_ifq_reg, offsets, 32);
ZCX_OFFSET(struct zcx_ifq_reg, zcrx_id, 64);
ZCX_OFFSET(struct zcx_ifq_reg, rx_buf_len, 68);
ZCX_OFFSET(struct zcx_ifq_reg, event_desc, 72);
ZCX_SIZE(struct io_uring_zcrx_offsets, 32);
ZCX_OFFSET(struct io_uring_zcrx_offsets, rqes, 8);
ZCX_SIZE(struct io_uring_zcrx_area_reg, 48);
ZCX_OFFSET(struct io_uring_zcrx_area_reg, rq_area_token, 16);
ZCX_OFFSET(struct io_uring_zcrx_area_reg, dmabuf_fd, 28);
ZCX_SIZE(struct io_uring_region_desc, 64);
ZCX_SIZE(struct io_uring_zcrx_rqe, 16);
ZCX_SIZE(struct io_uring_zcrx_cqe, 16);
ZCX_SIZE(struct zcx_ctrl, 72);
ZCX_SIZE(struct zcrx_ctrl, 72);
ZCX_OFFSET(struct zcx_ctrl, exp, 24);
ZCX_SIZE(struct zcx_event_desc, 96);
ZCX_OFFSET(struct zcx_event_desc, type_mask, 8);
ZCX_OFFSET(struct zcx_event_desc, stats_offset, 16);
ZCX_SIZE(struct zcx_stats, 16);
ZCX_SIZE(struct zcx_query_event, 48);
ZCX_SIZE(struct io_uring_query_hdr, 40);
ZCX_SIZE(struct io_uring_query_zcrx, 40);

#endif
