// SPDX-License-Identifier: GPL-2.0
/* Steering: which receive queue a packet goes to. */
#include <linux/etherdevice.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <net/ip.h>

#include "zcnic.h"

/* Reads the addresses of a TCP packet. Returns the offset of its TCP header, or 0
 * if it is not a whole TCP packet or one that this device does not split: with a
 * VLAN tag, IPv6 extension headers, or trailing bytes.
 */
static u32 zcnic_parse_ip(const struct sk_buff *skb, struct zcnic_tuple *tuple)
{
	bool gso = skb_is_gso(skb);
	u32 offset = ETH_HLEN;
	struct ethhdr _eth, *eth;

	eth = skb_header_pointer(skb, 0, sizeof(_eth), &_eth);
	if (!eth)
		return 0;
	if (eth->h_proto == htons(ETH_P_IP)) {
		struct iphdr _ip, *ip;

		ip = skb_header_pointer(skb, offset, sizeof(_ip), &_ip);
		if (!ip || ip->protocol != IPPROTO_TCP ||
		    ip->frag_off & htons(IP_MF | IP_OFFSET) ||
		    (!gso && offset + ntohs(ip->tot_len) != skb->len))
			return 0;
		memcpy(tuple->bytes, &ip->saddr, 4);
		memcpy(tuple->bytes + 4, &ip->daddr, 4);
		tuple->len = 8;
		return offset + ip->ihl * 4;
	}
	if (eth->h_proto == htons(ETH_P_IPV6)) {
		struct ipv6hdr _ip, *ip;

		ip = skb_header_pointer(skb, offset, sizeof(_ip), &_ip);
		if (!ip || ip->nexthdr != IPPROTO_TCP ||
		    (!gso && offset + sizeof(_ip) + ntohs(ip->payload_len) != skb->len))
			return 0;
		memcpy(tuple->bytes, &ip->saddr, 16);
		memcpy(tuple->bytes + 16, &ip->daddr, 16);
		tuple->len = 32;
		return offset + sizeof(_ip);
	}
	return 0;
}

/* Returns the receive queue of zn for a packet, and fills in its zcnic_cb.
 * Returns a negative number if a rule says to drop it. What is not TCP goes to
 * queue 0.
 *
 * The hash is the device's own, not skb->hash: TCP chooses a new one when it
 * retransmits, and the flow would change its queue just when that had no buffers.
 */
int zcnic_steer(struct zcnic_dev *zn, struct sk_buff *skb)
{
	struct zcnic_cb *cb = zcnic_cb(skb);
	const struct zcnic_rss *rss = &zn->rss[0];
	struct zcnic_tuple tuple;
	struct zcnic_rule *rule;
	struct tcphdr _tcp, *tcp;
	u32 offset;
	int queue;

	memset(cb, 0, sizeof(*cb));
	offset = zcnic_parse_ip(skb, &tuple);
	if (!offset)
		return 0;
	tcp = skb_header_pointer(skb, offset, sizeof(_tcp), &_tcp);
	if (!tcp || tcp->doff < 5)
		return 0;
	if (offset + tcp->doff * 4 <= skb->len)
		cb->header_len = offset + tcp->doff * 4;
	memcpy(tuple.bytes + tuple.len, &tcp->source, 2);
	memcpy(tuple.bytes + tuple.len + 2, &tcp->dest, 2);
	tuple.len += 4;

	rcu_read_lock();
	rule = zcnic_rule_find(zn, &tuple);
	if (rule)
		rss = &zn->rss[rule->context];
	cb->hash = zcnic_rss_hash(rss, &tuple);
	if (!rule || rule->spec.flow_type & FLOW_RSS)
		queue = zcnic_rss_queue(rss, cb->hash);
	else if (rule->spec.ring_cookie == RX_CLS_FLOW_DISC)
		queue = -EPERM;
	else
		queue = rule->spec.ring_cookie;
	rcu_read_unlock();
	return queue;
}
