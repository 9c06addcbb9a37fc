// SPDX-License-Identifier: GPL-2.0-only
/*
 * An RDMA adapter that does nothing but write down what it was asked.
 *
 * Normal operation: see adapter.h. It lacks two operations that a provider for
 * everybody must have, so the RDMA core lets no other user of its near it.
 *
 * Recovery: what a test leaves posted is flushed when the driver drains the
 * queue pair; fake_adapter_forget() makes it as new for the next test.
 */
#include <linux/netdevice.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <net/net_namespace.h>
#include "adapter.h"
#include "seam.h"

struct fake_pd {
	struct ib_pd ib;
};

struct fake_cq {
	struct ib_cq ib;
};

struct fake_qp {
	struct ib_qp ib;
};

struct fake_mr {
	struct ib_mr ib;
	u64 start;
	u32 pages;
	u32 max_pages;
};

/* Counts down to the call that is to fail, then is disarmed */
static bool fake_fails(int *calls)
{
	return *calls >= 0 && (*calls)-- == 0;
}

/**
 * fake_adapter_attrs - what an ordinary adapter can do
 * @attr: filled in
 */
void fake_adapter_attrs(struct ib_device_attr *attr)
{
	memset(attr, 0, sizeof(*attr));
	attr->device_cap_flags = IB_DEVICE_MEM_MGT_EXTENSIONS;
	attr->kernel_cap_flags = IBK_LOCAL_DMA_LKEY;
	attr->max_mr_size = ~0ull;
	attr->page_size_cap = PAGE_SIZE;
	attr->max_qp = 64;
	attr->max_qp_wr = 512;
	attr->max_send_sge = 16;
	attr->max_recv_sge = 16;
	attr->max_cq = 64;
	attr->max_cqe = 65536;
	attr->max_mr = 4096;
	attr->max_pd = 64;
	attr->max_qp_rd_atom = 16;
	attr->max_qp_init_rd_atom = 16;
	attr->max_fast_reg_page_list_len = 512;
}

static int fake_query_device(struct ib_device *ib, struct ib_device_attr *attr,
			     struct ib_udata *udata)
{
	fake_adapter_attrs(attr);
	return 0;
}

static int fake_query_port(struct ib_device *ib, u32 port,
			   struct ib_port_attr *attr)
{
	attr->gid_tbl_len = 1;
	attr->max_msg_sz = -1;
	attr->max_mtu = IB_MTU_4096;
	attr->active_mtu = IB_MTU_4096;
	attr->active_speed = IB_SPEED_EDR;
	attr->active_width = IB_WIDTH_4X;
	attr->state = IB_PORT_ACTIVE;
	attr->phys_state = IB_PORT_PHYS_STATE_LINK_UP;
	return 0;
}

static int fake_port_immutable(struct ib_device *ib, u32 port,
			       struct ib_port_immutable *immutable)
{
	immutable->gid_tbl_len = 1;
	immutable->core_cap_flags = RDMA_CORE_PORT_IWARP;
	return 0;
}

static int fake_query_gid(struct ib_device *ib, u32 port, int index,
			  union ib_gid *gid)
{
	memset(gid, 0, sizeof(*gid));
	gid->raw[0] = 2;
	return 0;
}

static int fake_alloc_pd(struct ib_pd *pd, struct ib_udata *udata)
{
	if (to_fake(pd->device)->no_pd)
		return -ENOMEM;
	to_fake(pd->device)->pds++;
	return 0;
}

static int fake_dealloc_pd(struct ib_pd *pd, struct ib_udata *udata)
{
	to_fake(pd->device)->pds--;
	return 0;
}

static int fake_create_cq(struct ib_cq *cq, const struct ib_cq_init_attr *attr,
			  struct uverbs_attr_bundle *attrs)
{
	if (to_fake(cq->device)->no_cq)
		return -ENOMEM;
	cq->cqe = attr->cqe;
	to_fake(cq->device)->cqs++;
	return 0;
}

static int fake_destroy_cq(struct ib_cq *cq, struct ib_udata *udata)
{
	to_fake(cq->device)->cqs--;
	return 0;
}

static int fake_poll_cq(struct ib_cq *cq, int n, struct ib_wc *wc)
{
	return 0;
}

static int fake_req_notify_cq(struct ib_cq *cq, enum ib_cq_notify_flags flags)
{
	return 0;
}

static int fake_create_qp(struct ib_qp *qp, struct ib_qp_init_attr *attr,
			  struct ib_udata *udata)
{
	struct fake_adapter *fake = to_fake(qp->device);

