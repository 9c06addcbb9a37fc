// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory regions
 *
 * A key is the region's index in the upper 24 bits and the consumer's own
 * eight bits below.  A fast-registration MR has two halves.  ib_map_mr_sg()
 * fills the staged half in the consumer's context; executing the REG_MR work
 * request copies it to the live half and makes the key valid; LOCAL_INV or
 * the peer's Send with Invalidate makes it invalid again.  All that touches
 * the live half runs in the engine.
 *
 * What a real adapter may or may not notice is noticed here: REG_MR of an MR
 * that is still valid, LOCAL_INV of one that is not, a staged half that
 * changes while its REG_MR is queued, access to bytes or with rights that were
 * not granted.
 *
 * Recovery: sim_dereg_mr() works in any state of the MR, as drivers destroy
 * MRs whose state they do not know after a flush.
 */
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "simhca.h"

#define SIM_MR_INDEX_MIN	0x10
#define SIM_MR_INDEX_MAX	0xfffff0

/* Return how many of its pages were found mapped, or all if nothing changes. */
static u32 hold_pages(struct sim_mr *mr, bool hold)
{
	u32 i, mapped = 0;

	if (mr->held == hold)
		return mr->n;
	mr->held = hold;
	for (i = 0; i < mr->n; i++)
		mapped += sim_dma_hold(mr->ad, mr->addr[i], SIM_DMA_KEY,
				       hold ? 1 : -1);
	return mapped;
}

/**
 * sim_mr_drop - make an MR's key invalid
 * @mr: the MR, valid or not
 *
 * Engine context.
 */
void sim_mr_drop(struct sim_mr *mr)
{
	if (!mr->valid)
		return;
	mr->valid = false;
	hold_pages(mr, false);
	sim_gauge_dec(mr->ad, rkeys_live);
}

static bool pd_reachable(struct sim_adapter *ad, struct ib_pd *pd)
{
	struct sim_qp *qp;
	unsigned long i;

	xa_for_each(&ad->qps, i, qp)
		if (qp->ib.pd == pd && (qp->state == IB_QPS_RTS ||
					qp->state == IB_QPS_SQD))
			return true;
	return false;
}

/**
 * sim_mrs_release - a queue pair of a protection domain has failed
 * @ad: the adapter
 * @pd: the domain
 *
 * Where no other queue pair leads to the domain any more, its memory may be
 * unmapped although keys are valid still: nobody can use them.
 *
 * Engine context.
 */
void sim_mrs_release(struct sim_adapter *ad, struct ib_pd *pd)
{
	struct sim_mr *mr;
	unsigned long i;

	if (pd_reachable(ad, pd))
		return;
	xa_for_each(&ad->mrs, i, mr)
		if (mr->ib.pd == pd)
			hold_pages(mr, false);
}

/**
 * sim_mr_by_key - find the MR that a key belongs to
 * @ad: the adapter
 * @key: lkey or rkey
 *
 * Engine context.
 *
 * Return: the MR if the key is valid now, or NULL.
 */
struct sim_mr *sim_mr_by_key(struct sim_adapter *ad, u32 key)
{
	struct sim_mr *mr = xa_load(&ad->mrs, key >> SIM_KEY_SHIFT);

	if (!mr || !mr->valid || mr->key != (u8)key)
		return NULL;
	return mr;
}

/**
 * sim_mr_stolen - did a fault of ours make a key invalid?
 * @ad: the adapter
 * @key: the key
 *
 * Engine context.
 *
 * Return: true where the consumer cannot know that it is.
 */
bool sim_mr_stolen(struct sim_adapter *ad, u32 key)
{
	struct sim_mr *mr = xa_load(&ad->mrs, key >> SIM_KEY_SHIFT);

	return mr && mr->stolen && mr->key == (u8)key;
}

/**
 * sim_mr_any_live - find some valid MR, for faults
 * @ad: the adapter
 * @pd: a protection domain
 * @same_pd: look in it, or in all others
 * @not_key: a key that is not wanted
 *
 * Engine context.
 */
struct sim_mr *sim_mr_any_live(struct sim_adapter *ad, struct ib_pd *pd,
			       bool same_pd, u32 not_key)
{
	struct sim_mr *mr;
	unsigned long i;

	xa_for_each(&ad->mrs, i, mr) {
		bool in_pd = mr->ib.pd == pd;

		if (mr->valid && !mr->dma_mr && in_pd == same_pd &&
		    i != not_key >> SIM_KEY_SHIFT)
			return mr;
	}
	return NULL;
}

