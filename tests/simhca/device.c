// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ib_device: what the adapter says of itself, and its registration
 *
 * Each time the adapter's power goes on a fresh ib_device is made from the
 * present knobs and registered; when it goes off, or a fault removes it, it is
 * unregistered, as if somebody had pulled the card.  It has no ucontext, so
 * user space does not get to see it as a verbs device.
 *
 * Recovery: consumers must have given everything back when ib_unregister_
 * device() returns.  What they did not is counted as v_object_leak.
 */
#include <linux/netdevice.h>
#include <linux/platform_device.h>
#include <rdma/ib_addr.h>

#include "simhca.h"

static int query_device(struct ib_device *ib, struct ib_device_attr *attr,
			struct ib_udata *udata)
{
	struct sim_adapter *ad = sim_ad(ib);

	memset(attr, 0, sizeof(*attr));
	if (sim_knob(ad, mem_mgt))
		attr->device_cap_flags = IB_DEVICE_MEM_MGT_EXTENSIONS;
	if (sim_knob(ad, local_dma_lkey))
		attr->kernel_cap_flags |= IBK_LOCAL_DMA_LKEY;
	if (sim_knob(ad, sg_gaps))
		attr->kernel_cap_flags |= IBK_SG_GAPS_REG;
	if (sim_knob(ad, integrity))
		attr->kernel_cap_flags |= IBK_INTEGRITY_HANDOVER;
	attr->max_mr_size = ~0ULL;
	attr->page_size_cap = PAGE_SIZE;
	attr->max_qp = sim_knob(ad, max_qp);
	attr->max_qp_wr = sim_knob(ad, max_qp_wr);
	attr->max_send_sge = sim_knob(ad, max_sge);
	attr->max_recv_sge = sim_knob(ad, max_sge);
	attr->max_sge_rd = 1;
	attr->max_cq = 1024;
	attr->max_cqe = sim_knob(ad, max_cqe);
	attr->max_mr = sim_knob(ad, max_mr);
	attr->max_pd = 1024;
	attr->max_qp_rd_atom = sim_knob(ad, max_rd_atom);
	attr->max_qp_init_rd_atom = sim_knob(ad, max_rd_atom);
	attr->max_res_rd_atom = attr->max_qp * attr->max_qp_rd_atom;
	if (sim_knob(ad, mem_mgt))
		attr->max_fast_reg_page_list_len = sim_knob(ad, max_pages);
	attr->sys_image_guid = ib->node_guid;
	return 0;
}

static int query_port(struct ib_device *ib, u32 port, struct ib_port_attr *attr)
{
	struct sim_adapter *ad = sim_ad(ib);
	struct net_device *ndev = ad->netdev;
	bool up = netif_running(ndev) && netif_carrier_ok(ndev);

	memset(attr, 0, sizeof(*attr));
	attr->gid_tbl_len = 1;
	attr->max_msg_sz = -1;
	attr->active_speed = IB_SPEED_EDR;
	attr->active_width = IB_WIDTH_4X;
	attr->max_mtu = ib_mtu_int_to_enum(ndev->mtu);
	attr->active_mtu = attr->max_mtu;
	attr->state = up ? IB_PORT_ACTIVE : IB_PORT_DOWN;
	attr->phys_state = up ? IB_PORT_PHYS_STATE_LINK_UP :
				IB_PORT_PHYS_STATE_DISABLED;
	return 0;
}

static int get_port_immutable(struct ib_device *ib, u32 port,
			      struct ib_port_immutable *immutable)
{
	immutable->gid_tbl_len = 1;
	immutable->core_cap_flags = RDMA_CORE_PORT_IWARP;
	return 0;
}

static int query_gid(struct ib_device *ib, u32 port, int index,
		     union ib_gid *gid)
{
	memset(gid, 0, sizeof(*gid));
	ether_addr_copy(gid->raw, sim_ad(ib)->netdev->dev_addr);
	return 0;
}

static int alloc_pd(struct ib_pd *pd, struct ib_udata *udata)
{
	struct sim_adapter *ad = sim_ad(pd->device);
	int ret = sim_verb_fault(ad, SIM_AT(alloc_pd));

	if (!ret)
		sim_gauge_inc(ad, pds);
	return ret;
}

static int dealloc_pd(struct ib_pd *pd, struct ib_udata *udata)
{
	sim_gauge_dec(sim_ad(pd->device), pds);
	return 0;
}

