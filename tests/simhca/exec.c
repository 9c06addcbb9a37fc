// SPDX-License-Identifier: GPL-2.0-only
/*
 * Execution of work requests, and everything else that a queue pair does
 *
 * Normal operation: the engine takes work requests from the send queue in
 * strict order.  REG_MR and LOCAL_INV act on the MR at once.  A Send is
 * gathered, acknowledged and handed to the target, which may well answer
 * before we return.  Completions are produced in the order of the queue, and
 * only for signalled work requests.  What the target sends lands in the
 * oldest posted receive; where there is none it waits (RNR).
 *
 * Three cursors run over the send queue: exec (executed), ack (acknowledged,
 * completion produced) and, moved by polling, tail (slot free again).  exec
 * and ack part company when the knob ack_delay_us delays acknowledgments, the
 * wire is down, or a fault holds a work request.  With the knob "resend" the
 * buffers of a Send are read a second time when it is acknowledged, as an
 * adapter does that has to retransmit: by then they must neither be unmapped
 * nor have changed.
 *
 * Recovery: a work request that fails completes with its status, the state
 * becomes ERR, and everything behind it is flushed, signalled or not.  A
 * failure of the connection flushes what was not acknowledged.  Flushing goes
 * on as long as the consumer posts, which is what ib_drain_qp() builds on.
 */
#include <linux/jhash.h>

#include "simhca.h"

static struct sim_wqe *wqe_at(struct sim_queue *q, u32 pos)
{
	return &q->wqes[pos & q->mask];
}

static struct ib_sge *sges_at(struct sim_queue *q, u32 pos)
{
	return &q->sges[(pos & q->mask) * q->max_sge];
}

/* ---- memory that work requests name ------------------------------------ */

/* Addresses may be anything: no sum of them is formed, as it could wrap. */
static bool within(const struct sim_mr *mr, u64 addr, u32 len)
{
	u64 off = addr - mr->iova;

	return addr >= mr->iova && off <= mr->length && len <= mr->length - off;
}

/* Find the memory of one SGE from @off on; NULL where it may not be used. */
static void *sge_at(struct sim_qp *qp, const struct ib_sge *sge, u32 off,
		    u32 *got, bool write)
{
	struct sim_adapter *ad = qp->ad;
	u64 addr = sge->addr + off;
	struct sim_mr *mr;

	*got = sge->length - off;
	if (sge->lkey == SIM_LOCAL_DMA_LKEY && qp->ib.device->local_dma_lkey)
		return sim_dma_at(ad, addr, got, write);
	mr = sim_mr_by_key(ad, sge->lkey);
	if (!mr) {
		sim_violation(ad, SIM_C_v_mr_bad_key,
			      "QP %u: SGE with invalid lkey %#x",
			      qp->ib.qp_num, sge->lkey);
		return NULL;
	}
	if (mr->ib.pd != qp->ib.pd) {
		sim_violation(ad, SIM_C_v_mr_pd,
			      "QP %u: SGE with lkey %#x of another PD",
			      qp->ib.qp_num, sge->lkey);
		return NULL;
	}
	if (write && !(mr->access & IB_ACCESS_LOCAL_WRITE)) {
		sim_violation(ad, SIM_C_v_mr_rights,
			      "QP %u: lkey %#x does not allow local writes",
			      qp->ib.qp_num, sge->lkey);
		return NULL;
	}
	if (!mr->dma_mr && !within(mr, sge->addr, sge->length)) {
		sim_violation(ad, SIM_C_v_mr_range,
			      "QP %u: SGE %#llx+%u is not within lkey %#x",
			      qp->ib.qp_num, sge->addr, sge->length,
			      sge->lkey);
		return NULL;
	}
	return sim_mr_at(mr, addr, *got, got, write);
}

