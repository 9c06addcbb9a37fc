// SPDX-License-Identifier: GPL-2.0-only
/*
 * Init, exit and parameters of ib_iser, the iSER initiator.
 *
 * Normal operation: loading registers the transport "iser" with open-iscsi.
 * While a session exists the module can't be unloaded. Recovery: a parameter
 * that makes no sense is refused with the values that would; connections that
 * iscsid has left behind are taken down at exit.
 */
#include <linux/module.h>
#include "iser.h"

struct workqueue_struct *iser_wq;
struct workqueue_struct *iser_bell_wq;

/* What is written to sysfs mostly ends with a newline */
static int iser_line(const char *val)
{
	return strcspn(val, "\n");
}

static int iser_set_uint(const char *val, const struct kernel_param *kp,
			 unsigned int min, unsigned int max)
{
	unsigned int n;
	int err;

	err = kstrtouint(val, 0, &n);
	if (!err && (n < min || n > max))
		err = -ERANGE;
	if (err) {
		pr_err("iser: %s=%.*s: must be a number from %u to %u\n",
		       kp->name, iser_line(val), val, min, max);
		return -EINVAL;
	}
	*(unsigned int *)kp->arg = n;
	return 0;
}

unsigned int iser_max_lun = 512;
static int iser_set_max_lun(const char *val, const struct kernel_param *kp)
{
	return iser_set_uint(val, kp, 1, 16384);
}

static const struct kernel_param_ops iser_max_lun_ops = {
	.set = iser_set_max_lun,
	.get = param_get_uint,
};
module_param_cb(max_lun, &iser_max_lun_ops, &iser_max_lun, 0644);
MODULE_PARM_DESC(max_lun, "LUNs are numbers below this (1-16384, default 512). For sessions to come");

/*
 * The block layer wants a page at least.
 *
 * SG_IO of a buffer that begins within a page takes one page more than fits a
 * bio, if it is larger than 1020 KiB, and the block layer does not add a second
 * bio to that on a device with a virt boundary.
 */
unsigned int iser_max_sectors = 1024;
static int iser_set_max_sectors(const char *val, const struct kernel_param *kp)
{
	return iser_set_uint(val, kp, PAGE_SECTORS, 32768);
}

static const struct kernel_param_ops iser_max_sectors_ops = {
	.set = iser_set_max_sectors,
	.get = param_get_uint,
};
module_param_cb(max_sectors, &iser_max_sectors_ops, &iser_max_sectors, 0644);
MODULE_PARM_DESC(max_sectors, "Largest command in 512-byte sectors (a page to 32768, default 1024), as far as the device can. For sessions to come");

/*
 * Known to administrators from the kernel's own module, without effect here:
 * what is written for that in modprobe.d does not keep this one from loading.
 */
static int iser_check_bool(const char *val, const struct kernel_param *kp)
{
	bool on;

	if (!val || !kstrtobool(val, &on))
		return 0;
	pr_err("iser: %s=%.*s: must be a boolean\n", kp->name, iser_line(val),
	       val);
	return -EINVAL;
}

static int iser_set_obsolete(const char *val, const struct kernel_param *kp)
{
	int err = iser_check_bool(val, kp);

	if (!err)
		pr_notice("iser: parameter %s is obsolete and has no effect\n",
			  kp->name);
	return err;
}

static int iser_debug_level;
static int iser_set_debug_level(const char *val, const struct kernel_param *kp)
{
	int err = param_set_int(val, kp);

	if (err)
		pr_err("iser: %s=%.*s: must be a number\n", kp->name,
		       iser_line(val), val);
	else
		pr_notice("iser: parameter %s is obsolete and has no effect: use the tracepoints of group iser\n",
			  kp->name);
	return err;
}

static int iser_set_always_register(const char *val,
				    const struct kernel_param *kp)
{
	int err = iser_check_bool(val, kp);

	if (!err)
		pr_notice("iser: %s is always on: memory is never exposed without a registration of its own\n",
			  kp->name);
	return err;
}

static int iser_get_off(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "0\n");
}

static int iser_get_always(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "Y\n");
}

static const struct kernel_param_ops iser_obsolete_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,
	.set = iser_set_obsolete,
	.get = iser_get_off,
};
module_param_cb(pi_enable, &iser_obsolete_ops, NULL, 0444);
MODULE_PARM_DESC(pi_enable, "Obsolete: protection information is not offered");

static const struct kernel_param_ops iser_debug_level_ops = {
	.set = iser_set_debug_level,
	.get = param_get_int,
};
module_param_cb(debug_level, &iser_debug_level_ops, &iser_debug_level, 0644);
MODULE_PARM_DESC(debug_level, "Obsolete: use the tracepoints of group iser");

static const struct kernel_param_ops iser_always_register_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,
	.set = iser_set_always_register,
	.get = iser_get_always,
};
module_param_cb(always_register, &iser_always_register_ops, NULL, 0444);
MODULE_PARM_DESC(always_register, "Always on, whatever is given");

static int __init iser_wqs_create(void)
{
	iser_wq = alloc_workqueue("iser", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!iser_wq)
		return -ENOMEM;
	/* For reclaim too, as a teardown waits for what is in it */
	iser_bell_wq = alloc_workqueue("iser_bell",
				       WQ_MEM_RECLAIM | ISER_WQ_PERCPU, 0);
	if (!iser_bell_wq) {
		destroy_workqueue(iser_wq);
		return -ENOMEM;
	}
	return 0;
}

static void iser_wqs_destroy(void)
{
	destroy_workqueue(iser_bell_wq);
	destroy_workqueue(iser_wq);
}

static int __init iser_init(void)
{
	int err;

	err = iser_wqs_create();
	if (err)
		return err;
	err = iser_transport_register();
	if (err) {
		pr_err("iser: the transport can't be registered: error %d\n",
		       err);
		iser_wqs_destroy();
	}
	return err;
}

static void __exit iser_exit(void)
{
	iser_transport_unregister();
	iser_endpoints_destroy();
	iser_wqs_destroy();
}

module_init(iser_init);
module_exit(iser_exit);

MODULE_DESCRIPTION("iSER (iSCSI Extensions for RDMA) initiator");
MODULE_AUTHOR("The ib_iser authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1");
