// SPDX-License-Identifier: GPL-2.0-only
/*
 * Protection domain, completion queue, queue pair; rings; doorbells.
 *
 * Normal operation: the verbs resources are made when the address has been
 * resolved and the device is known. When an iSCSI connection is bound, the
 * rings are made: for every task of the session a slot with a prepared Send,
 * buffers for the headers of Sends, and a receive for everything that the
 * target may have outstanding. All that the adapter reads and writes is
 * coherent memory: there is nothing to be mapped or synchronised for a PDU, nor
 * copied where the adapter can't reach the memory of a guest (SEV, TDX). Sends
 * are chained and posted at the last command of a batch; receives are posted in
 * batches.
 *
 * A Send whose gather list holds nothing but our own buffers is not signalled:
 * the response proves that it arrived. One in signal_every work requests is,
 * to learn how far the adapter has come with the send queue, and which headers
 * it will not read again. A Send of user pages always is. What is signalled
 * holds a reference to the task until it completes, so that pages are not
 * released while a retransmission could still read them.
 *
 * Recovery: whatever completes in error, or can't be posted, ends the
 * connection (iser_conn_fail()). Nothing is posted once the connection is no
 * longer up, except what was chained, by the teardown, and by a completion
 * handler that had already looked; the teardown drains twice for its sake.
 */
#include <linux/dma-mapping.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <rdma/ib_cm.h>
#include "iser.h"
#include "trace.h"

/* Receives beyond those for commands, and the drain's own */
#define ISER_RX_EXTRA	(ISER_RX_UNEXPECTED + ISER_RX_BATCH + ISER_LOGIN_RX + 1)

/*
 * How many commands @entries are enough for, of which each takes @each for good
 * and, up to %ISER_SQ_AHEAD of them, another one.
 */
static unsigned int iser_cmds_of(unsigned int entries, unsigned int each)
{
	if (entries < (each + 1) * ISER_SQ_AHEAD)
		return entries / (each + 1);
	return (entries - ISER_SQ_AHEAD) / each;
}

static void iser_limit_cmds(struct iser_limits *lim, unsigned int cmds)
{
	lim->cmds = cmds;
	lim->sq = cmds + min(cmds, ISER_SQ_AHEAD) + ISER_SQ_SPARE;
	lim->rq = cmds + ISER_RX_EXTRA;
}

/* The largest command that can be mapped for DMA */
static unsigned int iser_dma_sectors(const struct ib_device *device)
{
	if (!device->dma_device)
		return UINT_MAX;
	return min_t(size_t, dma_max_mapping_size(device->dma_device) >>
			     SECTOR_SHIFT, UINT_MAX);
}

/**
 * iser_limits_derive - what can this device do for a connection?
 * @device: adapter
 * @lim: filled in
 *
 * Context: any. Pure but for the module parameter max_sectors and what the DMA
 * layer says.
 * Return: 0, or -EOPNOTSUPP for a device that can't carry iSER at all.
 */
