// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registration and invalidation of a command's memory, and the pool of MRs.
 *
 * Normal operation: a connection starts with a few fast-registration MRs and
 * gets more from a work item as the load grows, up to one per task; an
 * idle session stays small. (The core's MR pool can't grow, which is why this
 * one is our own.) A command that moves data by RDMA takes one, maps its pages
 * into it and registers it, with a key that changes each time and with the
 * least rights that the direction needs, in a work request right in front of
 * its Send. The key dies with the response: by the target's Send with
 * Invalidate, or by a local invalidate. Only then is the command finished and
 * the MR put back.
 *
 * An MR has one owner: the pool, or the task that it is registered for.
 *
 * Recovery: when the connection fails, MRs are not reused, whatever their
 * state; the teardown takes them from their tasks and destroys them all.
 */
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "iser.h"
#include "trace.h"

/*
 * Registrations are not signalled: only bad news.
 * Context: softirq, or frwd_lock held for one that could not be posted
 */
static void iser_reg_done(struct ib_cq *cq, struct ib_wc *wc)
{
	if (wc->status != IB_WC_SUCCESS)
		iser_wc_error(wc->qp->qp_context, wc, "memory registration");
}

/* Context: softirq. The key is dead: nothing of the command's is exposed. */
static void iser_inv_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct iser_mr *imr = container_of(wc->wr_cqe, struct iser_mr, inv_cqe);
	struct iser_conn *conn = wc->qp->qp_context;
	struct iscsi_task *task = imr->task;
	struct iscsi_session *session;

	if (wc->status != IB_WC_SUCCESS) {
		/* The teardown takes the memory back once the QP is drained */
		iser_wc_error(conn, wc, "local invalidate");
		return;
	}

	iser_sq_release(conn, 1);
	session = task->conn->session;
	spin_lock(&session->back_lock);
	trace_iser_invalidated(conn, task->itt, imr->mr->rkey, false);
	iser_task(task)->rkey_live = false;
	__iscsi_put_task(task);
	spin_unlock(&session->back_lock);
}

static struct iser_mr *iser_mr_create(struct iser_conn *conn)
{
	struct iser_mr *imr;
	struct ib_mr *mr;

	imr = kzalloc(sizeof(*imr), GFP_KERNEL);
	if (!imr)
		return ERR_PTR(-ENOMEM);
	mr = ib_alloc_mr(conn->pd, conn->limits.mr_type,
			 conn->limits.mr_pages);
	if (IS_ERR(mr)) {
		kfree(imr);
		return ERR_CAST(mr);
	}
	imr->mr = mr;

	imr->reg_cqe.done = iser_reg_done;
	imr->reg.wr.opcode = IB_WR_REG_MR;
	imr->reg.wr.wr_cqe = &imr->reg_cqe;
	imr->reg.mr = imr->mr;

	imr->inv_cqe.done = iser_inv_done;
	imr->inv.opcode = IB_WR_LOCAL_INV;
	imr->inv.wr_cqe = &imr->inv_cqe;
	imr->inv.send_flags = IB_SEND_SIGNALED;
	return imr;
}

static void iser_mr_short(struct iser_conn *conn, int err)
{
	if (!conn->mr_short)
		iser_err(conn, "%s has no more than %u memory regions for this session: error %d\n",
			 dev_name(&conn->device->dev), conn->nr_mrs, err);
	WRITE_ONCE(conn->mr_short, true);
}

/**
 * iser_mr_grow - see to it that the connection has this many MRs
 * @conn: connection, up
 * @target: how many it is to have
 *
 * What it has is enough to go on with, if that is any: it is said once when
 * the device has no more, which makes commands wait for each other, and again
 * when it had some meanwhile.
 *
 * Context: may sleep.
 * Return: 0; -ENOTCONN if the connection goes down; or another negative errno,
 * with as many as could be had.
 */
int iser_mr_grow(struct iser_conn *conn, unsigned int target)
{
	while (conn->nr_mrs < target) {
		struct iser_mr *imr;

		/* A teardown waits for this */
		if (!iser_conn_is_up(conn))
			return -ENOTCONN;
		imr = iser_mr_create(conn);
		if (IS_ERR(imr)) {
			iser_mr_short(conn, PTR_ERR(imr));
			return PTR_ERR(imr);
		}
		list_add(&imr->all, &conn->mr_all);
		llist_add(&imr->free, &conn->mr_free);
		WRITE_ONCE(conn->nr_mrs, conn->nr_mrs + 1);
	}
	WRITE_ONCE(conn->mr_short, false);
	return 0;
}

/**
 * iser_mr_grow_work - twice as many MRs, up to one for each task
 * @work: that of the connection's mr_grow
 *
 * Memory reclaim must not wait for a disk that waits for an MR.
 *
 * Context: iser_wq, cancelled by the teardown before it destroys the MRs.
 */
void iser_mr_grow_work(struct work_struct *work)
{
	struct iser_conn *conn = container_of(work, struct iser_conn,
					      mr_grow.work);
	unsigned int noio = memalloc_noio_save();

	if (iser_conn_is_up(conn))
		iser_mr_grow(conn, min(2 * conn->nr_mrs, conn->nr_slots));
	memalloc_noio_restore(noio);
}