	if (fake->qp_wr_room &&
	    attr->cap.max_send_wr + attr->cap.max_recv_wr > fake->qp_wr_room)
		return -ENOMEM;
	fake->cap = attr->cap;
	fake->qp = qp;
	fake->qps++;
	qp->qp_num = 17;
	return 0;
}

static int fake_modify_qp(struct ib_qp *qp, struct ib_qp_attr *attr, int mask,
			  struct ib_udata *udata)
{
	return 0;
}

static int fake_destroy_qp(struct ib_qp *qp, struct ib_udata *udata)
{
	struct fake_adapter *fake = to_fake(qp->device);

	if (fake->on_destroy)
		fake->on_destroy(fake->on_destroy_arg);
	fake->qps--;
	fake->qp = NULL;
	return 0;
}

static struct ib_mr *fake_alloc_mr(struct ib_pd *pd, enum ib_mr_type type,
				   u32 max_sg)
{
	struct fake_adapter *fake = to_fake(pd->device);
	struct fake_mr *mr;

	if (fake_fails(&fake->mr_fails_at))
		return ERR_PTR(-ENOMEM);
	mr = kzalloc(sizeof(*mr), GFP_KERNEL);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	mr->ib.rkey = (fake->mrs + 1) << 8;
	mr->ib.lkey = mr->ib.rkey;
	mr->max_pages = max_sg;
	fake->mrs++;
	return &mr->ib;
}

static int fake_dereg_mr(struct ib_mr *mr, struct ib_udata *udata)
{
	to_fake(mr->device)->mrs--;
	kfree(container_of(mr, struct fake_mr, ib));
	return 0;
}

static int fake_set_page(struct ib_mr *ib, u64 addr)
{
	struct fake_mr *mr = container_of(ib, struct fake_mr, ib);

	if (mr->pages == mr->max_pages)
		return -ENOMEM;
	mr->pages++;
	return 0;
}

/* IB_MR_TYPE_SG_GAPS: elements as they come, wherever they begin and end */
static int fake_map_gaps(struct fake_mr *mr, struct scatterlist *sgl, int nents,
			 unsigned int offset)
{
	struct scatterlist *sg;
	int i;

	mr->ib.iova = sg_dma_address(sgl) + offset;
	mr->ib.length = 0;
	for_each_sg(sgl, sg, nents, i) {
		if (i == mr->max_pages)
			break;
		mr->ib.length += sg_dma_len(sg) - offset;
		offset = 0;
	}
	return i;
}

static int fake_map_mr_sg(struct ib_mr *ib, struct scatterlist *sg, int nents,
			  unsigned int *offset)
{
	struct fake_mr *mr = container_of(ib, struct fake_mr, ib);
	int mapped;

	mr->pages = 0;
	mapped = ib->type == IB_MR_TYPE_SG_GAPS ?
		fake_map_gaps(mr, sg, nents, offset ? *offset : 0) :
		ib_sg_to_pages(ib, sg, nents, offset, fake_set_page);
	mr->start = ib->iova;
	return mapped;
}

/**
 * fake_mr_start - where the memory begins that an MR describes
 * @ib: MR, mapped
 *
 * Return: DMA address, whatever the region's own addresses are.
 */
u64 fake_mr_start(const struct ib_mr *ib)
{
	return container_of(ib, struct fake_mr, ib)->start;
}

static u32 fake_head_len(const struct fake_send *send)
{
	return min_t(u32, send->sge[0].length, sizeof(send->head));
}

static void fake_record(struct fake_adapter *fake, struct fake_send *send,
			const struct ib_send_wr *wr)
{
	memset(send, 0, sizeof(*send));
	send->wr = *wr;
	send->wr.next = NULL;
	send->doorbell = fake->doorbells;
	if (wr->opcode == IB_WR_REG_MR) {
		send->key = reg_wr(wr)->key;
		send->access = reg_wr(wr)->access;
		send->iova = reg_wr(wr)->mr->iova;
		send->start = fake_mr_start(reg_wr(wr)->mr);
		send->length = reg_wr(wr)->mr->length;
	}
	if (wr->num_sge)
		memcpy(send->sge, wr->sg_list,
		       min(wr->num_sge, FAKE_SGES) * sizeof(*send->sge));
	if (wr->opcode == IB_WR_SEND)
		memcpy(send->head, (void *)(uintptr_t)send->sge[0].addr,
		       fake_head_len(send));
}

/* An entry is free when a completion of it or of a later one was handled */
static unsigned int fake_sends_left(struct fake_adapter *fake)
{
	unsigned int i, n = 0;

	for (i = 0; i < fake->nr_sends; i++)
		n += !fake->sends[i].done;
	return n;
}