/* Copy between a linear buffer and a list of SGEs. */
static bool sges_copy(struct sim_qp *qp, const struct ib_sge *sges, int n,
		      u8 *buf, u32 len, bool write)
{
	u32 off, got;
	void *mem;
	int i;

	for (i = 0; i < n && len; i++) {
		for (off = 0; off < sges[i].length && len; off += got) {
			mem = sge_at(qp, &sges[i], off, &got, write);
			if (!mem)
				return false;
			got = min(got, len);
			if (write)
				memcpy(mem, buf, got);
			else
				memcpy(buf, mem, got);
			buf += got;
			len -= got;
		}
	}
	return true;
}

static u32 sges_len(const struct ib_sge *sges, int n)
{
	u32 len = 0;

	while (n--)
		len += sges++->length;
	return len;
}

/*
 * The mappings that a work request names are needed from now on.  Only SGEs
 * with the key for all that is mapped name some; others name an MR's memory.
 */
static void hold(struct sim_qp *qp, struct sim_queue *q, u32 pos,
		 enum sim_dma_user user)
{
	struct sim_wqe *wqe = wqe_at(q, pos);
	struct ib_sge *sge = sges_at(q, pos);
	int i;

	wqe->mappings = 0;
	for (i = 0; i < wqe->num_sge; i++)
		if (sge[i].lkey == qp->ib.pd->local_dma_lkey &&
		    sim_dma_hold(qp->ad, sge[i].addr, user, 1))
			wqe->mappings |= BIT(i);
}

static void unhold(struct sim_qp *qp, struct sim_queue *q, u32 pos,
		   enum sim_dma_user user)
{
	struct sim_wqe *wqe = wqe_at(q, pos);
	struct ib_sge *sge = sges_at(q, pos);
	unsigned long mappings = wqe->mappings;
	int i;

	for_each_set_bit(i, &mappings, wqe->num_sge)
		sim_dma_hold(qp->ad, sge[i].addr, user, -1);
}

/* ---- completions ------------------------------------------------------- */

static enum ib_wc_opcode wc_opcode(u8 wr_opcode)
{
	switch (wr_opcode) {
	case IB_WR_REG_MR:
		return IB_WC_REG_MR;
	case IB_WR_LOCAL_INV:
		return IB_WC_LOCAL_INV;
	case IB_WR_RDMA_WRITE:
		return IB_WC_RDMA_WRITE;
	case IB_WR_RDMA_READ:
		return IB_WC_RDMA_READ;
	default:
		return IB_WC_SEND;
	}
}

static void complete_send(struct sim_qp *qp, u32 pos, enum ib_wc_status status)
{
	struct sim_wqe *wqe = wqe_at(&qp->sq, pos);
	struct ib_wc wc = {
		.wr_id = wqe->wr_id,
		.status = status,
		.opcode = wc_opcode(wqe->opcode),
		.byte_len = wqe->bytes,
	};

	sim_cq_push(qp->send_cq, qp, pos, false, &wc);
}

static void complete_recv(struct sim_qp *qp, enum ib_wc_status status,
			  u32 len, bool inv, u32 key)
{
	struct ib_wc wc = {
		.wr_id = wqe_at(&qp->rq, qp->rq.exec)->wr_id,
		.status = status,
		.opcode = IB_WC_RECV,
		.byte_len = len,
		.wc_flags = inv ? IB_WC_WITH_INVALIDATE : 0,
		.ex.invalidate_rkey = inv ? key : 0,
		.port_num = 1,
	};

	unhold(qp, &qp->rq, qp->rq.exec, SIM_DMA_RECV);
	sim_cq_push(qp->recv_cq, qp, qp->rq.exec++, true, &wc);
}

/* Read a Send's buffers once more.  Return false where they are gone. */
static bool read_again(struct sim_qp *qp, u32 pos)
{
	struct sim_wqe *wqe = wqe_at(&qp->sq, pos);
	u8 *buf = qp->ad->againbuf;

	if (!sges_copy(qp, sges_at(&qp->sq, pos), wqe->num_sge, buf,
		       wqe->bytes, false))
		return false;
	if (jhash(buf, wqe->bytes, 0) != wqe->csum)
		sim_violation(qp->ad, wqe->login ? SIM_C_v_resend_login :
						   SIM_C_v_resend_changed,
			      "QP %u: Send of %u bytes changed before it was acknowledged",
			      qp->ib.qp_num, wqe->bytes);
	return true;
}

