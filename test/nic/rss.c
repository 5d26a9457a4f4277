// SPDX-License-Identifier: GPL-2.0
/* RSS: the Toeplitz hash over the 4-tuple, its table and key, and additional
 * tables and keys (contexts) for ntuple rules.
 */
#include <linux/unaligned.h>

#include "zcnic.h"

u32 zcnic_rss_hash(const struct zcnic_rss *rss, const struct zcnic_tuple *tuple)
{
	u32 window = get_unaligned_be32(rss->key);
	u32 hash = 0;
	int i, bit;

	for (i = 0; i < tuple->len; i++) {
		u8 next = rss->key[(i + 4) % ZCNIC_KEY];

		for (bit = 7; bit >= 0; bit--) {
			if (tuple->bytes[i] & BIT(bit))
				hash ^= window;
			window = window << 1 | (next >> bit & 1);
		}
	}
	return hash;
}

u32 zcnic_rss_queue(const struct zcnic_rss *rss, u32 hash)
{
	return READ_ONCE(rss->indir[hash % ZCNIC_INDIR]);
}

void zcnic_rss_spread(struct zcnic_rss *rss, u32 queues)
{
	int i;

	for (i = 0; i < ZCNIC_INDIR; i++)
		WRITE_ONCE(rss->indir[i], ethtool_rxfh_indir_default(i, queues));
}

u32 zcnic_get_rxfh_key_size(struct net_device *dev)
{
	return ZCNIC_KEY;
}

u32 zcnic_get_rxfh_indir_size(struct net_device *dev)
{
	return ZCNIC_INDIR;
}

int zcnic_get_rxfh_fields(struct net_device *dev,
			  struct ethtool_rxfh_fields *fields)
{
	fields->data = 0;
	if (fields->flow_type == TCP_V4_FLOW || fields->flow_type == TCP_V6_FLOW)
		fields->data = RXH_IP_SRC | RXH_IP_DST | RXH_L4_B_0_1 | RXH_L4_B_2_3;
	return 0;
}

int zcnic_get_rxfh(struct net_device *dev, struct ethtool_rxfh_param *param)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	const struct zcnic_rss *rss = &zn->rss[0];
	int i;

	param->hfunc = ETH_RSS_HASH_TOP;
	for (i = 0; param->indir && i < ZCNIC_INDIR; i++)
		param->indir[i] = rss->indir[i];
	if (param->key)
		memcpy(param->key, rss->key, ZCNIC_KEY);
	return 0;
}

static int zcnic_rss_change(struct zcnic_rss *rss,
			    const struct ethtool_rxfh_param *param)
{
	int i;

	if (param->hfunc != ETH_RSS_HASH_NO_CHANGE &&
	    param->hfunc != ETH_RSS_HASH_TOP)
		return -EOPNOTSUPP;
	for (i = 0; param->indir && i < ZCNIC_INDIR; i++)
		WRITE_ONCE(rss->indir[i], param->indir[i]);
	if (param->key)
		memcpy(rss->key, param->key, ZCNIC_KEY);
	return 0;
}

int zcnic_set_rxfh(struct net_device *dev, struct ethtool_rxfh_param *param,
		   struct netlink_ext_ack *extack)
{
	struct zcnic_dev *zn = netdev_priv(dev);

	return zcnic_rss_change(&zn->rss[0], param);
}

/* A new context has the device's key and all its queues. What the core did not
 * set itself must be returned to it.
 */
int zcnic_create_rxfh_context(struct net_device *dev,
			      struct ethtool_rxfh_context *ctx,
			      const struct ethtool_rxfh_param *param,
			      struct netlink_ext_ack *extack)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	struct zcnic_rss *rss = &zn->rss[param->rss_context];
	int i, err;

	zcnic_rss_spread(rss, dev->real_num_rx_queues);
	memcpy(rss->key, zn->rss[0].key, ZCNIC_KEY);
	err = zcnic_rss_change(rss, param);
	if (err)
		return err;
	ctx->hfunc = ETH_RSS_HASH_TOP;
	for (i = 0; !param->indir && i < ZCNIC_INDIR; i++)
		ethtool_rxfh_context_indir(ctx)[i] = rss->indir[i];
	if (!param->key)
		memcpy(ethtool_rxfh_context_key(ctx), rss->key, ZCNIC_KEY);
	return 0;
}

int zcnic_modify_rxfh_context(struct net_device *dev,
			      struct ethtool_rxfh_context *ctx,
			      const struct ethtool_rxfh_param *param,
			      struct netlink_ext_ack *extack)
{
	struct zcnic_dev *zn = netdev_priv(dev);

	return zcnic_rss_change(&zn->rss[param->rss_context], param);
}

/* Rules of the context keep its last table. */
int zcnic_remove_rxfh_context(struct net_device *dev,
			      struct ethtool_rxfh_context *ctx, u32 context,
			      struct netlink_ext_ack *extack)
{
	return 0;
}
