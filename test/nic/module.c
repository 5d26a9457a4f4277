// SPDX-License-Identifier: GPL-2.0
/* Options, loading and unloading. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>

#include "zcnic.h"

struct zcnic_options zcnic_options = {
	.pairs = 1,
	.queues = 4,
	.mtu = ETH_DATA_LEN,
	.ring = 64,
	.backlog = 512,
	.queue_mgmt = true,
	.page_size = true,
	.xdp = true,
	.pack = true,
};

module_param_named(pairs, zcnic_options.pairs, uint, 0444);
MODULE_PARM_DESC(pairs, "pairs of devices, 1 to 4");
module_param_named(queues, zcnic_options.queues, uint, 0444);
MODULE_PARM_DESC(queues, "receive and transmit queues of a device, 1 to 16");
module_param_named(mtu, zcnic_options.mtu, uint, 0444);
MODULE_PARM_DESC(mtu, "MTU at first, 68 to 16000");
module_param_named(ring, zcnic_options.ring, uint, 0444);
MODULE_PARM_DESC(ring, "payload buffers posted per receive queue at first, 1 to 4096");
module_param_named(backlog, zcnic_options.backlog, uint, 0444);
MODULE_PARM_DESC(backlog, "packets under way to a receive queue that stop the sender, 2 or more");
module_param_named(tso, zcnic_options.tso, bool, 0444);
MODULE_PARM_DESC(tso, "take TCP segments of up to 64 KiB, which arrive whole");
module_param_named(queue_mgmt, zcnic_options.queue_mgmt, bool, 0444);
MODULE_PARM_DESC(queue_mgmt, "have queue management operations: without, no memory provider");
module_param_named(page_size, zcnic_options.page_size, bool, 0444);
MODULE_PARM_DESC(page_size, "take receive buffers of more than a page");
module_param_named(xdp, zcnic_options.xdp, bool, 0444);
MODULE_PARM_DESC(xdp, "take XDP programs");
module_param_named(pack, zcnic_options.pack, bool, 0644);
MODULE_PARM_DESC(pack, "put several packets into one payload buffer");
module_param_named(lose_nth, zcnic_options.lose_nth, uint, 0644);
MODULE_PARM_DESC(lose_nth, "lose every n-th packet with payload");
module_param_named(unsplit_nth, zcnic_options.unsplit_nth, uint, 0644);
MODULE_PARM_DESC(unsplit_nth, "split off no header from every n-th packet with payload");
module_param_named(late_nth, zcnic_options.late_nth, uint, 0644);
MODULE_PARM_DESC(late_nth, "leave 64 bytes of payload with the headers of every n-th packet");
module_param_named(reorder_nth, zcnic_options.reorder_nth, uint, 0644);
MODULE_PARM_DESC(reorder_nth, "swap every n-th packet with payload and the next one");

/* The driver of the parent devices, so that sysfs shows its name. */
static struct platform_driver zcnic_driver = {
	.driver.name = KBUILD_MODNAME,
};

static struct platform_device *zcnic_parents[2 * ZCNIC_MAX_PAIRS];
static struct zcnic_dev *zcnic_devices[2 * ZCNIC_MAX_PAIRS];

/* The device writes to the DMA addresses of payload buffers, as hardware would,
 * but through the kernel's mapping of physical memory.
 */
static int zcnic_check_dma(struct device *dma)
{
	void *page = (void *)__get_free_page(GFP_KERNEL);
	dma_addr_t addr;
	int err = 0;

	if (!page)
		return -ENOMEM;
	addr = dma_map_single(dma, page, PAGE_SIZE, DMA_FROM_DEVICE);
	if (dma_mapping_error(dma, addr)) {
		err = -EIO;
	} else {
		if (dma_to_phys(dma, addr) != virt_to_phys(page))
			err = -EOPNOTSUPP;
		dma_unmap_single(dma, addr, PAGE_SIZE, DMA_FROM_DEVICE);
	}
	free_page((unsigned long)page);
	if (err)
		pr_err("needs DMA without IOMMU and bounce buffers\n");
	return err;
}

static int zcnic_check_options(void)
{
	const struct zcnic_options *o = &zcnic_options;

	if (!o->pairs || o->pairs > ZCNIC_MAX_PAIRS) {
		pr_err("pairs=%u: allowed are 1 to %u\n", o->pairs, ZCNIC_MAX_PAIRS);
		return -EINVAL;
	}
	if (!o->queues || o->queues > ZCNIC_MAX_QUEUES) {
		pr_err("queues=%u: allowed are 1 to %u\n", o->queues, ZCNIC_MAX_QUEUES);
		return -EINVAL;
	}
	if (!o->ring || o->ring > ZCNIC_MAX_RING) {
		pr_err("ring=%u: allowed are 1 to %u\n", o->ring, ZCNIC_MAX_RING);
		return -EINVAL;
	}
	if (o->mtu < ETH_MIN_MTU || o->mtu > ZCNIC_MAX_MTU) {
		pr_err("mtu=%u: allowed are %u to %u\n", o->mtu, ETH_MIN_MTU, ZCNIC_MAX_MTU);
		return -EINVAL;
	}
	if (o->backlog < 2) {
		pr_err("backlog=%u: allowed are 2 and more\n", o->backlog);
		return -EINVAL;
	}
	return 0;
}

static void zcnic_exit(void)
{
	int i;

	/* A device's transmit function uses the data of its peer, so all devices
	 * must be unregistered before any is freed.
	 */
	for (i = 0; i < ARRAY_SIZE(zcnic_devices); i++)
		if (zcnic_devices[i] && zcnic_devices[i]->dev->reg_state == NETREG_REGISTERED)
			unregister_netdev(zcnic_devices[i]->dev);
	for (i = 0; i < ARRAY_SIZE(zcnic_devices); i++) {
		if (zcnic_devices[i]) {
			zcnic_rules_free(zcnic_devices[i]);
			free_netdev(zcnic_devices[i]->dev);
		}
		if (zcnic_parents[i])
			platform_device_unregister(zcnic_parents[i]);
	}
	platform_driver_unregister(&zcnic_driver);
}

static int __init zcnic_init(void)
{
	int n = 2 * zcnic_options.pairs;
	int err = zcnic_check_options();
	int i;

	if (err)
		return err;
	err = platform_driver_register(&zcnic_driver);
	if (err)
		return err;
	for (i = 0; i < n; i++) {
		struct platform_device *parent;

		parent = platform_device_register_simple(KBUILD_MODNAME, i, NULL, 0);
		err = PTR_ERR_OR_ZERO(parent);
		if (err)
			goto fail;
		zcnic_parents[i] = parent;
		err = dma_coerce_mask_and_coherent(&parent->dev, DMA_BIT_MASK(64));
		if (!err)
			err = zcnic_check_dma(&parent->dev);
		if (err)
			goto fail;
		err = -ENOMEM;
		zcnic_devices[i] = zcnic_create(&parent->dev);
		if (!zcnic_devices[i])
			goto fail;
	}
	for (i = 0; i < n; i++)
		zcnic_devices[i]->peer = zcnic_devices[i ^ 1];
	for (i = 0; i < n; i++) {
		err = register_netdev(zcnic_devices[i]->dev);
		if (err)
			goto fail;
	}
	return 0;
fail:
	zcnic_exit();
	return err;
}

module_init(zcnic_init);
module_exit(zcnic_exit);
MODULE_DESCRIPTION("Software network devices with zero-copy receive, for tests");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("NETDEV_INTERNAL");