static void end_send(struct sim_qp *qp, u32 pos, bool flushing)
{
	struct sim_wqe *wqe = wqe_at(&qp->sq, pos);

	if (!wqe->on_wire)
		return;
	wqe->on_wire = false;
	unhold(qp, &qp->sq, pos, SIM_DMA_SEND);
	if (!flushing && wqe->resend && !read_again(qp, pos))
		wqe->status = IB_WC_LOC_PROT_ERR;
}

/* A Send is not sent, or not acknowledged, as the wire is down. */
static void link_stalled(struct sim_qp *qp)
{
	u64 us = sim_knob(qp->ad, retry_us);

	if (us && !sim_timer_pending(&qp->link_timer))
		sim_timer_start(qp->ad, &qp->link_timer,
				ktime_get_ns() + us * NSEC_PER_USEC);
}

static bool may_ack(struct sim_qp *qp, struct sim_wqe *wqe)
{
	if (wqe->held)
		return false;
	if (wqe->on_wire && !sim_knob(qp->ad, link)) {
		link_stalled(qp);
		return false;
	}
	if (wqe->ack_at && wqe->ack_at > ktime_get_ns()) {
		sim_timer_start(qp->ad, &qp->timer, wqe->ack_at);
		return false;
	}
	return true;
}

/* Acknowledge what was executed; @all: even what ought to wait. */
static void ack_sends(struct sim_qp *qp, bool all)
{
	struct sim_queue *sq = &qp->sq;

	while (sq->ack != sq->exec && qp->state != IB_QPS_ERR) {
		struct sim_wqe *wqe = wqe_at(sq, sq->ack);
		u8 status;

		if (!all && !may_ack(qp, wqe))
			return;
		end_send(qp, sq->ack, false);
		status = wqe->status;
		/* who polls this may use its place again at once */
		if (wqe->signaled || status != IB_WC_SUCCESS)
			complete_send(qp, sq->ack, status);
		sq->ack++;
		if (status != IB_WC_SUCCESS)
			sim_qp_fail(qp);
	}
}

/* ---- the send queue ---------------------------------------------------- */

/* Of these an initiator has one buffer, and the next one may be in it. */
static bool is_login(const u8 *pdu, u32 len)
{
	u8 opcode = len < HDR_LEN ? 0 :
		    pdu[sizeof(struct iser_ctrl)] & ISCSI_OPCODE_MASK;

	return opcode == ISCSI_OP_LOGIN || opcode == ISCSI_OP_TEXT;
}

static enum ib_wc_status exec_send(struct sim_qp *qp, u32 pos)
{
	struct sim_wqe *wqe = wqe_at(&qp->sq, pos);
	struct ib_sge *sges = sges_at(&qp->sq, pos);

	sim_count(qp->ad, wr_send);
	if (wqe->signaled)
		sim_count(qp->ad, wr_send_signaled);
	sim_count_n(qp->ad, wr_send_sges, wqe->num_sge);
	wqe->bytes = sges_len(sges, wqe->num_sge);
	if (wqe->bytes > SIM_RX_MAX)
		return IB_WC_LOC_LEN_ERR;
	if (!sges_copy(qp, sges, wqe->num_sge, qp->ad->rxbuf, wqe->bytes,
		       false))
		return IB_WC_LOC_PROT_ERR;
	wqe->resend = sim_knob(qp->ad, resend);
	if (wqe->resend) {
		wqe->login = is_login(qp->ad->rxbuf, wqe->bytes);
		wqe->csum = jhash(qp->ad->rxbuf, wqe->bytes, 0);
	}
	wqe->on_wire = true;
	hold(qp, &qp->sq, pos, SIM_DMA_SEND);
	return IB_WC_SUCCESS;
}

