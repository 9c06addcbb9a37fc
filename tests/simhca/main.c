// SPDX-License-Identifier: GPL-2.0-only
/*
 * simhca: module parameters, load and unload
 *
 * Loading creates the adapters and registers their devices; unloading removes
 * them, whatever is connected through them, as a pulled card would.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/inet.h>
#include <linux/module.h>

#include "simhca.h"

static int adapters = 1;
module_param(adapters, int, 0444);
MODULE_PARM_DESC(adapters, "number of adapters (1)");

static bool shared;
module_param(shared, bool, 0444);
MODULE_PARM_DESC(shared,
		 "all adapters are ways to the same targets and disks (n)");

static char *subnet = "198.51.100.0";
module_param(subnet, charp, 0444);
MODULE_PARM_DESC(subnet,
		 "IPv4 /24 network of adapter 0; the others' follow");

static char *knobs;
module_param(knobs, charp, 0444);
MODULE_PARM_DESC(knobs,
		 "knobs to set before registration: name=value,name=value");

static char *dma_device;
module_param(dma_device, charp, 0444);
MODULE_PARM_DESC(dma_device,
		 "PCI device, like 0000:00:05.0, whose IOMMU the adapters use");

static u32 base;

/**
 * sim_subnet - the network address of an adapter
 * @index: number of the adapter
 *
 * Return: the address in host byte order.
 */
u32 sim_subnet(int index)
{
	return base + (index << 8);
}

/**
 * sim_shared - do all adapters lead to the same disks?
 *
 * Return: the module parameter.
 */
bool sim_shared(void)
{
	return shared;
}

/**
 * sim_dma_device - whose IOMMU is there to be used?
 *
 * Return: the module parameter: the name of a PCI device, or NULL.
 */
const char *sim_dma_device(void)
{
	return dma_device;
}

static void destroy_all(void)
{
	int i;

	for (i = 0; i < adapters; i++)
		sim_adapter_destroy(i);
	sim_stores_free(NULL);
	/* pages of the stores are freed by RCU callbacks in this module */
	rcu_barrier();
}

static int __init sim_init(void)
{
	__be32 addr;
	int i, ret;

	if (!in4_pton(subnet, -1, (u8 *)&addr, -1, NULL)) {
		pr_err("subnet=%s is no IPv4 address\n", subnet);
		return -EINVAL;
	}
	base = ntohl(addr) & ~0xffU;
	for (i = 0; i < adapters; i++) {
		ret = sim_adapter_create(i, knobs);
		if (ret) {
			destroy_all();
			return ret;
		}
	}
	return 0;
}

static void __exit sim_exit(void)
{
	destroy_all();
}

module_init(sim_init);
module_exit(sim_exit);

MODULE_DESCRIPTION("simulated RDMA adapter with an iSER target built in");
MODULE_LICENSE("GPL");