static void *at_gaps(struct sim_mr *mr, u64 off, u32 want, u32 *got, bool write)
{
	u32 i;

	for (i = 0; i < mr->n && off >= mr->len[i]; i++)
		off -= mr->len[i];
	*got = min_t(u64, want, mr->len[i] - off);
	return sim_dma_at(mr->ad, mr->addr[i] + off, got, write);
}

/**
 * sim_mr_at - the memory behind an address in an MR
 * @mr: a valid MR
 * @va: address in it; the caller has checked the range
 * @want: number of bytes wanted
 * @got: receives how many of them are contiguous
 * @write: the adapter is about to write
 *
 * Engine context.
 *
 * Return: the memory, or NULL where it is not mapped.
 */
void *sim_mr_at(struct sim_mr *mr, u64 va, u32 want, u32 *got, bool write)
{
	u64 mask, off;

	if (mr->dma_mr) {
		*got = want;
		return sim_dma_at(mr->ad, va, got, write);
	}
	if (mr->gaps)
		return at_gaps(mr, va - mr->iova, want, got, write);
	mask = BIT_ULL(mr->page_shift) - 1;
	off = va - (mr->iova & ~mask);
	*got = min_t(u64, want, mask + 1 - (off & mask));
	return sim_dma_at(mr->ad, mr->addr[off >> mr->page_shift] +
			  (off & mask), got, write);
}

/**
 * sim_mr_register - execute REG_MR
 * @qp: the queue pair that the work request was posted to
 * @wqe: the work request
 *
 * Engine context.
 *
 * Return: the status of the completion.
 */
enum ib_wc_status sim_mr_register(struct sim_qp *qp,
				  const struct sim_wqe *wqe)
{
	struct sim_adapter *ad = qp->ad;
	struct sim_mr *mr = xa_load(&ad->mrs, wqe->key >> SIM_KEY_SHIFT);

	/* the MR may have been destroyed since it was posted */
	if (!mr || mr != wqe->mr) {
		sim_violation(ad, SIM_C_v_post_wr,
			      "REG_MR: key %#x is not of this MR", wqe->key);
		return IB_WC_LOC_QP_OP_ERR;
	}
	if (mr->ib.pd != qp->ib.pd) {
		sim_violation(ad, SIM_C_v_mr_pd,
			      "REG_MR of key %#x: other PD than the QP's",
			      wqe->key);
		return IB_WC_LOC_PROT_ERR;
	}
	if (mr->valid) {
		sim_violation(ad, SIM_C_v_mr_reg_valid,
			      "REG_MR of key %#x: the MR is still valid",
			      wqe->key);
		return IB_WC_MW_BIND_ERR;
	}
	if (mr->staged != wqe->staged)
		sim_violation(ad, SIM_C_v_mr_restaged,
			      "ib_map_mr_sg while REG_MR of key %#x was queued",
			      wqe->key);
	if ((wqe->access & (IB_ACCESS_REMOTE_WRITE |
			    IB_ACCESS_REMOTE_ATOMIC)) &&
	    !(wqe->access & IB_ACCESS_LOCAL_WRITE)) {
		sim_violation(ad, SIM_C_v_mr_rights,
			      "REG_MR of key %#x: remote write without local write",
			      wqe->key);
		return IB_WC_LOC_PROT_ERR;
	}
	mr->key = (u8)wqe->key;
	mr->access = wqe->access;
	mr->iova = mr->ib.iova;
	mr->length = mr->ib.length;
	mr->page_shift = ilog2(mr->ib.page_size);
	mr->n = mr->stage_n;
	memcpy(mr->addr, mr->stage_addr, mr->n * sizeof(*mr->addr));
	if (mr->gaps)
		memcpy(mr->len, mr->stage_len, mr->n * sizeof(*mr->len));
	mr->valid = true;
	mr->stolen = false;
	if (hold_pages(mr, true) < mr->n)
		sim_violation(ad, SIM_C_v_mr_unmapped,
			      "REG_MR of key %#x: the memory is not mapped",
			      wqe->key);
	sim_count(ad, mr_registered);
	sim_gauge_inc(ad, rkeys_live);
	return IB_WC_SUCCESS;
}

