// SPDX-License-Identifier: GPL-2.0
/* Receive queues: running, restarting with other memory, per-queue counters. */
#include <net/netdev_lock.h>
#include <net/netdev_rx_queue.h>
#include <net/page_pool/helpers.h>

#include "zcnic.h"

/* Called with rxq->lock held. */
void zcnic_wake_peer(struct zcnic_rxq *rxq)
{
	unsigned int txq;

	for_each_set_bit(txq, rxq->stopped, ZCNIC_MAX_QUEUES)
		netif_tx_wake_queue(netdev_get_tx_queue(rxq->zn->peer->dev, txq));
	bitmap_zero(rxq->stopped, ZCNIC_MAX_QUEUES);
}

/* Connects the wire, or disconnects it, which drops the packets on it. */
void zcnic_queue_connect(struct zcnic_rxq *rxq, bool open)
{
	struct sk_buff_head lost;

	__skb_queue_head_init(&lost);
	spin_lock_bh(&rxq->lock);
	rxq->open = open;
	if (!open) {
		skb_queue_splice_init(&rxq->wire, &lost);
		zcnic_wake_peer(rxq);
	}
	spin_unlock_bh(&rxq->lock);
	__skb_queue_purge(&lost);
}

void zcnic_queue_run(struct zcnic_rxq *rxq)
{
	page_pool_enable_direct_recycling(rxq->buffers.pool, &rxq->napi);
	napi_enable_locked(&rxq->napi);
	/* Packets that arrived while NAPI was off did not schedule it. */
	local_bh_disable();
	napi_schedule(&rxq->napi);
	local_bh_enable();
}

static int zcnic_queue_mem_alloc(struct net_device *dev,
				 struct netdev_queue_config *qcfg, void *mem,
				 int index)
{
	return zcnic_buffers_init(netdev_priv(dev), index, qcfg, mem);
}

static void zcnic_queue_mem_free(struct net_device *dev, void *mem)
{
	zcnic_buffers_free(mem);
}

static int zcnic_queue_start(struct net_device *dev,
			     struct netdev_queue_config *qcfg, void *mem,
			     int index)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	struct zcnic_rxq *rxq = &zn->rxq[index];
	struct zcnic_buffers *b = mem;

	rxq->buffers = *b;
	memset(b, 0, sizeof(*b));
	zcnic_queue_run(rxq);
	return 0;
}

static int zcnic_queue_stop(struct net_device *dev, void *mem, int index)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	struct zcnic_rxq *rxq = &zn->rxq[index];
	struct zcnic_buffers *b = mem;

	napi_disable_locked(&rxq->napi);
	page_pool_disable_direct_recycling(rxq->buffers.pool);
	*b = rxq->buffers;
	memset(&rxq->buffers, 0, sizeof(rxq->buffers));
	return 0;
}

static void zcnic_default_qcfg(struct net_device *dev,
			       struct netdev_queue_config *qcfg)
{
	qcfg->rx_page_size = PAGE_SIZE;
}

static int zcnic_validate_qcfg(struct net_device *dev,
			       struct netdev_queue_config *qcfg,
			       struct netlink_ext_ack *extack)
{
	if (is_power_of_2(qcfg->rx_page_size) &&
	    qcfg->rx_page_size >= PAGE_SIZE &&
	    qcfg->rx_page_size <= ZCNIC_MAX_BUFFER)
		return 0;
	NL_SET_ERR_MSG(extack, "buffer size is no power of two from a page to 1 MiB");
	return -EINVAL;
}

/* Must not use the index, which comes from user space unchecked. */
static struct device *zcnic_queue_dma_dev(struct net_device *dev, int index)
{
	struct zcnic_dev *zn = netdev_priv(dev);

	return zn->dma;
}