int iser_limits_derive(const struct ib_device *device, struct iser_limits *lim)
{
	const struct ib_device_attr *attr = &device->attrs;
	unsigned int wr = attr->max_qp_wr, cqe = attr->max_cqe;
	unsigned int cmds = ISER_MAX_CMDS;

	memset(lim, 0, sizeof(*lim));
	if (!(attr->device_cap_flags & IB_DEVICE_MEM_MGT_EXTENSIONS))
		return -EOPNOTSUPP;
	if (wr < 2 * ISER_MIN_CMDS + ISER_SQ_SPARE + ISER_RX_EXTRA)
		return -EOPNOTSUPP;
	if (cqe < 3 * ISER_MIN_CMDS + ISER_SQ_SPARE + ISER_RX_EXTRA)
		return -EOPNOTSUPP;
	if (attr->max_fast_reg_page_list_len < 2)
		return -EOPNOTSUPP;
	if (attr->max_send_sge < 1)
		return -EOPNOTSUPP;

	cmds = min(cmds, iser_cmds_of(wr - ISER_SQ_SPARE, 1));
	cmds = min(cmds, wr - ISER_RX_EXTRA);
	/* The core's CQ pool never ends looking for more than there can be */
	cmds = min(cmds, iser_cmds_of(cqe - ISER_SQ_SPARE - ISER_RX_EXTRA, 2));
	lim->cmds_max = cmds;
	iser_limit_cmds(lim, cmds);

	lim->data_sge = min_t(unsigned int, ISER_DATA_SGE,
			      attr->max_send_sge - 1);

	if (attr->kernel_cap_flags & IBK_SG_GAPS_REG) {
		lim->mr_type = IB_MR_TYPE_SG_GAPS;
	} else {
		lim->mr_type = IB_MR_TYPE_MEM_REG;
		lim->virt_boundary = SZ_4K - 1;
	}
	/* One page more than the data fills: it may begin within a page */
	lim->mr_pages_max = attr->max_fast_reg_page_list_len;
	lim->mr_pages = min(iser_max_sectors / 8 + 1, lim->mr_pages_max);
	lim->sectors_max = iser_dma_sectors(device);
	lim->sectors = min3(iser_max_sectors, (lim->mr_pages - 1) * 8,
			    lim->sectors_max);
	/* The block layer wants no less, which is more than 4 KiB on some */
	return lim->sectors < PAGE_SECTORS ? -EOPNOTSUPP : 0;
}

static void iser_qp_event(struct ib_event *event, void *context)
{
	struct iser_conn *conn = context;

	switch (event->event) {
	case IB_EVENT_QP_FATAL:
	case IB_EVENT_QP_REQ_ERR:
	case IB_EVENT_QP_ACCESS_ERR:
	case IB_EVENT_DEVICE_FATAL:
		if (iser_conn_blame(conn))
			iser_err(conn, "%s on %s, connection dropped\n",
				 ib_event_msg(event->event),
				 dev_name(&conn->device->dev));
		break;
	default:
		break;
	}
}

static int iser_create_qp(struct iser_conn *conn)
{
	struct iser_limits *lim = &conn->limits;
	struct ib_qp_init_attr attr = {
		.event_handler	= iser_qp_event,
		.qp_context	= conn,
		.send_cq	= conn->cq,
		.recv_cq	= conn->cq,
		.cap		= {
			.max_send_wr	= lim->sq,
			.max_recv_wr	= lim->rq,
			.max_send_sge	= 1 + lim->data_sge,
			.max_recv_sge	= 1,
		},
		.sq_sig_type	= IB_SIGNAL_REQ_WR,
		.qp_type	= IB_QPT_RC,
		.port_num	= conn->cm_id->port_num,
	};

	return rdma_create_qp(conn->cm_id, conn->pd, &attr);
}

/* An adapter may promise more work requests than it has memory for */
static int iser_create_queues(struct iser_conn *conn)
{
	struct iser_limits *lim = &conn->limits;
	int err;

	for (;;) {
		conn->cq_size = lim->sq + lim->rq;
		conn->cq = ib_cq_pool_get(conn->device, conn->cq_size, -1,
					  IB_POLL_SOFTIRQ);
		if (IS_ERR(conn->cq)) {
			err = PTR_ERR(conn->cq);
			conn->cq = NULL;
		} else {
			err = iser_create_qp(conn);
			if (!err)
				return 0;
			ib_cq_pool_put(conn->cq, conn->cq_size);
			conn->cq = NULL;
		}
		if (lim->cmds / 2 < ISER_MIN_CMDS)
			return err;
		iser_limit_cmds(lim, lim->cmds / 2);
	}
}

/**
 * iser_verbs_create - make PD, CQ and QP on the device just resolved
 * @conn: connection; its mutex is held
 *
 * Context: may sleep.
 * Return: 0 or a negative errno, having said why and left nothing behind.
 */