static bool fake_takes_send(struct fake_adapter *fake)
{
	return !fake_fails(&fake->send_fails_at) &&
	       fake->nr_sends < FAKE_SENDS &&
	       fake_sends_left(fake) < fake->cap.max_send_wr;
}

static bool fake_takes_recv(struct fake_adapter *fake)
{
	return !fake_fails(&fake->recv_fails_at) &&
	       fake->nr_recvs < FAKE_RECVS &&
	       fake_recvs_left(fake) < fake->cap.max_recv_wr;
}

static int fake_post_send(struct ib_qp *qp, const struct ib_send_wr *wr,
			  const struct ib_send_wr **bad)
{
	struct fake_adapter *fake = to_fake(qp->device);

	fake->doorbells++;
	for (; wr; wr = wr->next) {
		if (!fake_takes_send(fake)) {
			*bad = wr;
			return -ENOMEM;
		}
		fake_record(fake, &fake->sends[fake->nr_sends++], wr);
	}
	if (fake->on_post)
		fake->on_post(fake->on_post_arg);
	return 0;
}

static int fake_post_recv(struct ib_qp *qp, const struct ib_recv_wr *wr,
			  const struct ib_recv_wr **bad)
{
	struct fake_adapter *fake = to_fake(qp->device);

	fake->recv_doorbells++;
	for (; wr; wr = wr->next) {
		struct fake_recv *recv = &fake->recvs[fake->nr_recvs];

		if (!fake_takes_recv(fake)) {
			*bad = wr;
			return -ENOMEM;
		}
		recv->cqe = wr->wr_cqe;
		recv->sge = wr->sg_list[0];
		recv->doorbell = fake->recv_doorbells;
		recv->done = false;
		fake->nr_recvs++;
	}
	return 0;
}

/*
 * Completions come from softirq, one at a time. What one of them has queued,
 * the teardown above all, waits in the drain until it has been handled.
 */
static void fake_done(struct fake_adapter *fake, struct ib_wc *wc, bool *done)
{
	wc->qp = fake->qp;
	spin_lock_bh(&fake->cq_lock);
	if (!*done) {
		*done = true;
		wc->wr_cqe->done(fake->qp->send_cq, wc);
	}
	spin_unlock_bh(&fake->cq_lock);
}

/*
 * As long as a Send is not done the adapter may have to read it once more, for a
 * retransmission, and what it sends has to be the same.
 */
static void fake_compare(struct fake_adapter *fake,
			 const struct fake_send *send)
{
	if (send->wr.opcode == IB_WR_SEND && !send->done &&
	    memcmp(send->head, (void *)(uintptr_t)send->sge[0].addr,
		   fake_head_len(send)))
		fake->changed++;
}

static void fake_end(struct fake_adapter *fake, struct fake_send *send)
{
	fake_compare(fake, send);
	if (!(send->wr.send_flags & IB_SEND_SIGNALED))
		send->done = true;
}

/**
 * fake_complete - complete one work request
 * @fake: adapter
 * @i: which one, in the order of posting
 * @status: IB_WC_SUCCESS tells that all before it have been executed, too
 */
void fake_complete(struct fake_adapter *fake, unsigned int i,
		   enum ib_wc_status status)
{
	struct fake_send *send = &fake->sends[i];
	struct ib_wc wc = { .wr_cqe = send->wr.wr_cqe, .status = status };
	unsigned int n;

	for (n = 0; status == IB_WC_SUCCESS && n <= i; n++)
		fake_end(fake, &fake->sends[n]);
	fake_done(fake, &wc, &send->done);
}

/**
 * fake_complete_sends - complete successfully what is signalled and is not a
 *	local invalidate
 * @fake: adapter
 *
 * Return: how many that were.
 */
unsigned int fake_complete_sends(struct fake_adapter *fake)
{
	unsigned int i, n = 0;

	for (i = 0; i < fake->nr_sends; i++) {
		struct fake_send *send = &fake->sends[i];

		if (send->done || send->wr.opcode == IB_WR_LOCAL_INV ||
		    !(send->wr.send_flags & IB_SEND_SIGNALED))
			continue;
		fake_complete(fake, i, IB_WC_SUCCESS);
		n++;
	}
	return n;
}

static void fake_drain_sq(struct ib_qp *qp)
{
	struct fake_adapter *fake = to_fake(qp->device);
	unsigned int i;

	fake->drains++;
	for (i = 0; !fake->deaf && i < fake->nr_sends; i++) {
		fake_compare(fake, &fake->sends[i]);
		fake_complete(fake, i, IB_WC_WR_FLUSH_ERR);
	}
}

