// SPDX-License-Identifier: GPL-2.0-only
/*
 * An adapter's life, and its files in debugfs
 *
 * An adapter exists from module load to unload: interface, DMA device, engine,
 * target, knobs and counters.  Its ib_device comes and goes with its power, so
 * a test can pull the card, turn a knob and put the card back.
 *
 *	/sys/kernel/debug/simhca/simhca0/
 *		knobs       read: all, with explanation; write: name=value ..., or "reset"
 *		faults      read: rules and hits; write: a rule, or "clear"
 *		counters    read: name=value; write: "reset"
 *		violations  read: the first ones, with time
 *		power       1: registered; write 0 or 1
 */
#include <linux/debugfs.h>
#include <linux/dma-mapping.h>
#include <linux/inet.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "simhca.h"

#define SIM_MAX_ADAPTERS 16
#define SIM_WRITE_MAX 4096

static struct sim_adapter *adapters[SIM_MAX_ADAPTERS];
static struct dentry *debugfs_root;

/**
 * sim_adapter_get - an adapter by its number
 * @index: the number
 *
 * Return: the adapter or NULL.
 */
struct sim_adapter *sim_adapter_get(int index)
{
	return index < SIM_MAX_ADAPTERS ? adapters[index] : NULL;
}

/* ---- power ------------------------------------------------------------- */

static void end_events(void *arg)
{
	struct sim_ibdev *dev = arg;

	dev->quiet = true;
}

static void forget_ibdev(void *arg)
{
	struct sim_adapter *ad = arg;

	ad->ibdev = NULL;
}

static void power_off(struct sim_adapter *ad)
{
	struct sim_ibdev *dev = ad->ibdev;

	/* unregistering waits for those that there are */
	sim_engine_call(ad, end_events, dev);
	sim_device_unregister(dev);
	sim_engine_call(ad, forget_ibdev, ad);
	ib_dealloc_device(&dev->ib);
}

static int power_on(struct sim_adapter *ad)
{
	struct sim_ibdev *dev = sim_device_register(ad);

	if (IS_ERR(dev))
		return PTR_ERR(dev);
	WRITE_ONCE(ad->ibdev, dev);
	return 0;
}

/**
 * sim_adapter_power - register or unregister the adapter's ib_device
 * @ad: the adapter
 * @on: what is wanted; nothing happens where it is so already
 *
 * Process context.
 *
 * Return: 0 or a negative error number.
 */
int sim_adapter_power(struct sim_adapter *ad, bool on)
{
	int ret = 0;

	mutex_lock(&ad->power_lock);
	if (on && !ad->ibdev)
		ret = power_on(ad);
	else if (!on && ad->ibdev)
		power_off(ad);
	mutex_unlock(&ad->power_lock);
	return ret;
}

static void remove_work(struct work_struct *work)
{
	sim_adapter_power(container_of(work, struct sim_adapter, remove_work),
			  false);
}

/* ---- debugfs ----------------------------------------------------------- */

static ssize_t write_text(struct file *file, const char __user *ubuf, size_t n,
			  int (*fn)(struct sim_adapter *ad, char *text))
{
	struct seq_file *m = file->private_data;
	struct sim_adapter *ad = m->private;
	char *text;
	int ret;

	if (n >= SIM_WRITE_MAX)
		return -E2BIG;
	text = memdup_user_nul(ubuf, n);
	if (IS_ERR(text))
		return PTR_ERR(text);
	ret = fn(ad, strim(text));
	kfree(text);
	return ret < 0 ? ret : n;
}

static int write_counters(struct sim_adapter *ad, char *text)
{
	if (strcmp(text, "reset"))
		return -EINVAL;
	sim_counters_reset(ad);
	return 0;
}

static int write_violations(struct sim_adapter *ad, char *text)
{
	return -EPERM;
}

static int write_power(struct sim_adapter *ad, char *text)
{
	bool on;
	int ret = kstrtobool(text, &on);

	return ret ?: sim_adapter_power(ad, on);
}

static void sim_power_show(struct sim_adapter *ad, struct seq_file *m)
{
	seq_printf(m, "%d\n", READ_ONCE(ad->ibdev) ? 1 : 0);
}

#define SIM_FILE(name, show, store)					\
static int name##_show(struct seq_file *m, void *unused)		\
{									\
	show(m->private, m);						\
	return 0;							\
}									\
static int name##_open(struct inode *inode, struct file *file)		\
{									\
	return single_open(file, name##_show, inode->i_private);	\
}									\
static ssize_t name##_write(struct file *file, const char __user *buf,	\
			    size_t n, loff_t *pos)			\
{									\
	return write_text(file, buf, n, store);				\
}									\
static const struct file_operations name##_fops = {			\
	.owner = THIS_MODULE,						\
	.open = name##_open,						\
	.read = seq_read,						\
	.write = name##_write,						\
	.llseek = seq_lseek,						\
	.release = single_release,					\
}

SIM_FILE(knobs, sim_knobs_show, sim_knobs_write);
SIM_FILE(faults, sim_faults_show, sim_faults_write);
SIM_FILE(counters, sim_counters_show, write_counters);
SIM_FILE(violations, sim_notes_show, write_violations);
SIM_FILE(power, sim_power_show, write_power);