static enum ib_wc_status exec_inv(struct sim_qp *qp, struct sim_wqe *wqe)
{
	sim_count(qp->ad, wr_local_inv);
	if (sim_mr_invalidate(qp, wqe->key)) {
		sim_count(qp->ad, mr_invalidated_local);
		return IB_WC_SUCCESS;
	}
	qp->ad->provoking = sim_mr_stolen(qp->ad, wqe->key);
	sim_violation(qp->ad, SIM_C_v_inv_invalid,
		      "QP %u: LOCAL_INV of key %#x, which is not valid",
		      qp->ib.qp_num, wqe->key);
	qp->ad->provoking = false;
	return IB_WC_MW_BIND_ERR;
}

static enum ib_wc_status exec_one(struct sim_qp *qp, u32 pos)
{
	struct sim_wqe *wqe = wqe_at(&qp->sq, pos);

	wqe->bytes = 0;
	if (wqe->signaled)
		sim_count(qp->ad, wr_signaled);
	switch (wqe->opcode) {
	case IB_WR_SEND:
	case IB_WR_SEND_WITH_INV:
		return exec_send(qp, pos);
	case IB_WR_REG_MR:
		sim_count(qp->ad, wr_reg_mr);
		return sim_mr_register(qp, wqe);
	case IB_WR_LOCAL_INV:
		return exec_inv(qp, wqe);
	default:
		/* the target offers no memory; only the empty one is fine */
		sim_count(qp->ad, wr_rdma);
		return sges_len(sges_at(&qp->sq, pos), wqe->num_sge) ?
		       IB_WC_REM_ACCESS_ERR : IB_WC_SUCCESS;
	}
}

static u64 wr_points(u8 opcode)
{
	switch (opcode) {
	case IB_WR_SEND:
		return SIM_AT(wr) | SIM_AT(wr_send);
	case IB_WR_REG_MR:
		return SIM_AT(wr) | SIM_AT(wr_reg);
	case IB_WR_LOCAL_INV:
		return SIM_AT(wr) | SIM_AT(wr_inv);
	default:
		return SIM_AT(wr);
	}
}

/* Apply a fault to a work request.  Return false to keep it from the target. */
static bool wr_fault(struct sim_qp *qp, struct sim_wqe *wqe,
		     const struct sim_act *act)
{
	switch (act->verb) {
	case SIM_DO_wc:
		wqe->status = act->val;
		return false;
	case SIM_DO_hold:
		wqe->held = true;
		return true;
	case SIM_DO_delay:
		wqe->ack_at = ktime_get_ns() + (u64)act->us * NSEC_PER_USEC;
		return true;
	case SIM_DO_drop:
		if (qp->conn && wqe->on_wire)
			sim_conn_missed(qp->conn, qp->ad->rxbuf, wqe->bytes);
		return false;
	default:
		if (qp->conn)
			sim_conn_act(qp->conn, act);
		return true;
	}
}

/* Execute the next work request.  Return false where it has to wait. */
static bool step(struct sim_qp *qp)
{
	struct sim_queue *sq = &qp->sq;
	u32 pos = sq->exec;
	struct sim_wqe *wqe = wqe_at(sq, pos);
	bool is_send = wqe->opcode == IB_WR_SEND ||
		       wqe->opcode == IB_WR_SEND_WITH_INV;
	u64 delay = sim_knob(qp->ad, ack_delay_us);
	struct sim_act act;
	bool to_target;

	if (is_send && (!qp->conn || !sim_knob(qp->ad, link))) {
		link_stalled(qp);
		return false;
	}
	wqe->status = exec_one(qp, pos);
	if (is_send && delay)
		wqe->ack_at = ktime_get_ns() + delay * NSEC_PER_USEC;
	to_target = is_send && wqe->status == IB_WC_SUCCESS;
	if (sim_fault(qp->ad, wr_points(wqe->opcode), SIM_ANY_OP, &act) &&
	    !wr_fault(qp, wqe, &act))
		to_target = false;
	sq->exec++;
	ack_sends(qp, wqe->status != IB_WC_SUCCESS);
	if (to_target && qp->conn)
		sim_target_rx(qp->conn, qp->ad->rxbuf, wqe->bytes);
	return true;
}