static void fake_drain_rq(struct ib_qp *qp)
{
	struct fake_adapter *fake = to_fake(qp->device);
	unsigned int i;

	for (i = 0; !fake->deaf && i < fake->nr_recvs; i++) {
		struct ib_wc wc = {
			.wr_cqe = fake->recvs[i].cqe,
			.status = IB_WC_WR_FLUSH_ERR,
		};

		fake_done(fake, &wc, &fake->recvs[i].done);
	}
}

/**
 * fake_next_recv - the oldest receive that has not completed
 * @fake: adapter
 *
 * Return: the receive, or NULL.
 */
struct fake_recv *fake_next_recv(struct fake_adapter *fake)
{
	unsigned int i;

	for (i = 0; i < fake->nr_recvs; i++)
		if (!fake->recvs[i].done)
			return &fake->recvs[i];
	return NULL;
}

/**
 * fake_complete_recv - complete the oldest receive
 * @fake: adapter, with a receive posted
 * @wc: how; the receive and the queue pair are filled in
 */
void fake_complete_recv(struct fake_adapter *fake, struct ib_wc *wc)
{
	struct fake_recv *recv = fake_next_recv(fake);

	wc->wr_cqe = recv->cqe;
	fake_done(fake, wc, &recv->done);
}

/**
 * fake_receive - a message arrives in the oldest receive
 * @fake: adapter
 * @pdu: message
 * @len: bytes in it
 * @invalidates: the key that it invalidates, or NULL
 *
 * Return: false if there is no receive for it, or too small a one.
 */
bool fake_receive(struct fake_adapter *fake, const void *pdu, u32 len,
		  const u32 *invalidates)
{
	struct fake_recv *recv = fake_next_recv(fake);
	struct ib_wc wc = {
		.status = IB_WC_SUCCESS,
		.opcode = IB_WC_RECV,
		.byte_len = len,
	};

	if (!recv || recv->sge.length < len)
		return false;
	fake->received = (void *)(uintptr_t)recv->sge.addr;
	memcpy(fake->received, pdu, len);
	if (invalidates) {
		wc.wc_flags = IB_WC_WITH_INVALIDATE;
		wc.ex.invalidate_rkey = *invalidates;
	}
	fake_complete_recv(fake, &wc);
	return true;
}

/**
 * fake_recvs_left - how many receives are posted
 * @fake: adapter
 */
unsigned int fake_recvs_left(struct fake_adapter *fake)
{
	unsigned int i, n = 0;

	for (i = 0; i < fake->nr_recvs; i++)
		n += !fake->recvs[i].done;
	return n;
}

/**
 * fake_key_live - could a target use this key, as far as work requests tell?
 * @fake: adapter
 * @rkey: key
 */
bool fake_key_live(struct fake_adapter *fake, u32 rkey)
{
	bool live = false;
	unsigned int i;

	for (i = 0; i < fake->nr_sends; i++) {
		struct fake_send *send = &fake->sends[i];

		if (send->wr.opcode == IB_WR_REG_MR && send->key == rkey)
			live = true;
		if (send->wr.opcode == IB_WR_LOCAL_INV && send->done &&
		    send->wr.ex.invalidate_rkey == rkey)
			live = false;
	}
	return live;
}

/* As an IOMMU would: what is adjacent becomes one element */
static int fake_merge(struct scatterlist *sgl, int nents)
{
	struct scatterlist *out = sgl, *sg;
	int i, n = 1;

	for_each_sg(sgl, sg, nents, i) {
		if (!i)
			continue;
		if (sg_dma_address(out) + sg_dma_len(out) ==
		    sg_dma_address(sg)) {
			sg_dma_len(out) += sg_dma_len(sg);
			continue;
		}
		out = sg_next(out);
		sg_dma_address(out) = sg_dma_address(sg);
		sg_dma_len(out) = sg_dma_len(sg);
		n++;
	}
	if (n < nents)
		sg_dma_len(sg_next(out)) = 0;
	return n;
}

int fake_map_sg(struct ib_device *ib, struct scatterlist *sg, int nents,
		enum dma_data_direction dir)
{
	struct fake_adapter *fake = to_fake(ib);
	int n;

	if (fake_fails(&fake->dma_fails_at))
		return 0;
	n = ib_dma_map_sg_attrs(ib, sg, nents, dir, 0);
	fake->mapped += n > 0;
	return fake->merge && n ? fake_merge(sg, n) : n;
}