/**
 * iser_mr_destroy_all - free every MR of a connection
 * @conn: connection, drained; no task owns an MR of it
 *
 * Context: may sleep.
 */
void iser_mr_destroy_all(struct iser_conn *conn)
{
	struct iser_mr *imr, *next;

	list_for_each_entry_safe(imr, next, &conn->mr_all, all) {
		ib_dereg_mr(imr->mr);
		kfree(imr);
	}
	INIT_LIST_HEAD(&conn->mr_all);
	init_llist_head(&conn->mr_free);
	conn->nr_mrs = 0;
}

/**
 * iser_mr_get - take an MR from the pool
 * @conn: connection
 *
 * Context: frwd_lock held, so that there is one taker at a time (llist.h). Has
 * more made when none is left.
 * Return: NULL if there is none at the moment, which is not an error: busy.
 */
struct iser_mr *iser_mr_get(struct iser_conn *conn)
{
	struct llist_node *node = llist_del_first(&conn->mr_free);

	if (llist_empty(&conn->mr_free) &&
	    READ_ONCE(conn->nr_mrs) < conn->nr_slots)
		queue_delayed_work(iser_wq, &conn->mr_grow,
				   READ_ONCE(conn->mr_short) ? ISER_MR_PAUSE : 0);
	return node ? llist_entry(node, struct iser_mr, free) : NULL;
}

/*
 * Map all but the first @skip bytes of the first element. The element is
 * shortened for as long as it takes, as not every provider heeds the offset
 * that ib_map_mr_sg() has a parameter for: siw does not.
 */
static int iser_map_sg(struct ib_mr *mr, struct scatterlist *sg, int nents,
		       unsigned int skip)
{
	int mapped;

	sg_dma_address(sg) += skip;
	sg_dma_len(sg) -= skip;
	mapped = ib_map_mr_sg(mr, sg, nents, NULL, SZ_4K);
	sg_dma_address(sg) -= skip;
	sg_dma_len(sg) += skip;
	return mapped;
}

/*
 * The target is told no address that means anything to us, be it one of the
 * bus's or, with a soft adapter, of the kernel's: above the offset in a page,
 * by which adapters go, is the key.
 */
static u64 iser_mr_addr(const struct ib_mr *mr)
{
	/* Takes its distance from the first page for the offset */
	if (unlikely(mr->device->ops.driver_id == RDMA_DRIVER_OCRDMA))
		return mr->iova;
	return (u64)mr->rkey << 32 | (mr->iova & (mr->page_size - 1));
}

/**
 * iser_mr_map - describe a command's memory to an MR, ready to be registered
 * @imr: the MR
 * @sg: scatter list, mapped for DMA
 * @nents: entries in it that ib_dma_map_sg() returned
 * @skip: bytes at the start that the target is not to be given
 * @dir: DMA_FROM_DEVICE for READ, DMA_TO_DEVICE for WRITE
 *
 * The key changes with every registration, so that one which a target kept
 * is worthless until its eight bits have come round; and with it the address
 * at which the target finds the memory. Rights: RFC 7145, section 7.3.1.
 *
 * Context: any.
 * Return: 0, -ENOMEM (try later), or -EIO if the device can't
 * describe this memory, now or ever.
 */
int iser_mr_map(struct iser_mr *imr, struct scatterlist *sg, int nents,
		unsigned int skip, enum dma_data_direction dir)
{
	struct ib_mr *mr = imr->mr;
	int mapped;

	while (nents && skip >= sg_dma_len(sg)) {
		skip -= sg_dma_len(sg);
		sg = sg_next(sg);
		nents--;
	}
	mapped = iser_map_sg(mr, sg, nents, skip);
	if (mapped != nents)
		return mapped == -ENOMEM ? -ENOMEM : -EIO;

	ib_update_fast_reg_key(mr, ib_inc_rkey(mr->rkey));
	mr->iova = iser_mr_addr(mr);
	imr->reg.key = mr->rkey;
	imr->reg.access = dir == DMA_FROM_DEVICE ?
		IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE :
		IB_ACCESS_REMOTE_READ;
	imr->inv.ex.invalidate_rkey = mr->rkey;
	return 0;
}

/**
 * iser_mr_invalidate - kill a task's key, unless that is under way
 * @conn: connection
 * @task: task whose key the target was given and did not invalidate
 *
 * The send queue entry was reserved with the registration. The reference that
 * the live key holds is dropped when the invalidate has completed.
 *
 * Context: back_lock held. If it can't be posted the connection fails, and the
 * teardown takes the memory back.
 */
void iser_mr_invalidate(struct iser_conn *conn, struct iscsi_task *task)
{
	struct iser_task *it = iser_task(task);
	int err;

	if (!it->rkey_live || it->inv_posted || !iser_conn_is_up(conn))
		return;
	it->inv_posted = true;
	conn->stats.inv_local++;
	err = ib_post_send(conn->qp, &it->mr->inv, NULL);
	if (err && iser_conn_fail(conn, err))
		iser_err(conn, "can't post a local invalidate: error %d, connection dropped\n",
			 err);
}