static bool sq_pending(struct sim_qp *qp)
{
	/* pairs with post_one() */
	return qp->sq.exec != smp_load_acquire(&qp->sq.head);
}

static void run_sq(struct sim_qp *qp)
{
	u32 budget = sim_knob(qp->ad, burst);

	/* it was not down for too long; the next time counts anew */
	if (sim_knob(qp->ad, link))
		sim_timer_stop(&qp->link_timer);
	ack_sends(qp, false);
	while (sq_pending(qp) && qp->state != IB_QPS_ERR) {
		if (!budget--) {
			sim_engine_kick(qp->ad, &qp->job);
			return;
		}
		if (!step(qp))
			return;
	}
}

/* ---- the receive queue ------------------------------------------------- */

static void remote_fault(struct sim_qp *qp)
{
	sim_qp_event(qp, IB_EVENT_QP_ACCESS_ERR);
	sim_qp_fail(qp);
}

static bool land_invalidate(struct sim_qp *qp, struct sim_pdu *pdu)
{
	struct sim_mr *mr;

	if (!pdu->invalidate || pdu->lie)
		return true;
	mr = sim_mr_by_key(qp->ad, pdu->inv_key);
	if (!sim_mr_invalidate(qp, pdu->inv_key))
		return false;
	mr->stolen = pdu->wrong || pdu->silent;
	sim_count(qp->ad, mr_invalidated_remote);
	return true;
}

/* Put a PDU into the oldest posted receive. */
static void land(struct sim_qp *qp, struct sim_pdu *pdu)
{
	struct sim_queue *rq = &qp->rq;
	struct sim_wqe *wqe = wqe_at(rq, rq->exec);
	struct ib_sge *sges = sges_at(rq, rq->exec);
	enum ib_wc_status status = IB_WC_SUCCESS;
	struct sim_act act;

	if (sim_fault(qp->ad, SIM_AT(recv), SIM_ANY_OP, &act)) {
		if (act.verb == SIM_DO_drop)
			return;
		if (act.verb == SIM_DO_wc)
			status = act.val;
		else if (qp->conn && sim_conn_act(qp->conn, &act))
			return;
	}
	if (status == IB_WC_SUCCESS && pdu->len > sges_len(sges, wqe->num_sge))
		status = IB_WC_LOC_LEN_ERR;
	if (status == IB_WC_SUCCESS &&
	    !sges_copy(qp, sges, wqe->num_sge, pdu->buf, pdu->len, true))
		status = IB_WC_LOC_PROT_ERR;
	if (status == IB_WC_SUCCESS && !land_invalidate(qp, pdu)) {
		remote_fault(qp);
		return;
	}
	complete_recv(qp, status, pdu->len,
		      pdu->invalidate && !pdu->silent, pdu->inv_key);
	if (status != IB_WC_SUCCESS)
		sim_qp_fail(qp);
}

/* Look what receives were posted. */
static void take_receives(struct sim_qp *qp)
{
	struct sim_queue *rq = &qp->rq;

	/* pairs with post_one_recv() */
	for (; rq->taken != smp_load_acquire(&rq->head); rq->taken++)
		hold(qp, rq, rq->taken, SIM_DMA_RECV);
}

static bool can_land(struct sim_qp *qp)
{
	take_receives(qp);
	return qp->rq.exec != qp->rq.taken && sim_knob(qp->ad, link);
}

static void run_inbound(struct sim_qp *qp)
{
	struct sim_pdu *pdu;

	while (!list_empty(&qp->inbound) && can_land(qp) &&
	       qp->state != IB_QPS_ERR) {
		pdu = list_first_entry(&qp->inbound, struct sim_pdu, node);
		list_del_init(&pdu->node);
		land(qp, pdu);
		sim_pdu_drop(pdu);
	}
}