int iser_verbs_create(struct iser_conn *conn)
{
	struct ib_device *device = conn->cm_id->device;
	int err;

	conn->device = device;
	err = iser_limits_derive(device, &conn->limits);
	if (err) {
		iser_err(conn, "%s can't carry iSER: it lacks fast registration or has too small queues\n",
			 dev_name(&device->dev));
		return err;
	}

	conn->pd = ib_alloc_pd(device, 0);
	if (IS_ERR(conn->pd)) {
		err = PTR_ERR(conn->pd);
		conn->pd = NULL;
		goto fail;
	}

	err = iser_create_queues(conn);
	if (err)
		goto put_pd;

	conn->qp = conn->cm_id->qp;
	conn->sq_size = conn->limits.sq - ISER_SQ_SPARE;
	atomic_set(&conn->sq_avail, conn->sq_size);
	/* Far from full, or nothing would ever make it emptier */
	conn->signal_every = min_t(unsigned int, conn->sq_size / 8,
				   ISER_SIGNAL_EVERY);
	return 0;

put_pd:
	ib_dealloc_pd(conn->pd);
	conn->pd = NULL;
fail:
	iser_err(conn, "%s has no room for another connection: error %d\n",
		 dev_name(&device->dev), err);
	return err;
}

/**
 * iser_qp_destroy - destroy the queue pair: nothing moves data any more
 * @conn: connection; its mutex is held
 *
 * Context: may sleep.
 */
void iser_qp_destroy(struct iser_conn *conn)
{
	if (conn->qp)
		rdma_destroy_qp(conn->cm_id);
	conn->qp = NULL;
}

/**
 * iser_verbs_destroy - undo iser_verbs_create()
 * @conn: connection; its mutex is held and its queue pair drained
 *
 * Context: may sleep.
 */
void iser_verbs_destroy(struct iser_conn *conn)
{
	iser_qp_destroy(conn);
	if (conn->cq) {
		ib_cq_pool_put(conn->cq, conn->cq_size);
		conn->cq = NULL;
	}
	if (conn->pd) {
		ib_dealloc_pd(conn->pd);
		conn->pd = NULL;
	}
}

/* A device that is software has no DMA; its addresses are those of the CPU */
static bool iser_chunk_alloc(struct ib_device *device,
			     struct iser_chunk *chunk, size_t len)
{
	if (ib_uses_virt_dma(device)) {
		chunk->va = alloc_pages_exact(len, GFP_KERNEL | __GFP_ZERO);
		chunk->dma = (uintptr_t)chunk->va;
	} else {
		chunk->va = dma_alloc_coherent(device->dma_device, len,
					       &chunk->dma, GFP_KERNEL);
	}
	return chunk->va;
}

static void iser_chunk_free(struct ib_device *device, struct iser_chunk *chunk,
			    size_t len)
{
	if (ib_uses_virt_dma(device))
		free_pages_exact(chunk->va, len);
	else
		dma_free_coherent(device->dma_device, len, chunk->va,
				  chunk->dma);
}

static void iser_ring_destroy(struct ib_device *device, struct iser_ring *ring)
{
	unsigned int i;

	for (i = 0; i < ring->nr_chunks; i++)
		iser_chunk_free(device, &ring->chunks[i], ring->chunk_len);
	kvfree(ring->chunks);
	memset(ring, 0, sizeof(*ring));
}

static int iser_ring_create(struct ib_device *device, struct iser_ring *ring,
			    unsigned int count, unsigned int size)
{
	unsigned int n;

	ring->size = size;
	ring->chunk_len = PAGE_ALIGN(size);
	ring->per_chunk = ring->chunk_len / size;
	n = DIV_ROUND_UP(count, ring->per_chunk);
	ring->chunks = kvcalloc(n, sizeof(*ring->chunks), GFP_KERNEL);
	if (!ring->chunks)
		return -ENOMEM;

	while (ring->nr_chunks < n) {
		if (!iser_chunk_alloc(device, &ring->chunks[ring->nr_chunks],
				      ring->chunk_len)) {
			iser_ring_destroy(device, ring);
			return -ENOMEM;
		}
		ring->nr_chunks++;
	}
	return 0;
}