/**
 * sim_mr_invalidate - make a key invalid on behalf of a work request
 * @qp: the queue pair
 * @key: the key
 *
 * Engine context.
 *
 * Return: false where the key is not a valid one of the QP's domain.
 */
bool sim_mr_invalidate(struct sim_qp *qp, u32 key)
{
	struct sim_mr *mr = sim_mr_by_key(qp->ad, key);

	if (!mr || mr->dma_mr || mr->ib.pd != qp->ib.pd)
		return false;
	sim_mr_drop(mr);
	return true;
}

static int stage_page(struct ib_mr *ib, u64 addr)
{
	struct sim_mr *mr = to_sim_mr(ib);

	if (mr->stage_n == mr->max)
		return -ENOMEM;
	mr->stage_addr[mr->stage_n++] = addr;
	return 0;
}

static int stage_gaps(struct sim_mr *mr, struct scatterlist *sgl, int nents,
		      unsigned int *offset)
{
	unsigned int skip = offset ? *offset : 0;
	struct scatterlist *sg;
	int i;

	mr->ib.length = 0;
	for_each_sg(sgl, sg, nents, i) {
		if (mr->stage_n == mr->max)
			break;
		mr->stage_addr[mr->stage_n] = sg_dma_address(sg) + skip;
		mr->stage_len[mr->stage_n] = sg_dma_len(sg) - skip;
		mr->ib.length += sg_dma_len(sg) - skip;
		mr->stage_n++;
		skip = 0;
	}
	mr->ib.iova = mr->stage_n ? mr->stage_addr[0] : 0;
	if (offset)
		*offset = 0;
	return i;
}

/**
 * sim_map_mr_sg - ib_map_mr_sg()
 * @ib: the MR
 * @sg: mapped scatterlist
 * @nents: its length
 * @offset: where to begin in the first entry
 *
 * Any context.
 *
 * Return: the number of entries that fit, or a negative error number.
 */
int sim_map_mr_sg(struct ib_mr *ib, struct scatterlist *sg, int nents,
		  unsigned int *offset)
{
	struct sim_mr *mr = to_sim_mr(ib);
	int ret = sim_verb_fault(mr->ad, SIM_AT(map_mr));

	if (ret)
		return ret;
	sim_count(mr->ad, mr_map);
	mr->staged++;
	mr->stage_n = 0;
	if (mr->gaps)
		return stage_gaps(mr, sg, nents, offset);
	return ib_sg_to_pages(ib, sg, nents, offset, stage_page);
}

static int mr_publish(struct sim_mr *mr)
{
	int ret;

	ret = xa_alloc_cyclic(&mr->ad->mrs, &mr->index, mr,
			      XA_LIMIT(SIM_MR_INDEX_MIN, SIM_MR_INDEX_MAX),
			      &mr->ad->next_mr, GFP_KERNEL);
	if (ret < 0)
		return ret;
	mr->ib.lkey = mr->index << SIM_KEY_SHIFT;
	mr->ib.rkey = mr->ib.lkey;
	sim_count(mr->ad, mr_alloc);
	atomic_set(&mr->ad->gauges[SIM_G_mrs_peak],
		   max(sim_gauge_inc(mr->ad, mrs),
		       sim_gauge(mr->ad, mrs_peak)));
	return 0;
}

static void mr_free(struct sim_mr *mr)
{
	kvfree(mr->addr);
	kvfree(mr->len);
	kfree(mr);
}

/**
 * sim_alloc_mr - ib_alloc_mr()
 * @pd: protection domain
 * @type: plain or with gaps
 * @max_sg: number of pages or entries
 *
 * Return: the MR or an error pointer.
 */
struct ib_mr *sim_alloc_mr(struct ib_pd *pd, enum ib_mr_type type, u32 max_sg)
{
	struct sim_adapter *ad = sim_ad(pd->device);
	int ret = sim_verb_fault(ad, SIM_AT(alloc_mr));
	struct sim_mr *mr;

	if (ret)
		return ERR_PTR(ret);
	if (type != IB_MR_TYPE_MEM_REG &&
	    !(type == IB_MR_TYPE_SG_GAPS &&
	      pd->device->attrs.kernel_cap_flags & IBK_SG_GAPS_REG))
		return ERR_PTR(-EOPNOTSUPP);
	if (!max_sg ||
	    max_sg > pd->device->attrs.max_fast_reg_page_list_len)
		return ERR_PTR(-EINVAL);
	if (sim_gauge(ad, mrs) >= pd->device->attrs.max_mr)
		return ERR_PTR(-ENOMEM);

