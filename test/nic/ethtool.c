// SPDX-License-Identifier: GPL-2.0
/* ethtool operations: rings with header split, channels, counters. */
#include <net/netdev_lock.h>
#include <net/netdev_queues.h>
#include <net/netdev_rx_queue.h>

#include "zcnic.h"

static void zcnic_get_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	strscpy(info->driver, KBUILD_MODNAME, sizeof(info->driver));
}

static u32 zcnic_get_link(struct net_device *dev)
{
	return netif_carrier_ok(dev);
}

static void zcnic_get_ringparam(struct net_device *dev,
				struct ethtool_ringparam *rings,
				struct kernel_ethtool_ringparam *kernel_rings,
				struct netlink_ext_ack *extack)
{
	struct zcnic_dev *zn = netdev_priv(dev);

	rings->rx_max_pending = ZCNIC_MAX_RING;
	rings->rx_pending = zn->ring;
	kernel_rings->hds_thresh_max = ZCNIC_MAX_MTU;
	kernel_rings->hds_thresh = zn->split_threshold;
	kernel_rings->tcp_data_split = zn->split_on ?
				       ETHTOOL_TCP_DATA_SPLIT_ENABLED :
				       ETHTOOL_TCP_DATA_SPLIT_DISABLED;
}

/* Gives every queue new memory. */
static int zcnic_restart(struct net_device *dev)
{
	int i, err;

	if (!netif_running(dev))
		return 0;
	for (i = 0; i < dev->num_rx_queues; i++) {
		err = zcnic_queue_restart(dev, i);
		if (err)
			return err;
	}
	return 0;
}

static int zcnic_set_ringparam(struct net_device *dev,
			       struct ethtool_ringparam *rings,
			       struct kernel_ethtool_ringparam *kernel_rings,
			       struct netlink_ext_ack *extack)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	u32 old = zn->ring;
	int err;

	if (!rings->rx_pending)
		return -EINVAL;
	if (rings->rx_pending != old) {
		zn->ring = rings->rx_pending;
		err = zcnic_restart(dev);
		if (err) {
			zn->ring = old;
			return err;
		}
	}
	/* The data path must not read the core's own copy, which is replaced and
	 * freed at once.
	 */
	WRITE_ONCE(zn->split_on, kernel_rings->tcp_data_split ==
				 ETHTOOL_TCP_DATA_SPLIT_ENABLED);
	WRITE_ONCE(zn->split_threshold, kernel_rings->hds_thresh);
	return 0;
}

static void zcnic_get_channels(struct net_device *dev,
			       struct ethtool_channels *channels)
{
	channels->max_combined = dev->num_rx_queues;
	channels->combined_count = dev->real_num_rx_queues;
}

static int zcnic_set_channels(struct net_device *dev,
			      struct ethtool_channels *channels)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	u32 n = channels->combined_count;
	int err;

	if (!n)
		return -EINVAL;
	err = netif_set_real_num_queues(dev, n, n);
	if (!err && !netif_is_rxfh_configured(dev))
		zcnic_rss_spread(&zn->rss[0], n);
	return err;
}

static u32 zcnic_get_rx_ring_count(struct net_device *dev)
{
	return dev->real_num_rx_queues;
}

/* In the order of struct zcnic_rx_stats. */
static const char * const zcnic_stat_names[] = {
	"packets", "bytes", "split_packets", "placed_fragments", "placed_bytes",
	"page_fragments", "page_bytes", "linear_bytes", "no_buffer",
	"refill_failures", "lost", "unsplit", "late", "reordered", "xdp_drops",
	"no_memory",
};

static_assert(sizeof(struct zcnic_rx_stats) ==
	      ARRAY_SIZE(zcnic_stat_names) * sizeof(u64));

static int zcnic_get_sset_count(struct net_device *dev, int set)
{
	if (set != ETH_SS_STATS)
		return -EOPNOTSUPP;
	return dev->num_rx_queues * ARRAY_SIZE(zcnic_stat_names);
}

static void zcnic_get_strings(struct net_device *dev, u32 set, u8 *data)
{
	int i, j;

	if (set != ETH_SS_STATS)
		return;
	for (i = 0; i < dev->num_rx_queues; i++)
		for (j = 0; j < ARRAY_SIZE(zcnic_stat_names); j++)
			ethtool_sprintf(&data, "rx%d_%s", i, zcnic_stat_names[j]);
}

static void zcnic_get_ethtool_stats(struct net_device *dev,
				    struct ethtool_stats *stats, u64 *data)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	int i, j;

	for (i = 0; i < dev->num_rx_queues; i++) {
		const u64 *counters = (const u64 *)&zn->rxq[i].stats;

		for (j = 0; j < ARRAY_SIZE(zcnic_stat_names); j++)
			*data++ = READ_ONCE(counters[j]);
	}
}

const struct ethtool_ops zcnic_ethtool_ops = {
	.supported_ring_params	= ETHTOOL_RING_USE_TCP_DATA_SPLIT |
				  ETHTOOL_RING_USE_HDS_THRS,
	/* Setting the number of queues needs rtnl and the instance lock. */
	.op_needs_rtnl		= ETHTOOL_OP_NEEDS_RTNL_SCHANNELS,
	.rxfh_per_ctx_key	= 1,
	.rxfh_indir_space	= ZCNIC_INDIR,
	.rxfh_key_space		= ZCNIC_KEY,
	.rxfh_max_num_contexts	= ZCNIC_CONTEXTS,
	.get_drvinfo		= zcnic_get_drvinfo,
	.get_link		= zcnic_get_link,
	.get_ringparam		= zcnic_get_ringparam,
	.set_ringparam		= zcnic_set_ringparam,
	.get_channels		= zcnic_get_channels,
	.set_channels		= zcnic_set_channels,
	.get_rx_ring_count	= zcnic_get_rx_ring_count,
	.get_rxfh_key_size	= zcnic_get_rxfh_key_size,
	.get_rxfh_indir_size	= zcnic_get_rxfh_indir_size,
	.get_rxfh		= zcnic_get_rxfh,
	.set_rxfh		= zcnic_set_rxfh,
	.get_rxfh_fields	= zcnic_get_rxfh_fields,
	.create_rxfh_context	= zcnic_create_rxfh_context,
	.modify_rxfh_context	= zcnic_modify_rxfh_context,
	.remove_rxfh_context	= zcnic_remove_rxfh_context,
	.get_rxnfc		= zcnic_get_rxnfc,
	.set_rxnfc		= zcnic_set_rxnfc,
	.get_sset_count		= zcnic_get_sset_count,
	.get_strings		= zcnic_get_strings,
	.get_ethtool_stats	= zcnic_get_ethtool_stats,
};
