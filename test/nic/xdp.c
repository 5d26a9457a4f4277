// SPDX-License-Identifier: GPL-2.0
/* XDP: programs that pass or drop. While one is attached, packets arrive in one
 * piece, unsplit. The core itself refuses programs on a device with a memory
 * provider, and programs without fragment support while header split is on.
 */
#include <linux/bpf.h>
#include <linux/filter.h>
#include <net/netdev_lock.h>
#include <net/netdev_rx_queue.h>
#include <net/xdp.h>

#include "zcnic.h"

/* As in drivers with a page per packet, a larger MTU needs a program that supports
 * fragments.
 */
#define ZCNIC_XDP_MTU (PAGE_SIZE - XDP_PACKET_HEADROOM - ETH_HLEN - \
		       SKB_DATA_ALIGN(sizeof(struct skb_shared_info)))

int zcnic_xdp_check(struct bpf_prog *prog, unsigned int mtu,
		    struct netlink_ext_ack *extack)
{
	if (prog->aux->xdp_has_frags || mtu <= ZCNIC_XDP_MTU)
		return 0;
	NL_SET_ERR_MSG(extack, "MTU too large for an XDP program without fragments");
	return -EOPNOTSUPP;
}

int zcnic_bpf(struct net_device *dev, struct netdev_bpf *bpf)
{
	struct zcnic_dev *zn = netdev_priv(dev);
	struct bpf_prog *old;

	if (bpf->command != XDP_SETUP_PROG)
		return -EINVAL;
	if (bpf->prog) {
		int err = zcnic_xdp_check(bpf->prog, dev->mtu, bpf->extack);

		if (!zcnic_options.xdp) {
			NL_SET_ERR_MSG(bpf->extack, "XDP is switched off (module option xdp)");
			err = -EOPNOTSUPP;
		}
		if (err)
			return err;
	}
	/* The core holds a reference for us. */
	old = rcu_replace_pointer(zn->xdp, bpf->prog, lockdep_is_held(&dev->lock));
	if (old)
		bpf_prog_put(old);
	return 0;
}

/* Runs a program over a packet whose data is in one piece, with headroom. */
bool zcnic_xdp_passes(struct zcnic_rxq *rxq, struct bpf_prog *prog,
		      struct sk_buff *skb)
{
	struct netdev_rx_queue *queue = __netif_get_rx_queue(rxq->zn->dev, rxq->index);
	u32 frame = skb_end_offset(skb) + SKB_DATA_ALIGN(sizeof(struct skb_shared_info));
	struct xdp_buff xdp;
	long moved;
	u32 action;

	xdp_init_buff(&xdp, frame, &queue->xdp_rxq);
	xdp_prepare_buff(&xdp, skb->head, skb_headroom(skb), skb->len, false);
	action = bpf_prog_run_xdp(prog, &xdp);
	switch (action) {
	case XDP_PASS:
		break;
	default:
		bpf_warn_invalid_xdp_action(rxq->zn->dev, prog, action);
		fallthrough;
	case XDP_ABORTED:
	case XDP_DROP:
		return false;
	}
	moved = (u8 *)xdp.data - skb->data;
	if (moved > 0)
		__skb_pull(skb, moved);
	else if (moved < 0)
		__skb_push(skb, -moved);
	skb_trim(skb, 0);
	skb_put(skb, xdp.data_end - xdp.data);
	return true;
}
