/* SPDX-License-Identifier: GPL-2.0 */
/*
 * zcnic: a pair of Ethernet devices, linked to each other in software, whose
 * receive queues support memory providers: io_uring zero-copy receive works on
 * them as on hardware with header split. A test device. See README.md.
 *
 * Locks:
 *  - the netdev instance lock (netdev_lock) guards open and stop, queue
 *    operations, ethtool operations, and the tables that these write;
 *  - struct zcnic_rxq.lock guards what the sending and the receiving side share;
 *  - only a queue's NAPI uses the rest of the queue while it is enabled.
 */
#ifndef ZCNIC_H
#define ZCNIC_H

#include <linux/bitmap.h>
#include <linux/ethtool.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <net/netdev_queues.h>
#include <net/netmem.h>

#define ZCNIC_MAX_QUEUES	16
#define ZCNIC_MAX_PAIRS		4
#define ZCNIC_MAX_RING		4096
#define ZCNIC_MAX_MTU		16000
#define ZCNIC_MAX_BUFFER	SZ_1M	/* biggest rx_buf_len */
#define ZCNIC_RULES		64	/* ntuple rules */
#define ZCNIC_CONTEXTS		8	/* RSS contexts; 0 is the device's own */
#define ZCNIC_INDIR		128	/* entries of an RSS table */
#define ZCNIC_KEY		40	/* bytes of an RSS key */
#define ZCNIC_TUPLE		36	/* bytes of the longest 4-tuple: IPv6 */

struct bpf_prog;
struct page_pool;

/* Module options: module.c describes them. */
struct zcnic_options {
	unsigned int pairs;
	unsigned int queues;
	unsigned int mtu;
	unsigned int ring;
	unsigned int backlog;
	bool tso;
	bool queue_mgmt;
	bool page_size;
	bool xdp;
	/* These may change at any time. */
	bool pack;
	unsigned int lose_nth;
	unsigned int unsplit_nth;
	unsigned int late_nth;
	unsigned int reorder_nth;
};

extern struct zcnic_options zcnic_options;

/* The payload buffers of a receive queue, which restarting the queue replaces. */
struct zcnic_buffers {
	struct page_pool *pool;
	netmem_ref *ring;	/* posted buffers: count of size, from head on */
	u32 size;
	u32 head;
	u32 count;
	netmem_ref current_buffer;	/* filled up to offset; 0: none */
	u32 offset;
	u32 len;		/* bytes of a buffer */
};

/* Counters of a receive queue, written by its NAPI only. ethtool.c has their
 * names, in this order.
 */
struct zcnic_rx_stats {
	u64 packets;
	u64 bytes;
	u64 split_packets;
	u64 placed_fragments;	/* payload in the memory provider's buffers */
	u64 placed_bytes;
	u64 page_fragments;	/* payload in ordinary pages */
	u64 page_bytes;
	u64 linear_bytes;	/* payload beside the headers */
	u64 no_buffer;		/* packets dropped: no payload buffer */
	u64 refill_failures;	/* polls that could not fill the ring */
	u64 lost;		/* packets, on purpose */
	u64 unsplit;
	u64 late;		/* packets split too late */
	u64 reordered;
	u64 xdp_drops;
	u64 no_memory;		/* packets dropped: no sk_buff or page */
};

/* Counters of a transmit queue, written under its transmit lock. */
struct zcnic_tx_stats {
	u64 packets;
	u64 bytes;
};

struct zcnic_rxq {
	struct napi_struct napi;
	struct zcnic_dev *zn;
	u16 index;
	bool swap;		/* the next two packets arrive in the other order */
	u32 sequence;		/* of packets with payload, for faults */
	struct zcnic_buffers buffers;
	struct zcnic_rx_stats stats;

	spinlock_t lock;	/* guards the fields below */
	bool open;
	struct sk_buff_head wire;	/* packets that the peer has sent */
	DECLARE_BITMAP(stopped, ZCNIC_MAX_QUEUES);	/* the peer's TX queues */
};

/* An RSS table and its key. Packets are steered while it is being written: such
 * a packet may go to any queue of the old or the new table.
 */
struct zcnic_rss {
	u8 indir[ZCNIC_INDIR];
	u8 key[ZCNIC_KEY];
};

/* An ntuple rule: a packet matches if its tuple, under mask, is value. */
struct zcnic_rule {
	struct rcu_head rcu;
	struct ethtool_rx_flow_spec spec;	/* as ethtool set it */
	u32 context;		/* RSS context, if spec has FLOW_RSS */
	u32 len;		/* of the tuple */
	u8 value[ZCNIC_TUPLE];
	u8 mask[ZCNIC_TUPLE];
};

/* Source address, destination address, source port, destination port, as they
 * are in the packet. This is the input of the RSS hash as well.
 */