/**
 * sim_qp_deliver - the target sends a PDU to a queue pair
 * @qp: the queue pair
 * @pdu: the PDU; is consumed
 *
 * Engine context.
 */
void sim_qp_deliver(struct sim_qp *qp, struct sim_pdu *pdu)
{
	if (qp->state != IB_QPS_RTS && qp->state != IB_QPS_SQD) {
		sim_pdu_drop(pdu);
		return;
	}
	if (list_empty(&qp->inbound) && can_land(qp)) {
		land(qp, pdu);
		sim_pdu_drop(pdu);
		return;
	}
	if (sim_knob(qp->ad, link))
		sim_count(qp->ad, pdus_waited);
	list_add_tail(&pdu->node, &qp->inbound);
	smp_mb(); /* pairs with sim_post_recv() */
	run_inbound(qp);
}

/**
 * sim_qp_rdma - the target reads or writes the initiator's memory
 * @qp: the initiator's queue pair
 * @key: rkey
 * @va: address
 * @buf: data, or NULL to check only
 * @len: number of bytes
 * @write: RDMA Write; else RDMA Read
 *
 * Engine context.
 *
 * Return: false where the access was refused; the queue pair has failed then.
 */
bool sim_qp_rdma(struct sim_qp *qp, u32 key, u64 va, void *buf, u32 len,
		 bool write)
{
	int need = write ? IB_ACCESS_REMOTE_WRITE : IB_ACCESS_REMOTE_READ;
	struct sim_adapter *ad = qp->ad;
	struct sim_mr *mr = sim_mr_by_key(ad, key);
	void *mem;
	u32 got;

	if (!mr) {
		bool was = ad->provoking;

		ad->provoking |= sim_mr_stolen(ad, key);
		sim_violation(ad, SIM_C_v_mr_bad_key,
			      "QP %u: RDMA with rkey %#x, which is not valid",
			      qp->ib.qp_num, key);
		ad->provoking = was;
		goto refuse;
	}
	if (mr->ib.pd != qp->ib.pd) {
		sim_violation(ad, SIM_C_v_mr_pd,
			      "QP %u: RDMA with rkey %#x of another PD",
			      qp->ib.qp_num, key);
		goto refuse;
	}
	if (!(mr->access & qp->access & need)) {
		sim_violation(ad, SIM_C_v_mr_rights,
			      "QP %u: rkey %#x does not allow an RDMA %s",
			      qp->ib.qp_num, key, write ? "Write" : "Read");
		goto refuse;
	}
	if (!mr->dma_mr && !within(mr, va, len)) {
		sim_violation(ad, SIM_C_v_mr_range,
			      "QP %u: RDMA of %#llx+%u is not within rkey %#x",
			      qp->ib.qp_num, va, len, key);
		goto refuse;
	}
	for (; len; len -= got, va += got) {
		mem = sim_mr_at(mr, va, len, &got, write);
		if (!mem)
			goto refuse;
		if (!buf)
			continue;
		if (write)
			memcpy(mem, buf, got);
		else
			memcpy(buf, mem, got);
		buf += got;
	}
	return true;
refuse:
	remote_fault(qp);
	return false;
}

/* ---- states ------------------------------------------------------------ */

static void drop_inbound(struct sim_qp *qp)
{
	struct sim_pdu *pdu, *next;

	list_for_each_entry_safe(pdu, next, &qp->inbound, node) {
		list_del_init(&pdu->node);
		sim_pdu_drop(pdu);
	}
}

static void flush(struct sim_qp *qp)
{
	struct sim_queue *sq = &qp->sq, *rq = &qp->rq;

	drop_inbound(qp);
	sim_mrs_release(qp->ad, qp->ib.pd);
	/* pairs with post_one() */
	while (sq->ack != smp_load_acquire(&sq->head)) {
		struct sim_wqe *wqe = wqe_at(sq, sq->ack);

		if (sq->ack == sq->exec)
			sq->exec++;
		end_send(qp, sq->ack, true);
		sim_count(qp->ad, wr_flushed);
		complete_send(qp, sq->ack, wqe->status ?: IB_WC_WR_FLUSH_ERR);
		sq->ack++;
	}
	for (take_receives(qp); rq->exec != rq->taken; take_receives(qp)) {
		sim_count(qp->ad, wr_flushed);
		complete_recv(qp, IB_WC_WR_FLUSH_ERR, 0, false, 0);
	}
}