/* Where buffer @i is */
static struct iser_chunk iser_ring_at(const struct iser_ring *ring,
				      unsigned int i)
{
	struct iser_chunk at = ring->chunks[i / ring->per_chunk];

	at.va += i % ring->per_chunk * ring->size;
	at.dma += i % ring->per_chunk * ring->size;
	return at;
}

/**
 * iser_wc_error - a work request completed in error: drop the connection
 * @conn: connection
 * @wc: completion
 * @what: the work request, for the message
 *
 * Context: any. Says nothing when the connection is going down for a reason
 * already, unless that is only that it was hung up or flushed: the flushed rest
 * of the queues is no news.
 */
void iser_wc_error(struct iser_conn *conn, const struct ib_wc *wc,
		   const char *what)
{
	trace_iser_wc_error(conn, wc->status, wc->vendor_err);
	if (wc->status == IB_WC_WR_FLUSH_ERR) {
		WRITE_ONCE(conn->lost, true);
		iser_conn_flushed(conn);
	} else if (iser_conn_blame(conn)) {
		iser_err(conn, "%s failed: %s (status %d, vendor error %#x), connection dropped\n",
			 what, ib_wc_status_msg(wc->status), wc->status,
			 wc->vendor_err);
	}
}

/*
 * A Send that was not signalled: there is only bad news.
 * Context: softirq, or frwd_lock held for one that could not be posted
 */
static void iser_plain_done(struct ib_cq *cq, struct ib_wc *wc)
{
	if (wc->status != IB_WC_SUCCESS)
		iser_wc_error(wc->qp->qp_context, wc, "Send");
}

/* Context: softirq, or frwd_lock held for one that could not be posted */
static void iser_signalled_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct iser_slot *slot = container_of(wc->wr_cqe, struct iser_slot,
					      signal_cqe);
	struct iser_conn *conn = wc->qp->qp_context;
	struct iscsi_task *task = slot->task;

	if (wc->status == IB_WC_SUCCESS) {
		WRITE_ONCE(conn->tx_acked, slot->acks);
		iser_sq_release(conn, slot->retires);
	} else {
		iser_wc_error(conn, wc, "Send");
	}
	slot->task = NULL;
	iscsi_put_task(task);
}

/* Context: softirq, or frwd_lock held for one that could not be posted */
static void iser_dataout_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct iser_dataout *out = container_of(wc->wr_cqe,
						struct iser_dataout, cqe);
	struct iser_conn *conn = wc->qp->qp_context;
	struct iscsi_task *task = out->task;

	if (wc->status == IB_WC_SUCCESS)
		iser_sq_release(conn, out->retires);
	else
		iser_wc_error(conn, wc, "Data-Out");

	out->task = NULL;
	spin_lock_bh(&conn->dataout_lock);
	list_add(&out->node, &conn->dataout_free);
	conn->nr_dataout_free++;
	spin_unlock_bh(&conn->dataout_lock);
	iscsi_put_task(task);
}

/* Context: softirq, or frwd_lock held for one that could not be posted */
static void iser_login_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct iser_conn *conn = wc->qp->qp_context;

	if (wc->status == IB_WC_SUCCESS)
		iser_sq_release(conn, 1);
	else
		iser_wc_error(conn, wc, "login request");
}

static void iser_init_send(struct iser_conn *conn, struct ib_send_wr *send,
			   struct ib_sge *sge)
{
	unsigned int i;

	send->opcode = IB_WR_SEND;
	send->sg_list = sge;
	for (i = 0; i <= ISER_DATA_SGE; i++)
		sge[i].lkey = conn->pd->local_dma_lkey;
}

static int iser_slots_create(struct iser_conn *conn, unsigned int n)
{
	unsigned int i;
	int err;

	/* When all are in use, a signalled Send is among them that ends that */
	static_assert(ISER_SQ_AHEAD >= ISER_SIGNAL_EVERY);
	conn->nr_tx = n + ISER_SQ_AHEAD;
	err = iser_ring_create(conn->device, &conn->tx_ring, conn->nr_tx,
			       ISER_TX_LEN);
	if (err)
		return err;
	conn->slots = kvcalloc(n, sizeof(*conn->slots), GFP_KERNEL);
	if (!conn->slots)
		return -ENOMEM;

	conn->plain_cqe.done = iser_plain_done;
	get_random_bytes(&conn->gen_key, sizeof(conn->gen_key));
	conn->nr_slots = n;
	for (i = 0; i < n; i++) {
		struct iser_slot *slot = &conn->slots[i];

		slot->signal_cqe.done = iser_signalled_done;
		iser_init_send(conn, &slot->send, slot->sge);
	}
	return 0;
}