void fake_unmap_sg(struct ib_device *ib, struct scatterlist *sg, int nents,
		   enum dma_data_direction dir)
{
	to_fake(ib)->mapped--;
	ib_dma_unmap_sg_attrs(ib, sg, nents, dir, 0);
}

int fake_disconnect(struct rdma_cm_id *cm_id)
{
	to_fake(cm_id->device)->disconnects++;
	return 0;
}

static const struct ib_device_ops fake_ops = {
	.owner			= THIS_MODULE,
	.driver_id		= RDMA_DRIVER_UNKNOWN,
	.uverbs_abi_ver		= 1,
	.alloc_mr		= fake_alloc_mr,
	.alloc_pd		= fake_alloc_pd,
	.create_cq		= fake_create_cq,
	.create_qp		= fake_create_qp,
	.dealloc_pd		= fake_dealloc_pd,
	.dereg_mr		= fake_dereg_mr,
	.destroy_cq		= fake_destroy_cq,
	.destroy_qp		= fake_destroy_qp,
	.drain_rq		= fake_drain_rq,
	.drain_sq		= fake_drain_sq,
	.get_port_immutable	= fake_port_immutable,
	.map_mr_sg		= fake_map_mr_sg,
	.modify_qp		= fake_modify_qp,
	.poll_cq		= fake_poll_cq,
	.post_recv		= fake_post_recv,
	.post_send		= fake_post_send,
	.query_device		= fake_query_device,
	.query_gid		= fake_query_gid,
	.query_port		= fake_query_port,
	.req_notify_cq		= fake_req_notify_cq,
	INIT_RDMA_OBJ_SIZE(ib_cq, fake_cq, ib),
	INIT_RDMA_OBJ_SIZE(ib_pd, fake_pd, ib),
	INIT_RDMA_OBJ_SIZE(ib_qp, fake_qp, ib),
};

/**
 * fake_adapter_forget - make it as new
 * @fake: adapter, without a queue pair
 */
void fake_adapter_forget(struct fake_adapter *fake)
{
	fake_adapter_attrs(&fake->ib.attrs);
	fake->ib.port_data[1].immutable.core_cap_flags = RDMA_CORE_PORT_IWARP;
	fake->nr_sends = 0;
	fake->doorbells = 0;
	fake->nr_recvs = 0;
	fake->recv_doorbells = 0;
	fake->changed = 0;
	fake->send_fails_at = FAKE_NEVER;
	fake->recv_fails_at = FAKE_NEVER;
	fake->on_post = NULL;
	fake->on_destroy = NULL;
	fake->mr_fails_at = FAKE_NEVER;
	fake->dma_fails_at = FAKE_NEVER;
	fake->qp_wr_room = 0;
	fake->no_pd = false;
	fake->no_cq = false;
	fake->deaf = false;
	fake->merge = false;
	fake->mapped = 0;
	fake->drains = 0;
	fake->disconnects = 0;
}

/**
 * fake_adapter_create - plug one in
 *
 * Context: may sleep. Return: the adapter, or NULL.
 */
struct fake_adapter *fake_adapter_create(void)
{
	struct fake_adapter *fake = ib_alloc_device(fake_adapter, ib);

	if (!fake)
		return NULL;
	spin_lock_init(&fake->cq_lock);
	fake->sends = vcalloc(FAKE_SENDS, sizeof(*fake->sends));
	fake->recvs = vcalloc(FAKE_RECVS, sizeof(*fake->recvs));
	if (!fake->sends || !fake->recvs)
		goto free;

	fake->ib.node_type = RDMA_NODE_RNIC;
	fake->ib.phys_port_cnt = 1;
	fake->ib.num_comp_vectors = 1;
	fake->ib.local_dma_lkey = FAKE_LKEY;
	ib_set_device_ops(&fake->ib, &fake_ops);
	/* An iWARP port must have a network device, but need not use it */
	if (ib_device_set_netdev(&fake->ib, init_net.loopback_dev, 1) ||
	    ib_register_device(&fake->ib, "fake%d", NULL))
		goto free;
	fake_adapter_forget(fake);
	return fake;

free:
	vfree(fake->sends);
	vfree(fake->recvs);
	ib_dealloc_device(&fake->ib);
	return NULL;
}

/**
 * fake_adapter_destroy - pull it out
 * @fake: adapter, nobody uses it
 *
 * Context: may sleep.
 */
void fake_adapter_destroy(struct fake_adapter *fake)
{
	ib_unregister_device(&fake->ib);
	vfree(fake->sends);
	vfree(fake->recvs);
	ib_dealloc_device(&fake->ib);
}
