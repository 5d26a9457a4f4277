// SPDX-License-Identifier: GPL-2.0
/* The network device: allocation, open and stop, and sending. */
#include <linux/etherdevice.h>
#include <net/netdev_lock.h>
#include <net/netdev_rx_queue.h>

#include "zcnic.h"

/* A sent packet goes onto the wire of the peer's receive queue. The sender is
 * stopped while the wire is full, so that no packet is lost.
 */
static netdev_tx_t zcnic_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	struct zcnic_dev *peer = zn->peer;
	u16 txq = skb_get_queue_mapping(skb);
	u32 len = skb->len;
	struct zcnic_rxq *rxq;
	int queue;

	queue = zcnic_steer(peer, skb);
	if (queue < 0 || queue >= READ_ONCE(peer->dev->real_num_rx_queues))
		goto drop;
	rxq = &peer->rxq[queue];

	skb_tx_timestamp(skb);
	spin_lock(&rxq->lock);
	if (!rxq->open) {
		spin_unlock(&rxq->lock);
		goto drop;
	}
	__skb_queue_tail(&rxq->wire, skb);
	if (skb_queue_len(&rxq->wire) >= zcnic_options.backlog) {
		netif_tx_stop_queue(netdev_get_tx_queue(dev, txq));
		__set_bit(txq, rxq->stopped);
	}
	spin_unlock(&rxq->lock);
	napi_schedule(&rxq->napi);

	WRITE_ONCE(zn->tx[txq].packets, zn->tx[txq].packets + 1);
	WRITE_ONCE(zn->tx[txq].bytes, zn->tx[txq].bytes + len);
	dev_dstats_tx_add(dev, len);
	return NETDEV_TX_OK;
drop:
	dev_kfree_skb_any(skb);
	dev_dstats_tx_dropped(dev);
	return NETDEV_TX_OK;
}

static int zcnic_open(struct net_device *dev)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	struct netdev_queue_config qcfg;
	int i, err;

	for (i = 0; i < dev->num_rx_queues; i++) {
		zcnic_queue_config(dev, i, &qcfg);
		err = zcnic_buffers_init(zn, i, &qcfg, &zn->rxq[i].buffers);
		if (err)
			goto undo;
	}
	for (i = 0; i < dev->num_rx_queues; i++) {
		struct zcnic_rxq *rxq = &zn->rxq[i];

		netif_napi_add_config_locked(dev, &rxq->napi, zcnic_poll, i);
		netif_queue_set_napi(dev, i, NETDEV_QUEUE_TYPE_RX, &rxq->napi);
		zcnic_queue_connect(rxq, true);
		zcnic_queue_run(rxq);
	}
	netif_tx_start_all_queues(dev);
	if (netif_running(zn->peer->dev)) {
		netif_carrier_on(dev);
		netif_carrier_on(zn->peer->dev);
	}
	return 0;
undo:
	while (i--)
		zcnic_buffers_free(&zn->rxq[i].buffers);
	return err;
}

static int zcnic_stop(struct net_device *dev)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	int i;

	netif_carrier_off(dev);
	netif_carrier_off(zn->peer->dev);
	netif_tx_stop_all_queues(dev);
	for (i = 0; i < dev->num_rx_queues; i++) {
		struct zcnic_rxq *rxq = &zn->rxq[i];

		zcnic_queue_connect(rxq, false);
		napi_disable_locked(&rxq->napi);
		netif_queue_set_napi(dev, i, NETDEV_QUEUE_TYPE_RX, NULL);
		netif_napi_del_locked(&rxq->napi);
		zcnic_buffers_free(&rxq->buffers);
	}
	return 0;
}

static int zcnic_change_mtu(struct net_device *dev, int mtu)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	struct bpf_prog *prog = rcu_dereference_protected(zn->xdp, lockdep_is_held(&dev->lock));
	int err = prog ? zcnic_xdp_check(prog, mtu, NULL) : 0;

	if (!err)
		WRITE_ONCE(dev->mtu, mtu);
	return err;
}

static const struct net_device_ops zcnic_netdev_ops = {
	.ndo_open		= zcnic_open,
	.ndo_stop		= zcnic_stop,
	.ndo_start_xmit		= zcnic_xmit,
	.ndo_change_mtu		= zcnic_change_mtu,
	.ndo_set_mac_address	= eth_mac_addr,
	.ndo_validate_addr	= eth_validate_addr,
	.ndo_bpf		= zcnic_bpf,
};

struct zcnic_dev *zcnic_create(struct device *dma)
{
	unsigned int queues = zcnic_options.queues;
	struct net_device *dev;
	struct zcnic_dev *zn;
	int i;

	dev = alloc_etherdev_mqs(sizeof(*zn), queues, queues);
	if (!dev)
		return NULL;
	SET_NETDEV_DEV(dev, dma);
	strscpy(dev->name, "zc%d", sizeof(dev->name));
	eth_hw_addr_random(dev);

	zn = netdev_priv(dev);
	zn->dev = dev;
	zn->dma = dma;
	zn->ring = zcnic_options.ring;
	for (i = 0; i < queues; i++) {
		struct zcnic_rxq *rxq = &zn->rxq[i];

		rxq->zn = zn;
		rxq->index = i;
		spin_lock_init(&rxq->lock);
		__skb_queue_head_init(&rxq->wire);
	}
	netdev_rss_key_fill(zn->rss[0].key, ZCNIC_KEY);
	zcnic_rss_spread(&zn->rss[0], queues);

	dev->netdev_ops = &zcnic_netdev_ops;
	dev->ethtool_ops = &zcnic_ethtool_ops;
	zcnic_queues_setup(dev);
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_DSTATS;
	dev->mtu = zcnic_options.mtu;
	dev->max_mtu = ZCNIC_MAX_MTU;
	dev->hw_features = NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_HIGHDMA |
			   NETIF_F_RXCSUM | NETIF_F_NTUPLE | NETIF_F_RXHASH;
	if (zcnic_options.tso)
		dev->hw_features |= NETIF_F_TSO | NETIF_F_TSO_ECN | NETIF_F_TSO6;
	dev->features |= dev->hw_features;
	netif_carrier_off(dev);
	return zn;
}