static void iser_init_rx(struct iser_conn *conn, struct iser_rx *rx,
			 struct iser_ring *ring, unsigned int i)
{
	struct iser_chunk at = iser_ring_at(ring, i);

	rx->cqe.done = iser_recv_done;
	rx->buf = at.va;
	rx->sge.addr = at.dma;
	rx->sge.length = ring->size;
	rx->sge.lkey = conn->pd->local_dma_lkey;
}

static void iser_init_login_send(struct iser_conn *conn)
{
	conn->login_cqe.done = iser_login_done;
	conn->login_sge.addr = conn->login_tx.chunks[0].dma;
	conn->login_sge.lkey = conn->pd->local_dma_lkey;
	conn->login_send.wr_cqe = &conn->login_cqe;
	conn->login_send.sg_list = &conn->login_sge;
	conn->login_send.num_sge = 1;
	conn->login_send.opcode = IB_WR_SEND;
	conn->login_send.send_flags = IB_SEND_SIGNALED;
}

static int iser_login_create(struct iser_conn *conn)
{
	unsigned int i;
	int err;

	err = iser_ring_create(conn->device, &conn->login_tx, 1,
			       ISER_LOGIN_LEN);
	if (err)
		return err;
	iser_init_login_send(conn);
	err = iser_ring_create(conn->device, &conn->login_ring, ISER_LOGIN_RX,
			       ISER_LOGIN_LEN);
	if (err)
		return err;
	for (i = 0; i < ISER_LOGIN_RX; i++) {
		iser_init_rx(conn, &conn->login_rx[i], &conn->login_ring, i);
		conn->login_rx[i].login = true;
	}
	return 0;
}

static int iser_rx_create(struct iser_conn *conn, unsigned int n)
{
	unsigned int i;
	int err;

	err = iser_ring_create(conn->device, &conn->rx_ring, n, ISER_RX_LEN);
	if (err)
		return err;
	conn->rx = kvcalloc(n, sizeof(*conn->rx), GFP_KERNEL);
	if (!conn->rx)
		return -ENOMEM;
	conn->nr_rx = n;
	for (i = 0; i < n; i++)
		iser_init_rx(conn, &conn->rx[i], &conn->rx_ring, i);
	return 0;
}

/**
 * iser_rings_create - make what the tasks of a session need
 * @conn: connection; its mutex is held
 * @tasks: number of tasks of the session, at most conn->limits.cmds
 *
 * Context: may sleep. On error the caller fails the connection, and the
 * teardown frees what had been made.
 * Return: 0 or -ENOMEM.
 */
int iser_rings_create(struct iser_conn *conn, unsigned int tasks)
{
	int err;

	err = iser_slots_create(conn, tasks);
	if (!err)
		err = iser_login_create(conn);
	if (!err)
		err = iser_rx_create(conn, tasks + ISER_RX_UNEXPECTED +
				     ISER_RX_BATCH);
	return err;
}

/**
 * iser_rings_destroy - undo iser_rings_create() and iser_dataout_create()
 * @conn: connection; its mutex is held and its queue pair drained
 *
 * Context: may sleep.
 */
void iser_rings_destroy(struct iser_conn *conn)
{
	iser_ring_destroy(conn->device, &conn->tx_ring);
	iser_ring_destroy(conn->device, &conn->login_tx);
	iser_ring_destroy(conn->device, &conn->login_ring);
	iser_ring_destroy(conn->device, &conn->rx_ring);
	iser_ring_destroy(conn->device, &conn->dataout_ring);
	kvfree(conn->slots);
	conn->slots = NULL;
	kvfree(conn->rx);
	conn->rx = NULL;
	kvfree(conn->dataout);
	conn->dataout = NULL;
}