struct zcnic_tuple {
	u32 len;		/* 12 for IPv4, 36 for IPv6 */
	u8 bytes[ZCNIC_TUPLE];
};

struct zcnic_dev {
	struct net_device *dev;
	struct device *dma;
	struct zcnic_dev *peer;
	u32 ring;		/* buffers to post per queue */
	u32 split_on;		/* the data path's copy of the configuration */
	u32 split_threshold;
	u32 rules;
	struct zcnic_rule __rcu *rule[ZCNIC_RULES];
	struct zcnic_rss rss[ZCNIC_CONTEXTS];
	struct bpf_prog __rcu *xdp;
	struct zcnic_tx_stats tx[ZCNIC_MAX_QUEUES];
	struct zcnic_rxq rxq[ZCNIC_MAX_QUEUES];
};

/* What the sending side has found out about a packet, in skb->cb. */
struct zcnic_cb {
	u32 hash;
	u16 header_len;		/* up to the TCP payload; 0: cannot be split */
};

static inline struct zcnic_cb *zcnic_cb(struct sk_buff *skb)
{
	BUILD_BUG_ON(sizeof(struct zcnic_cb) > sizeof(skb->cb));
	return (struct zcnic_cb *)skb->cb;
}

/* device.c */
struct zcnic_dev *zcnic_create(struct device *dma);

/* queues.c */
void zcnic_queues_setup(struct net_device *dev);
void zcnic_queue_config(struct net_device *dev, int index,
			struct netdev_queue_config *qcfg);
void zcnic_queue_run(struct zcnic_rxq *rxq);
int zcnic_queue_restart(struct net_device *dev, int index);
void zcnic_queue_connect(struct zcnic_rxq *rxq, bool open);
void zcnic_wake_peer(struct zcnic_rxq *rxq);

/* pagepool.c */
int zcnic_buffers_init(struct zcnic_dev *zn, int index,
		       const struct netdev_queue_config *qcfg,
		       struct zcnic_buffers *b);
void zcnic_buffers_free(struct zcnic_buffers *b);
bool zcnic_buffers_fill(struct zcnic_buffers *b);
bool zcnic_buffers_place(struct zcnic_rxq *rxq, struct sk_buff *rx,
			 const struct sk_buff *tx, u32 offset, u32 len);

/* split.c */
int zcnic_poll(struct napi_struct *napi, int budget);

/* steer.c */
int zcnic_steer(struct zcnic_dev *zn, struct sk_buff *skb);

/* ntuple.c */
struct zcnic_rule *zcnic_rule_find(struct zcnic_dev *zn,
				   const struct zcnic_tuple *tuple);
void zcnic_rules_free(struct zcnic_dev *zn);
int zcnic_get_rxnfc(struct net_device *dev, struct ethtool_rxnfc *nfc,
		    u32 *locations);
int zcnic_set_rxnfc(struct net_device *dev, struct ethtool_rxnfc *nfc);

/* rss.c */
u32 zcnic_rss_hash(const struct zcnic_rss *rss, const struct zcnic_tuple *tuple);
u32 zcnic_rss_queue(const struct zcnic_rss *rss, u32 hash);
void zcnic_rss_spread(struct zcnic_rss *rss, u32 queues);
u32 zcnic_get_rxfh_key_size(struct net_device *dev);
u32 zcnic_get_rxfh_indir_size(struct net_device *dev);
int zcnic_get_rxfh(struct net_device *dev, struct ethtool_rxfh_param *param);
int zcnic_set_rxfh(struct net_device *dev, struct ethtool_rxfh_param *param,
		   struct netlink_ext_ack *extack);
int zcnic_get_rxfh_fields(struct net_device *dev,
			  struct ethtool_rxfh_fields *fields);
int zcnic_create_rxfh_context(struct net_device *dev,
			      struct ethtool_rxfh_context *ctx,
			      const struct ethtool_rxfh_param *param,
			      struct netlink_ext_ack *extack);
int zcnic_modify_rxfh_context(struct net_device *dev,
			      struct ethtool_rxfh_context *ctx,
			      const struct ethtool_rxfh_param *param,
			      struct netlink_ext_ack *extack);
int zcnic_remove_rxfh_context(struct net_device *dev,
			      struct ethtool_rxfh_context *ctx, u32 context,
			      struct netlink_ext_ack *extack);

/* ethtool.c */
extern const struct ethtool_ops zcnic_ethtool_ops;

/* xdp.c */
int zcnic_bpf(struct net_device *dev, struct netdev_bpf *bpf);
int zcnic_xdp_check(struct bpf_prog *prog, unsigned int mtu,
		    struct netlink_ext_ack *extack);
bool zcnic_xdp_passes(struct zcnic_rxq *rxq, struct bpf_prog *prog,
		      struct sk_buff *skb);

#endif
