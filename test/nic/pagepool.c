// SPDX-License-Identifier: GPL-2.0
/* Payload buffers: a ring of them, filled from a page pool, whose memory may be
 * that of a memory provider.
 */
#include <linux/dma-direct.h>
#include <net/page_pool/helpers.h>

#include "zcnic.h"

#define ZCNIC_ALIGN 64U	/* of a packet's payload inside a buffer */

/* Posts buffers until the ring is full. Returns false if the pool has no more.
 * Softirqs must be off, and only one context at a time may allocate from the
 * pool.
 */
bool zcnic_buffers_fill(struct zcnic_buffers *b)
{
	while (b->count < b->size) {
		netmem_ref buffer = page_pool_dev_alloc_netmems(b->pool);

		if (!buffer)
			return false;
		b->ring[(b->head + b->count++) % b->size] = buffer;
	}
	return true;
}

static netmem_ref zcnic_buffers_pop(struct zcnic_buffers *b)
{
	netmem_ref buffer = b->ring[b->head];

	b->head = (b->head + 1) % b->size;
	b->count--;
	return buffer;
}

void zcnic_buffers_free(struct zcnic_buffers *b)
{
	if (!b->pool)
		return;
	if (b->current_buffer)
		page_pool_put_full_netmem(b->pool, b->current_buffer, false);
	while (b->count)
		page_pool_put_full_netmem(b->pool, zcnic_buffers_pop(b), false);
	page_pool_destroy(b->pool);
	kvfree(b->ring);
	memset(b, 0, sizeof(*b));
}

int zcnic_buffers_init(struct zcnic_dev *zn, int index,
		       const struct netdev_queue_config *qcfg,
		       struct zcnic_buffers *b)
{
	u32 len = qcfg->rx_page_size;
	struct page_pool_params params = {
		.order		= get_order(len),
		.pool_size	= max(zn->ring, 256U),
		.nid		= NUMA_NO_NODE,
		.dev		= zn->dma,
		.dma_dir	= DMA_FROM_DEVICE,
		.max_len	= len,
		.netdev		= zn->dev,
		.queue_idx	= index,
		/* Providers refuse a pool without PP_FLAG_DMA_SYNC_DEV. */
		.flags		= PP_FLAG_DMA_MAP | PP_FLAG_DMA_SYNC_DEV |
				  PP_FLAG_ALLOW_UNREADABLE_NETMEM,
	};

	memset(b, 0, sizeof(*b));
	b->len = len;
	b->size = zn->ring;
	b->ring = kvcalloc(b->size, sizeof(*b->ring), GFP_KERNEL);
	if (!b->ring)
		return -ENOMEM;
	b->pool = page_pool_create(&params);
	if (IS_ERR(b->pool)) {
		int err = PTR_ERR(b->pool);

		kvfree(b->ring);
		memset(b, 0, sizeof(*b));
		return err;
	}
	/* A small area may not fill the ring: NAPI tries again. */
	local_bh_disable();
	zcnic_buffers_fill(b);
	local_bh_enable();
	return 0;
}

/* Returns where hardware would write: the memory at the DMA address. A
 * provider's buffer has no other address in the kernel.
 */
static void *zcnic_buffer_address(const struct zcnic_dev *zn, netmem_ref buffer)
{
	dma_addr_t addr = page_pool_get_dma_addr_netmem(buffer);

	return phys_to_virt(dma_to_phys(zn->dma, addr));
}

/* Adds n bytes of the current buffer to rx, and moves on in the buffer. */
static void zcnic_add_fragment(struct zcnic_rxq *rxq, struct sk_buff *rx, u32 n)
{
	struct zcnic_buffers *b = &rxq->buffers;
	netmem_ref buffer = b->current_buffer;
	u32 offset = b->offset;
	u32 next = b->len;

	if (READ_ONCE(zcnic_options.pack))
		next = min(ALIGN(offset + n, ZCNIC_ALIGN), b->len);
	/* Each fragment holds a reference; the last one takes over the ring's. */
	if (next < b->len) {
		page_pool_ref_netmem(buffer);
		b->offset = next;
	} else {
		b->current_buffer = 0;
	}
	skb_add_rx_frag_netmem(rx, skb_shinfo(rx)->nr_frags, buffer, offset, n,
			       next - offset);
	if (netmem_is_net_iov(buffer)) {
		rxq->stats.placed_fragments++;
		rxq->stats.placed_bytes += n;
	} else {
		rxq->stats.page_fragments++;
		rxq->stats.page_bytes += n;
	}
}

/* Copies len bytes at offset of tx into buffers and adds these to rx as
 * fragments. Returns false if there is no room for all of them. rx is unchanged
 * then, unless it is full.
 */
bool zcnic_buffers_place(struct zcnic_rxq *rxq, struct sk_buff *rx,
			 const struct sk_buff *tx, u32 offset, u32 len)
{
	struct zcnic_buffers *b = &rxq->buffers;
	u32 room = b->count * b->len;

	if (b->current_buffer)
		room += b->len - b->offset;
	if (room < len)
		return false;
	while (len) {
		void *address;
		u32 n;

		if (skb_shinfo(rx)->nr_frags == MAX_SKB_FRAGS)
			return false;
		if (!b->current_buffer) {
			b->current_buffer = zcnic_buffers_pop(b);
			b->offset = 0;
		}
		n = min(len, b->len - b->offset);
		address = zcnic_buffer_address(rxq->zn, b->current_buffer);
		if (skb_copy_bits(tx, offset, address + b->offset, n))
			return false;
		page_pool_dma_sync_netmem_for_cpu(b->pool, b->current_buffer,
						  b->offset, n);
		zcnic_add_fragment(rxq, rx, n);
		offset += n;
		len -= n;
	}
	return true;
}