static const struct ib_device_ops sim_device_ops = {
	.owner = THIS_MODULE,
	.driver_id = RDMA_DRIVER_UNKNOWN,
	.uverbs_abi_ver = 1,

	.alloc_mr = sim_alloc_mr,
	.alloc_mr_integrity = sim_alloc_mr_integrity,
	.alloc_pd = alloc_pd,
	.create_cq = sim_create_cq,
	.create_qp = sim_create_qp,
	.dealloc_pd = dealloc_pd,
	.dereg_mr = sim_dereg_mr,
	.destroy_cq = sim_destroy_cq,
	.destroy_qp = sim_destroy_qp,
	.get_dma_mr = sim_get_dma_mr,
	.get_port_immutable = get_port_immutable,
	.iw_accept = sim_iw_accept,
	.iw_add_ref = sim_iw_add_ref,
	.iw_connect = sim_iw_connect,
	.iw_create_listen = sim_iw_create_listen,
	.iw_destroy_listen = sim_iw_destroy_listen,
	.iw_get_qp = sim_iw_get_qp,
	.iw_reject = sim_iw_reject,
	.iw_rem_ref = sim_iw_rem_ref,
	.map_mr_sg = sim_map_mr_sg,
	.map_mr_sg_pi = sim_map_mr_sg_pi,
	.modify_qp = sim_modify_qp,
	.poll_cq = sim_poll_cq,
	.post_recv = sim_post_recv,
	.post_send = sim_post_send,
	.query_device = query_device,
	.query_gid = query_gid,
	.query_port = query_port,
	.query_qp = sim_query_qp,
	.reg_user_mr = sim_reg_user_mr,
	.req_notify_cq = sim_req_notify_cq,

	INIT_RDMA_OBJ_SIZE(ib_cq, sim_cq, ib),
	INIT_RDMA_OBJ_SIZE(ib_pd, sim_pd, ib),
	INIT_RDMA_OBJ_SIZE(ib_qp, sim_qp, ib),
};

/**
 * sim_device_event - raise an asynchronous event of the device or its port
 * @ad: the adapter
 * @type: the event
 *
 * Engine context, or under ad->power_lock: the device cannot go meanwhile.
 */
void sim_device_event(struct sim_adapter *ad, enum ib_event_type type)
{
	struct sim_ibdev *dev = READ_ONCE(ad->ibdev);
	struct ib_event ev = { .element.port_num = 1, .event = type };

	if (!dev || dev->quiet)
		return;
	ev.device = &dev->ib;
	sim_count(ad, events);
	ib_dispatch_event(&ev);
}

static void fill_device(struct sim_adapter *ad, struct ib_device *ib)
{
	u64 vectors = sim_knob(ad, vectors);
	u8 *guid = (u8 *)&ib->node_guid;

	ib->node_type = RDMA_NODE_RNIC;
	ib->phys_port_cnt = 1;
	ib->num_comp_vectors = vectors ?: num_online_cpus();
	if (sim_knob(ad, local_dma_lkey))
		ib->local_dma_lkey = SIM_LOCAL_DMA_LKEY;
	strscpy(ib->node_desc, "simhca", sizeof(ib->node_desc));
	ether_addr_copy(guid, ad->netdev->dev_addr);
	strscpy(ib->iw_ifname, ad->netdev->name, sizeof(ib->iw_ifname));
	ib->iw_driver_flags = IW_F_NO_PORT_MAP;
	ib_set_device_ops(ib, &sim_device_ops);
}

/**
 * sim_device_register - make an ib_device from the knobs and register it
 * @ad: the adapter
 *
 * Process context, under ad->power_lock.
 *
 * Return: the device or an error pointer.
 */
struct sim_ibdev *sim_device_register(struct sim_adapter *ad)
{
	struct sim_ibdev *dev = ib_alloc_device(sim_ibdev, ib);
	int ret;

	if (!dev)
		return ERR_PTR(-ENOMEM);
	dev->ad = ad;
	fill_device(ad, &dev->ib);
	ret = ib_device_set_netdev(&dev->ib, ad->netdev, 1);
	if (!ret)
		ret = ib_register_device(&dev->ib, ad->name, ad->dma_dev);
	if (ret) {
		ib_dealloc_device(&dev->ib);
		return ERR_PTR(ret);
	}
	return dev;
}

static void check_leaks(struct sim_adapter *ad)
{
	int pds = sim_gauge(ad, pds), cqs = sim_gauge(ad, cqs);
	int qps = sim_gauge(ad, qps), mrs = sim_gauge(ad, mrs);

	if (pds || cqs || qps || mrs)
		sim_violation(ad, SIM_C_v_object_leak,
			      "left behind: %d PDs, %d CQs, %d QPs, %d MRs",
			      pds, cqs, qps, mrs);
}

/**
 * sim_device_unregister - take the device away from its consumers
 * @dev: the device
 *
 * Process context, under ad->power_lock.  Returns when they have let go; the
 * caller frees the device.
 */
void sim_device_unregister(struct sim_ibdev *dev)
{
	struct sim_adapter *ad = dev->ad;

	ib_unregister_device(&dev->ib);
	check_leaks(ad);
}