/**
 * iser_dataout_create - make the PDUs for unsolicited data
 * @conn: connection, before its full-feature phase; its mutex is held
 *
 * Only for sessions with InitialR2T=No. Context: may sleep. On error the
 * teardown frees what had been made.
 * Return: 0 or -ENOMEM.
 */
int iser_dataout_create(struct iser_conn *conn)
{
	unsigned int i;
	int err;

	if (conn->dataout)
		return 0;
	err = iser_ring_create(conn->device, &conn->dataout_ring,
			       ISER_DATAOUT_MAX, ISER_TX_LEN);
	if (err)
		return err;
	conn->dataout = kvcalloc(ISER_DATAOUT_MAX, sizeof(*conn->dataout),
				 GFP_KERNEL);
	if (!conn->dataout) {
		iser_ring_destroy(conn->device, &conn->dataout_ring);
		return -ENOMEM;
	}

	spin_lock_bh(&conn->dataout_lock);
	for (i = 0; i < ISER_DATAOUT_MAX; i++) {
		struct iser_chunk at = iser_ring_at(&conn->dataout_ring, i);
		struct iser_dataout *out = &conn->dataout[i];

		out->ctrl = at.va;
		out->cqe.done = iser_dataout_done;
		iser_init_send(conn, &out->send, out->sge);
		out->sge[0].addr = at.dma;
		out->send.wr_cqe = &out->cqe;
		out->send.send_flags = IB_SEND_SIGNALED;
		list_add_tail(&out->node, &conn->dataout_free);
	}
	conn->nr_dataout_free = ISER_DATAOUT_MAX;
	spin_unlock_bh(&conn->dataout_lock);
	return 0;
}

/* Post the receives of a list, ISER_RX_BATCH to a doorbell */
static int iser_post_rx_list(struct iser_conn *conn, struct iser_rx *rx)
{
	while (rx) {
		struct ib_recv_wr wr[ISER_RX_BATCH];
		unsigned int n;
		int err;

		for (n = 0; rx && n < ISER_RX_BATCH; n++, rx = rx->next) {
			wr[n].wr_cqe = &rx->cqe;
			wr[n].sg_list = &rx->sge;
			wr[n].num_sge = 1;
			wr[n].next = &wr[n + 1];
		}
		wr[n - 1].next = NULL;
		err = ib_post_recv(conn->qp, wr, NULL);
		if (err) {
			if (iser_conn_fail(conn, err))
				iser_err(conn, "can't post receives: error %d, connection dropped\n",
					 err);
			return err;
		}
	}
	return 0;
}

static int iser_post_rx_array(struct iser_conn *conn, struct iser_rx *rx,
			      unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		rx[i].next = i + 1 < n ? &rx[i + 1] : NULL;
	return iser_post_rx_list(conn, rx);
}

/**
 * iser_post_login_rx - post the large receives, before the first login request
 * @conn: connection, just bound
 *
 * Context: any.
 * Return: 0 or a negative errno, the connection then fails.
 */
int iser_post_login_rx(struct iser_conn *conn)
{
	conn->nr_login_rx = ISER_LOGIN_RX;
	return iser_post_rx_array(conn, conn->login_rx, ISER_LOGIN_RX);
}

/**
 * iser_post_all_rx - post the receives of full-feature phase
 * @conn: connection
 *
 * Before the login request goes out that asks for full-feature phase: a fast
 * target may send its first PDU right behind the login response. Discovery
 * sessions go on with the large ones, for their text responses.
 *
 * Context: any, frwd_lock held.
 * Return: 0 or a negative errno.
 */
int iser_post_all_rx(struct iser_conn *conn)
{
	if (conn->rx_posted || conn->discovery)
		return 0;
	WRITE_ONCE(conn->rx_posted, true);
	return iser_post_rx_array(conn, conn->rx, conn->nr_rx);
}