static void run_error(struct sim_qp *qp)
{
	u64 us = sim_knob(qp->ad, flush_delay_us);

	sim_timer_stop(&qp->timer);
	sim_timer_stop(&qp->link_timer);
	if (!us || qp->flushing)
		flush(qp);
	else if (!sim_timer_pending(&qp->flush_timer))
		sim_timer_start(qp->ad, &qp->flush_timer,
				ktime_get_ns() + us * NSEC_PER_USEC);
	sim_cm_lost(qp, false);
}

/**
 * sim_qp_flush_timer - a failed queue pair begins to flush
 * @timer: the queue pair's timer
 *
 * Engine context.
 */
void sim_qp_flush_timer(struct sim_timer *timer)
{
	struct sim_qp *qp = container_of(timer, struct sim_qp, flush_timer);

	qp->flushing = true;
	flush(qp);
}

/**
 * sim_qp_run - answer a queue pair's doorbell
 * @job: its job
 *
 * Engine context.
 */
void sim_qp_run(struct sim_job *job)
{
	struct sim_qp *qp = container_of(job, struct sim_qp, job);

	take_receives(qp);
	switch (READ_ONCE(qp->state)) {
	case IB_QPS_RTS:
		run_sq(qp);
		run_inbound(qp);
		break;
	case IB_QPS_SQD:
		/* orderly end: what was posted still goes out */
		run_sq(qp);
		if (!sq_pending(qp) || !qp->conn || !sim_knob(qp->ad, link))
			sim_qp_fail(qp);
		break;
	case IB_QPS_ERR:
		run_error(qp);
		break;
	default:
		break;
	}
}

/**
 * sim_qp_timer - an acknowledgment is due
 * @timer: the queue pair's timer
 *
 * Engine context.
 */
void sim_qp_timer(struct sim_timer *timer)
{
	struct sim_qp *qp = container_of(timer, struct sim_qp, timer);

	ack_sends(qp, false);
}

/**
 * sim_qp_link_timer - the wire has been down for too long
 * @timer: the queue pair's timer
 *
 * Engine context.  The oldest Send without an acknowledgment fails, or else the
 * one that could not be sent.
 */
void sim_qp_link_timer(struct sim_timer *timer)
{
	struct sim_qp *qp = container_of(timer, struct sim_qp, link_timer);
	struct sim_queue *sq = &qp->sq;
	u32 pos = sq->ack;

	if (sim_knob(qp->ad, link) || qp->state != IB_QPS_RTS)
		return;
	while (pos != sq->exec && !wqe_at(sq, pos)->on_wire)
		pos++;
	if (pos == sq->exec) {
		if (!sq_pending(qp))
			return;
		sq->exec++;
	}
	wqe_at(sq, pos)->status = IB_WC_RETRY_EXC_ERR;
	ack_sends(qp, true);
}

/**
 * sim_qp_forget - the queue pair is about to go
 * @qp: the queue pair; its state is RESET
 *
 * Engine context.  Afterwards nothing of the engine refers to it.
 */
void sim_qp_forget(struct sim_qp *qp)
{
	u32 pos;

	sim_timer_stop(&qp->timer);
	sim_timer_stop(&qp->link_timer);
	sim_timer_stop(&qp->flush_timer);
	qp->flushing = false;
	for (pos = qp->sq.ack; pos != qp->sq.exec; pos++)
		end_send(qp, pos, true);
	for (pos = qp->rq.exec; pos != qp->rq.taken; pos++)
		unhold(qp, &qp->rq, pos, SIM_DMA_RECV);
	drop_inbound(qp);
	sim_mrs_release(qp->ad, qp->ib.pd);
	sim_cm_lost(qp, true);
}