#define ZCNIC_QUEUE_MGMT_OPS \
	.ndo_queue_mem_size	= sizeof(struct zcnic_buffers), \
	.ndo_queue_mem_alloc	= zcnic_queue_mem_alloc, \
	.ndo_queue_mem_free	= zcnic_queue_mem_free, \
	.ndo_queue_start	= zcnic_queue_start, \
	.ndo_queue_stop		= zcnic_queue_stop, \
	.ndo_default_qcfg	= zcnic_default_qcfg, \
	.ndo_queue_get_dma_dev	= zcnic_queue_dma_dev

static const struct netdev_queue_mgmt_ops zcnic_queue_mgmt_ops = {
	ZCNIC_QUEUE_MGMT_OPS,
	.ndo_validate_qcfg	= zcnic_validate_qcfg,
	.supported_params	= QCFG_RX_PAGE_SIZE,
};

static const struct netdev_queue_mgmt_ops zcnic_queue_mgmt_ops_small = {
	ZCNIC_QUEUE_MGMT_OPS,
};

/* Sets qcfg to the configuration that the core wants for a queue. */
void zcnic_queue_config(struct net_device *dev, int index,
			struct netdev_queue_config *qcfg)
{
	if (dev->queue_mgmt_ops)
		netdev_queue_config(dev, index, qcfg);
	else
		zcnic_default_qcfg(dev, qcfg);
}

/* Gives a running queue new memory; on failure it keeps the old. */
int zcnic_queue_restart(struct net_device *dev, int index)
{
	struct zcnic_buffers fresh, old;
	struct netdev_queue_config qcfg;
	int err;

	if (dev->queue_mgmt_ops)
		return netdev_rx_queue_restart(dev, index);
	zcnic_queue_config(dev, index, &qcfg);
	err = zcnic_queue_mem_alloc(dev, &qcfg, &fresh, index);
	if (err)
		return err;
	zcnic_queue_stop(dev, &old, index);
	zcnic_queue_start(dev, &qcfg, &fresh, index);
	zcnic_queue_mem_free(dev, &old);
	return 0;
}

static void zcnic_get_queue_stats_rx(struct net_device *dev, int index,
				     struct netdev_queue_stats_rx *s)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	const struct zcnic_rx_stats *st = &zn->rxq[index].stats;

	s->packets = READ_ONCE(st->packets);
	s->bytes = READ_ONCE(st->bytes);
	s->alloc_fail = READ_ONCE(st->refill_failures) + READ_ONCE(st->no_memory);
	s->hw_drops = READ_ONCE(st->no_buffer) + READ_ONCE(st->lost);
	s->hw_drop_overruns = READ_ONCE(st->no_buffer);
}

static void zcnic_get_queue_stats_tx(struct net_device *dev, int index,
				     struct netdev_queue_stats_tx *s)
{
	struct zcnic_dev *zn = netdev_priv(dev);

	s->packets = READ_ONCE(zn->tx[index].packets);
	s->bytes = READ_ONCE(zn->tx[index].bytes);
}

static void zcnic_get_base_stats(struct net_device *dev,
				 struct netdev_queue_stats_rx *rx,
				 struct netdev_queue_stats_tx *tx)
{
	rx->packets = 0;
	rx->bytes = 0;
	tx->packets = 0;
	tx->bytes = 0;
}

static const struct netdev_stat_ops zcnic_stat_ops = {
	.get_queue_stats_rx	= zcnic_get_queue_stats_rx,
	.get_queue_stats_tx	= zcnic_get_queue_stats_tx,
	.get_base_stats		= zcnic_get_base_stats,
};

void zcnic_queues_setup(struct net_device *dev)
{
	dev->stat_ops = &zcnic_stat_ops;
	/* With queue management the core uses the instance lock. */
	dev->request_ops_lock = true;
	if (!zcnic_options.queue_mgmt)
		return;
	if (zcnic_options.page_size)
		dev->queue_mgmt_ops = &zcnic_queue_mgmt_ops;
	else
		dev->queue_mgmt_ops = &zcnic_queue_mgmt_ops_small;
}