/**
 * iser_login_over_work - free the large receives
 * @work: the connection's login_over
 *
 * They are a good part of the memory of an idle session, and of no more use
 * to it.
 *
 * Context: iser_wq, cancelled by the teardown.
 */
void iser_login_over_work(struct work_struct *work)
{
	struct iser_conn *conn = container_of(work, struct iser_conn,
					      login_over);

	iser_ring_destroy(conn->device, &conn->login_ring);
}

/* Large receives are posted again at once until full-feature phase */
static void iser_login_rx_done(struct iser_conn *conn, struct iser_rx *rx)
{
	if (!READ_ONCE(conn->rx_posted)) {
		rx->next = NULL;
		iser_post_rx_list(conn, rx);
	} else if (!--conn->nr_login_rx) {
		queue_work(iser_wq, &conn->login_over);
	}
}

/**
 * iser_rx_give_back - the PDU in this receive has been dealt with
 * @conn: connection
 * @rx: receive
 *
 * Context: completion handler. Those of full-feature phase are posted again in
 * batches.
 */
void iser_rx_give_back(struct iser_conn *conn, struct iser_rx *rx)
{
	if (!iser_conn_is_up(conn))
		return;
	if (rx->login) {
		iser_login_rx_done(conn, rx);
		return;
	}
	rx->next = conn->rx_done;
	conn->rx_done = rx;
	if (++conn->nr_rx_done < ISER_RX_BATCH)
		return;
	conn->rx_done = NULL;
	conn->nr_rx_done = 0;
	iser_post_rx_list(conn, rx);
}

/* What was not posted ends here; not as flushed, which would be a lost link */
static void iser_end_unposted(struct iser_conn *conn,
			      const struct ib_send_wr *wr)
{
	struct ib_wc wc = {
		.status	= IB_WC_GENERAL_ERR,
		.qp	= conn->qp,
	};

	while (wr) {
		wc.wr_cqe = wr->wr_cqe;
		wr = wr->next;
		wc.wr_cqe->done(conn->cq, &wc);
	}
}

/* The adapter took what comes before @bad. Context: frwd_lock held. */
static void iser_not_posted(struct iser_conn *conn, int err,
			    const struct ib_send_wr *bad)
{
	conn->chained = NULL;
	if (iser_conn_fail(conn, err))
		iser_err(conn, "can't post to the send queue: error %d, connection dropped\n",
			 err);
	iser_end_unposted(conn, bad);
}

/**
 * iser_doorbell - post what has been chained
 * @conn: connection
 *
 * If the adapter refuses, the connection fails; the commands are answered by
 * the recovery, so that the caller need not know.
 *
 * Only from here on a request is one that a response can answer, and a local
 * invalidate of its key be posted behind the registration. That the adapter
 * has executed this, a right answer shows: see iser_alloc_pdu(). A response
 * that is faster than this function is looked at again when frwd_lock can be
 * had (response.c).
 *
 * Context: frwd_lock held.
 */
void iser_doorbell(struct iser_conn *conn)
{
	const struct ib_send_wr *bad = NULL;
	struct ib_send_wr *first = conn->chain;
	int err;

	if (!first)
		return;
	conn->chain = NULL;
	err = ib_post_send(conn->qp, first, &bad);
	if (err) {
		iser_not_posted(conn, err, bad);
		return;
	}
	for (; conn->chained; conn->chained = conn->chained->next_chained) {
		/* Who sees it sees all that the request was made of */
		smp_store_release(&conn->chained->posted, true);
	}
}

/**
 * iser_login_bell_work - post a login or text request of a discovery
 * @work: the connection's login_bell
 *
 * Context: iser_bell_wq, cancelled by the teardown once it has posted what is
 * left.
 */
void iser_login_bell_work(struct work_struct *work)
{
	struct iser_conn *conn = container_of(work, struct iser_conn,
					      login_bell.work);
	struct iscsi_session *session = conn->iscsi->session;

	spin_lock_bh(&session->frwd_lock);
	iser_doorbell(conn);
	spin_unlock_bh(&session->frwd_lock);
}