	mr = kzalloc(sizeof(*mr), GFP_KERNEL);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	mr->ad = ad;
	mr->max = max_sg;
	mr->gaps = type == IB_MR_TYPE_SG_GAPS;
	/* each array holds the live half first, then the staged half */
	mr->addr = kvcalloc(2 * max_sg, sizeof(*mr->addr), GFP_KERNEL);
	mr->len = mr->gaps ?
		kvcalloc(2 * max_sg, sizeof(*mr->len), GFP_KERNEL) : NULL;
	ret = -ENOMEM;
	if (!mr->addr || (mr->gaps && !mr->len))
		goto err;
	mr->stage_addr = mr->addr + max_sg;
	mr->stage_len = mr->gaps ? mr->len + max_sg : NULL;
	mr->ib.pd = pd;
	mr->ib.device = pd->device;
	ret = mr_publish(mr);
	if (ret)
		goto err;
	return &mr->ib;
err:
	mr_free(mr);
	return ERR_PTR(ret);
}

/**
 * sim_alloc_mr_integrity - ib_alloc_mr_integrity()
 * @pd: unused
 * @max_data_sg: unused
 * @max_meta_sg: unused
 *
 * With the knob "integrity" the device says that it has such MRs, to see what
 * a consumer makes of that which need not use them; who does is refused.
 *
 * Return: an error pointer.
 */
struct ib_mr *sim_alloc_mr_integrity(struct ib_pd *pd, u32 max_data_sg,
				     u32 max_meta_sg)
{
	return ERR_PTR(-EOPNOTSUPP);
}

/**
 * sim_map_mr_sg_pi - ib_map_mr_sg_pi(): there are no MRs to call it with
 * @ib: unused
 * @data: unused
 * @data_nents: unused
 * @data_offset: unused
 * @meta: unused
 * @meta_nents: unused
 * @meta_offset: unused
 *
 * Return: an error.
 */
int sim_map_mr_sg_pi(struct ib_mr *ib, struct scatterlist *data, int data_nents,
		     unsigned int *data_offset, struct scatterlist *meta,
		     int meta_nents, unsigned int *meta_offset)
{
	return -EOPNOTSUPP;
}

/**
 * sim_get_dma_mr - an MR over all of memory
 * @pd: protection domain
 * @access: rights
 *
 * Return: the MR or an error pointer.
 */
struct ib_mr *sim_get_dma_mr(struct ib_pd *pd, int access)
{
	struct sim_mr *mr;
	int ret;

	mr = kzalloc(sizeof(*mr), GFP_KERNEL);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	mr->ad = sim_ad(pd->device);
	mr->dma_mr = true;
	mr->access = access;
	mr->length = ~0ULL;
	mr->valid = true;
	mr->ib.pd = pd;
	mr->ib.device = pd->device;
	ret = mr_publish(mr);
	if (ret) {
		mr_free(mr);
		return ERR_PTR(ret);
	}
	if (access & (IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_WRITE))
		sim_violation(mr->ad, SIM_C_v_mr_excess_range,
			      "key %#x opens all of memory to the peer",
			      mr->ib.rkey);
	return &mr->ib;
}

/*
 * There is no user space on this adapter, but the core wants the call to exist
 * before it lets kernel consumers in.
 */
struct ib_mr *sim_reg_user_mr(struct ib_pd *pd, u64 start, u64 length,
			      u64 virt, int access, SIM_DMAH_ARG
			      struct ib_udata *udata)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static void forget_mr(void *arg)
{
	struct sim_mr *mr = arg;

	if (!mr->dma_mr)
		sim_mr_drop(mr);
	xa_erase(&mr->ad->mrs, mr->index);
}

/**
 * sim_dereg_mr - ib_dereg_mr()
 * @ib: the MR, valid or not
 * @udata: unused
 *
 * Return: 0.
 */
int sim_dereg_mr(struct ib_mr *ib, struct ib_udata *udata)
{
	struct sim_mr *mr = to_sim_mr(ib);
	struct sim_adapter *ad = mr->ad;

	sim_engine_call(ad, forget_mr, mr);
	mr_free(mr);
	sim_count(ad, mr_free);
	sim_gauge_dec(ad, mrs);
	return 0;
}
