// SPDX-License-Identifier: GPL-2.0
/* Receiving: makes an sk_buff for the stack of a packet from the wire. With
 * header split the headers go into the sk_buff's own memory and the payload into
 * the queue's buffers.
 */
#include <linux/etherdevice.h>
#include <linux/bpf.h>
#include <net/page_pool/helpers.h>

#include "zcnic.h"

/* Of a packet that is not split, this much of the payload goes beside the
 * headers and the rest into pages, as with drivers that copy small packets.
 */
#define ZCNIC_COPYBREAK 256U

/* Of a packet that is split too late, this much of the payload stays beside the
 * headers. Neither the kernel nor recv can read such a packet as a whole.
 */
#define ZCNIC_LATE 64U

/* Returns true for every n-th packet, for none if n is 0. */
static bool zcnic_is_nth(u32 sequence, unsigned int n)
{
	return n && sequence % n == 0;
}

static struct sk_buff *zcnic_alloc_skb(struct zcnic_rxq *rxq,
				       const struct sk_buff *tx, u32 headroom,
				       u32 len)
{
	struct sk_buff *rx = napi_alloc_skb(&rxq->napi, headroom + len);

	if (!rx) {
		rxq->stats.no_memory++;
		return NULL;
	}
	skb_reserve(rx, headroom);
	if (skb_copy_bits(tx, 0, skb_put(rx, len), len)) {
		kfree_skb(rx);
		return NULL;
	}
	return rx;
}

static struct sk_buff *zcnic_receive_split(struct zcnic_rxq *rxq,
					   struct sk_buff *tx, u32 header_len)
{
	u32 payload = tx->len - header_len;
	struct sk_buff *rx;

	rx = zcnic_alloc_skb(rxq, tx, 0, header_len);
	if (!rx)
		return NULL;
	skb_mark_for_recycle(rx);
	if (!zcnic_buffers_place(rxq, rx, tx, header_len, payload)) {
		/* Buffers may have been returned since the poll began. */
		zcnic_buffers_fill(&rxq->buffers);
		if (skb_shinfo(rx)->nr_frags ||
		    !zcnic_buffers_place(rxq, rx, tx, header_len, payload)) {
			rxq->stats.no_buffer++;
			kfree_skb(rx);
			return NULL;
		}
	}
	rxq->stats.split_packets++;
	return rx;
}

static bool zcnic_add_pages(struct sk_buff *rx, const struct sk_buff *tx,
			    u32 offset)
{
	while (offset < tx->len) {
		u32 n = min_t(u32, tx->len - offset, PAGE_SIZE);
		struct page *page;

		if (skb_shinfo(rx)->nr_frags == MAX_SKB_FRAGS)
			return false;
		page = dev_alloc_page();
		if (!page)
			return false;
		skb_add_rx_frag(rx, skb_shinfo(rx)->nr_frags, page, 0, n, PAGE_SIZE);
		if (skb_copy_bits(tx, offset, page_address(page), n))
			return false;
		offset += n;
	}
	return true;
}

static struct sk_buff *zcnic_receive_whole(struct zcnic_rxq *rxq,
					   struct sk_buff *tx, u32 header_len)
{
	u32 linear = min(tx->len, max(header_len, ZCNIC_COPYBREAK));
	struct sk_buff *rx;

	rx = zcnic_alloc_skb(rxq, tx, 0, linear);
	if (!rx)
		return NULL;
	if (!zcnic_add_pages(rx, tx, linear)) {
		rxq->stats.no_memory++;
		kfree_skb(rx);
		return NULL;
	}
	if (header_len) {
		rxq->stats.linear_bytes += linear - header_len;
		rxq->stats.page_fragments += skb_shinfo(rx)->nr_frags;
		rxq->stats.page_bytes += tx->len - linear;
	}
	return rx;
}

/* An XDP program gets the whole packet in one piece. */
static struct sk_buff *zcnic_receive_xdp(struct zcnic_rxq *rxq,
					 struct sk_buff *tx, u32 header_len,
					 struct bpf_prog *prog)
{
	struct sk_buff *rx;

	rx = zcnic_alloc_skb(rxq, tx, XDP_PACKET_HEADROOM, tx->len);
	if (!rx)
		return NULL;
	if (!zcnic_xdp_passes(rxq, prog, rx)) {
		rxq->stats.xdp_drops++;
		kfree_skb(rx);
		return NULL;
	}
	if (header_len)
		rxq->stats.linear_bytes += tx->len - header_len;
	return rx;
}

