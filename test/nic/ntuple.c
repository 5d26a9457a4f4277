// SPDX-License-Identifier: GPL-2.0
/* ntuple rules: TCP over IPv4 and IPv6, any bits of the 4-tuple. */
#include <linux/slab.h>
#include <net/netdev_lock.h>

#include "zcnic.h"

static bool zcnic_rule_matches(const struct zcnic_rule *rule,
			       const struct zcnic_tuple *tuple)
{
	u32 i;

	if (rule->len != tuple->len)
		return false;
	for (i = 0; i < rule->len; i++)
		if ((tuple->bytes[i] & rule->mask[i]) != rule->value[i])
			return false;
	return true;
}

/* The first rule, by location, that matches. Under rcu_read_lock. */
struct zcnic_rule *zcnic_rule_find(struct zcnic_dev *zn,
				   const struct zcnic_tuple *tuple)
{
	u32 i;

	if (!READ_ONCE(zn->rules) || !(zn->dev->features & NETIF_F_NTUPLE))
		return NULL;
	for (i = 0; i < ZCNIC_RULES; i++) {
		struct zcnic_rule *rule = rcu_dereference(zn->rule[i]);

		if (rule && zcnic_rule_matches(rule, tuple))
			return rule;
	}
	return NULL;
}

static struct zcnic_rule *zcnic_rule_at(struct zcnic_dev *zn, u32 location)
{
	return rcu_dereference_protected(zn->rule[location],
					 lockdep_is_held(&zn->dev->lock));
}

/* Puts a rule, or NULL, at a location. */
static void zcnic_rule_set(struct zcnic_dev *zn, u32 location,
			   struct zcnic_rule *rule)
{
	struct zcnic_rule *old = zcnic_rule_at(zn, location);

	rcu_assign_pointer(zn->rule[location], rule);
	WRITE_ONCE(zn->rules, zn->rules + !!rule - !!old);
	if (old)
		kfree_rcu(old, rcu);
}

/* Called when nothing is sent any more. */
void zcnic_rules_free(struct zcnic_dev *zn)
{
	u32 i;

	for (i = 0; i < ZCNIC_RULES; i++)
		kfree(rcu_dereference_protected(zn->rule[i], true));
}

static void zcnic_rule_append(struct zcnic_rule *rule, const void *value,
			      const void *mask, u32 n)
{
	memcpy(rule->value + rule->len, value, n);
	memcpy(rule->mask + rule->len, mask, n);
	rule->len += n;
}

static int zcnic_rule_parse(struct zcnic_rule *rule)
{
	const struct ethtool_rx_flow_spec *fs = &rule->spec;
	u32 i;

	if ((fs->flow_type & ~FLOW_RSS) == TCP_V4_FLOW) {
		const struct ethtool_tcpip4_spec *v = &fs->h_u.tcp_ip4_spec;
		const struct ethtool_tcpip4_spec *m = &fs->m_u.tcp_ip4_spec;

		if (m->tos)
			return -EOPNOTSUPP;
		zcnic_rule_append(rule, &v->ip4src, &m->ip4src, 4);
		zcnic_rule_append(rule, &v->ip4dst, &m->ip4dst, 4);
		zcnic_rule_append(rule, &v->psrc, &m->psrc, 2);
		zcnic_rule_append(rule, &v->pdst, &m->pdst, 2);
	} else if ((fs->flow_type & ~FLOW_RSS) == TCP_V6_FLOW) {
		const struct ethtool_tcpip6_spec *v = &fs->h_u.tcp_ip6_spec;
		const struct ethtool_tcpip6_spec *m = &fs->m_u.tcp_ip6_spec;

		if (m->tclass)
			return -EOPNOTSUPP;
		zcnic_rule_append(rule, &v->ip6src, &m->ip6src, 16);
		zcnic_rule_append(rule, &v->ip6dst, &m->ip6dst, 16);
		zcnic_rule_append(rule, &v->psrc, &m->psrc, 2);
		zcnic_rule_append(rule, &v->pdst, &m->pdst, 2);
	} else {
		return -EOPNOTSUPP;
	}
	for (i = 0; i < rule->len; i++)
		rule->value[i] &= rule->mask[i];
	return 0;
}

static int zcnic_rule_insert(struct zcnic_dev *zn, struct ethtool_rxnfc *nfc)
{
	struct ethtool_rx_flow_spec *fs = &nfc->fs;
	u32 location = fs->location;
	struct zcnic_rule *rule;
	int err;

	if (fs->ring_cookie != RX_CLS_FLOW_DISC &&
	    fs->ring_cookie >= zn->dev->real_num_rx_queues)
		return -EINVAL;
	if (location & RX_CLS_LOC_SPECIAL) {
		for (location = 0; location < ZCNIC_RULES; location++)
			if (!zcnic_rule_at(zn, location))
				break;
	}
	if (location >= ZCNIC_RULES)
		return -ENOSPC;
	rule = kzalloc_obj(*rule);
	if (!rule)
		return -ENOMEM;
	fs->location = location;
	rule->spec = *fs;
	if (fs->flow_type & FLOW_RSS)
		rule->context = nfc->rss_context;
	err = zcnic_rule_parse(rule);
	if (err) {
		kfree(rule);
		return err;
	}
	zcnic_rule_set(zn, location, rule);
	return 0;
}

int zcnic_set_rxnfc(struct net_device *dev, struct ethtool_rxnfc *nfc)
{
	struct zcnic_dev *zn = netdev_priv(dev);

	switch (nfc->cmd) {
	case ETHTOOL_SRXCLSRLINS:
		return zcnic_rule_insert(zn, nfc);
	case ETHTOOL_SRXCLSRLDEL:
		if (nfc->fs.location >= ZCNIC_RULES ||
		    !zcnic_rule_at(zn, nfc->fs.location))
			return -ENOENT;
		zcnic_rule_set(zn, nfc->fs.location, NULL);
		return 0;
	}
	return -EOPNOTSUPP;
}

int zcnic_get_rxnfc(struct net_device *dev, struct ethtool_rxnfc *nfc,
		    u32 *locations)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	struct zcnic_rule *rule;
	u32 i, n = 0;

	switch (nfc->cmd) {
	case ETHTOOL_GRXCLSRLCNT:
		nfc->rule_cnt = zn->rules;
		nfc->data = ZCNIC_RULES | RX_CLS_LOC_SPECIAL;
		return 0;
	case ETHTOOL_GRXCLSRULE:
		if (nfc->fs.location >= ZCNIC_RULES)
			return -ENOENT;
		rule = zcnic_rule_at(zn, nfc->fs.location);
		if (!rule)
			return -ENOENT;
		nfc->fs = rule->spec;
		if (rule->spec.flow_type & FLOW_RSS)
			nfc->rss_context = rule->context;
		return 0;
	case ETHTOOL_GRXCLSRLALL:
		for (i = 0; i < ZCNIC_RULES; i++) {
			if (!zcnic_rule_at(zn, i))
				continue;
			if (n == nfc->rule_cnt)
				return -EMSGSIZE;
			locations[n++] = i;
		}
		nfc->rule_cnt = n;
		nfc->data = ZCNIC_RULES;
		return 0;
	}
	return -EOPNOTSUPP;
}