static void create_files(struct sim_adapter *ad)
{
	ad->debugfs = debugfs_create_dir(ad->name, debugfs_root);
	debugfs_create_file("knobs", 0600, ad->debugfs, ad, &knobs_fops);
	debugfs_create_file("faults", 0600, ad->debugfs, ad, &faults_fops);
	debugfs_create_file("counters", 0600, ad->debugfs, ad,
			    &counters_fops);
	debugfs_create_file("violations", 0400, ad->debugfs, ad,
			    &violations_fops);
	debugfs_create_file("power", 0600, ad->debugfs, ad, &power_fops);
}

/* ---- life -------------------------------------------------------------- */

static int create_dma_device(struct sim_adapter *ad)
{
	struct platform_device_info info = {
		.name = "simhca",
		.id = ad->index,
		.dma_mask = DMA_BIT_MASK(64),
	};
	struct platform_device *pdev = platform_device_register_full(&info);

	if (IS_ERR(pdev))
		return PTR_ERR(pdev);
	ad->pdev = pdev;
	platform_set_drvdata(pdev, ad);
	dma_set_max_seg_size(&pdev->dev, SZ_2G);
	return 0;
}

static void destroy(struct sim_adapter *ad)
{
	debugfs_remove_recursive(ad->debugfs);
	sim_adapter_power(ad, false);
	sim_engine_stop(ad);
	/* Its work finds the power off already */
	if (ad->wq)
		destroy_workqueue(ad->wq);
	sim_faults_clear(ad);
	sim_target_exit(ad);
	sim_netdev_destroy(ad);
	if (ad->pdev) {
		sim_dma_exit(ad);
		platform_device_unregister(ad->pdev);
	}
	kvfree(ad->rxbuf);
	kvfree(ad->againbuf);
	xa_destroy(&ad->qps);
	xa_destroy(&ad->mrs);
	free_percpu(ad->counters);
	kfree(ad);
}

static int build(struct sim_adapter *ad, const char *knobs)
{
	char *text;
	int ret;

	ad->counters = __alloc_percpu(SIM_NR_COUNTERS * sizeof(u64),
				      __alignof__(u64));
	ad->rxbuf = kvmalloc(SIM_RX_MAX + 1, GFP_KERNEL);
	ad->againbuf = kvmalloc(SIM_RX_MAX, GFP_KERNEL);
	ad->wq = alloc_ordered_workqueue("%s", 0, ad->name);
	if (!ad->counters || !ad->rxbuf || !ad->againbuf || !ad->wq)
		return -ENOMEM;
	text = kstrdup(knobs ?: "", GFP_KERNEL);
	if (!text)
		return -ENOMEM;
	ret = sim_engine_start(ad);
	if (!ret)
		ret = sim_knobs_write(ad, text);
	kfree(text);
	if (!ret)
		ret = sim_target_init(ad);
	if (!ret)
		ret = create_dma_device(ad);
	if (!ret)
		ret = sim_dma_init(ad);
	if (!ret)
		ret = sim_netdev_create(ad);
	if (!ret)
		ret = sim_adapter_power(ad, true);
	return ret;
}

/**
 * sim_adapter_create - create an adapter and register its device
 * @index: its number
 * @knobs: knobs to set first, or NULL
 *
 * Return: 0 or a negative error number.
 */
int sim_adapter_create(int index, const char *knobs)
{
	struct sim_adapter *ad;
	int ret;

	if (index < 0 || index >= SIM_MAX_ADAPTERS)
		return -EINVAL;
	ad = kzalloc(sizeof(*ad), GFP_KERNEL);
	if (!ad)
		return -ENOMEM;
	ad->index = index;
	scnprintf(ad->name, sizeof(ad->name), "simhca%u", (u8)index);
	mutex_init(&ad->power_lock);
	INIT_WORK(&ad->remove_work, remove_work);
	xa_init_flags(&ad->qps, XA_FLAGS_ALLOC);
	xa_init_flags(&ad->mrs, XA_FLAGS_ALLOC);
	spin_lock_init(&ad->notes.lock);
	sim_faults_init(ad);
	sim_knobs_init(ad);

	ret = build(ad, knobs);
	if (ret) {
		pr_err("%s: cannot be created: %d\n", ad->name, ret);
		destroy(ad);
		return ret;
	}
	if (!debugfs_root)
		debugfs_root = debugfs_create_dir("simhca", NULL);
	create_files(ad);
	adapters[index] = ad;
	return 0;
}

/**
 * sim_adapter_destroy - remove an adapter
 * @index: its number
 */
void sim_adapter_destroy(int index)
{
	struct sim_adapter *ad = sim_adapter_get(index);
	int i;

	if (!ad)
		return;
	adapters[index] = NULL;
	destroy(ad);
	for (i = 0; i < SIM_MAX_ADAPTERS; i++)
		if (adapters[i])
			return;
	debugfs_remove_recursive(debugfs_root);
	debugfs_root = NULL;
}