/* Faults apply to packets with payload only, not to acknowledgements. */
static void zcnic_receive(struct zcnic_rxq *rxq, struct sk_buff *tx)
{
	struct zcnic_dev *zn = rxq->zn;
	struct zcnic_cb *cb = zcnic_cb(tx);
	bool payload = cb->header_len && tx->len > cb->header_len;
	bool split = payload && READ_ONCE(zn->split_on) &&
		     tx->len > READ_ONCE(zn->split_threshold);
	struct bpf_prog *prog = rcu_dereference_bh(zn->xdp);
	u32 header_len = cb->header_len;
	struct sk_buff *rx;

	if (payload) {
		rxq->sequence++;
		if (zcnic_is_nth(rxq->sequence, READ_ONCE(zcnic_options.reorder_nth)))
			rxq->swap = true;
		if (zcnic_is_nth(rxq->sequence, READ_ONCE(zcnic_options.lose_nth))) {
			rxq->stats.lost++;
			goto drop;
		}
		if (split && zcnic_is_nth(rxq->sequence, READ_ONCE(zcnic_options.unsplit_nth))) {
			rxq->stats.unsplit++;
			split = false;
		}
		if (split && tx->len > header_len + ZCNIC_LATE &&
		    zcnic_is_nth(rxq->sequence, READ_ONCE(zcnic_options.late_nth))) {
			rxq->stats.late++;
			rxq->stats.linear_bytes += ZCNIC_LATE;
			header_len += ZCNIC_LATE;
		}
	}
	if (prog)
		rx = zcnic_receive_xdp(rxq, tx, payload ? header_len : 0, prog);
	else if (split)
		rx = zcnic_receive_split(rxq, tx, header_len);
	else
		rx = zcnic_receive_whole(rxq, tx, payload ? header_len : 0);
	if (!rx)
		goto drop;

	if (skb_is_gso(tx)) {
		skb_shinfo(rx)->gso_size = skb_shinfo(tx)->gso_size;
		skb_shinfo(rx)->gso_segs = skb_shinfo(tx)->gso_segs;
		skb_shinfo(rx)->gso_type = skb_shinfo(tx)->gso_type;
	}
	rxq->stats.packets++;
	rxq->stats.bytes += rx->len;
	dev_dstats_rx_add(zn->dev, rx->len);

	rx->protocol = eth_type_trans(rx, zn->dev);
	/* The wire damages no packet, and the kernel cannot sum up payload that it
	 * cannot read.
	 */
	rx->ip_summed = CHECKSUM_UNNECESSARY;
	if (cb->hash)
		skb_set_hash(rx, cb->hash, PKT_HASH_TYPE_L4);
	skb_record_rx_queue(rx, rxq->index);
	napi_gro_receive(&rxq->napi, rx);
	return;
drop:
	dev_dstats_rx_dropped(zn->dev);
}

/* Takes the next packet off the batch, or the second if the first is to be
 * reordered.
 */
static struct sk_buff *zcnic_next(struct zcnic_rxq *rxq, struct sk_buff_head *batch)
{
	struct sk_buff *tx = skb_peek(batch);

	if (tx && rxq->swap && !skb_queue_is_last(batch, tx)) {
		rxq->swap = false;
		rxq->stats.reordered++;
		tx = skb_queue_next(batch, tx);
	}
	if (tx)
		__skb_unlink(tx, batch);
	return tx;
}

int zcnic_poll(struct napi_struct *napi, int budget)
{
	struct zcnic_rxq *rxq = container_of(napi, struct zcnic_rxq, napi);
	struct sk_buff_head batch;
	struct sk_buff *tx;
	int done = 0;

	if (!budget)	/* netpoll, which only sends */
		return 0;
	if (!zcnic_buffers_fill(&rxq->buffers))
		rxq->stats.refill_failures++;

	__skb_queue_head_init(&batch);
	spin_lock(&rxq->lock);
	while (done < budget && (tx = __skb_dequeue(&rxq->wire))) {
		__skb_queue_tail(&batch, tx);
		done++;
	}
	if (skb_queue_len(&rxq->wire) <= zcnic_options.backlog / 2)
		zcnic_wake_peer(rxq);
	spin_unlock(&rxq->lock);

	while ((tx = zcnic_next(rxq, &batch))) {
		zcnic_receive(rxq, tx);
		napi_consume_skb(tx, budget);
	}
	if (done < budget)
		napi_complete_done(napi, done);
	return done;
}
