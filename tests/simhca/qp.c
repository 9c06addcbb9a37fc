// SPDX-License-Identifier: GPL-2.0-only
/*
 * Queue pairs: the consumer's side
 *
 * Normal operation: a post call checks the work requests, copies them to the
 * ring and rings the doorbell once.  Nothing is executed here (exec.c does
 * that in the engine), and nothing is read from the buffers yet.
 *
 * A ring is as deep as the consumer asked for and not one entry deeper.  An
 * entry of the send queue becomes free when a completion at or behind it has
 * been polled, so a consumer that never signals runs into -ENOMEM, as it does
 * on real adapters.
 *
 * Recovery: every failure sets the state to ERR and kicks the engine, which
 * flushes both rings and drops the connection.  sim_destroy_qp() has the
 * engine forget the queue pair and then waits for the connection manager's
 * references, which the close event makes it give back.
 */
#include <linux/slab.h>

#include "simhca.h"

#define SIM_QPN_MIN	0x10
#define SIM_QPN_MAX	0xffffff

static int queue_init(struct sim_queue *q, u32 depth, u32 max_sge)
{
	u32 slots = roundup_pow_of_two(max(depth, 1U));

	spin_lock_init(&q->lock);
	q->depth = max(depth, 1U);
	q->mask = slots - 1;
	q->max_sge = max(max_sge, 1U);
	q->wqes = kvcalloc(slots, sizeof(*q->wqes), GFP_KERNEL);
	q->sges = kvcalloc(array_size(slots, q->max_sge), sizeof(*q->sges),
			   GFP_KERNEL);
	return q->wqes && q->sges ? 0 : -ENOMEM;
}

static void queue_free(struct sim_queue *q)
{
	kvfree(q->wqes);
	kvfree(q->sges);
}

/* Forget all work requests of a queue that nobody posts to.  Engine context. */
static void queue_reset(struct sim_queue *q)
{
	q->head = 0;
	q->taken = 0;
	q->exec = 0;
	q->ack = 0;
	q->tail = 0;
}

static bool caps_ok(const struct ib_device_attr *dev, struct ib_qp_cap *cap)
{
	return cap->max_send_wr <= dev->max_qp_wr &&
	       cap->max_recv_wr <= dev->max_qp_wr &&
	       cap->max_send_sge <= dev->max_send_sge &&
	       cap->max_recv_sge <= dev->max_recv_sge &&
	       !cap->max_inline_data;
}

/**
 * sim_create_qp - ib_create_qp()
 * @ib: the core's part
 * @attr: queues and depths
 * @udata: unused
 *
 * Return: 0 or a negative error number.
 */
int sim_create_qp(struct ib_qp *ib, struct ib_qp_init_attr *attr,
		  struct ib_udata *udata)
{
	struct sim_adapter *ad = sim_ad(ib->device);
	struct sim_qp *qp = to_sim_qp(ib);
	int ret = sim_verb_fault(ad, SIM_AT(create_qp));

	if (ret)
		return ret;
	if (attr->qp_type != IB_QPT_RC || attr->srq || attr->create_flags)
		return -EOPNOTSUPP;
	if (!attr->send_cq || !attr->recv_cq ||
	    !caps_ok(&ib->device->attrs, &attr->cap))
		return -EINVAL;
	if (sim_gauge(ad, qps) >= ib->device->attrs.max_qp)
		return -ENOMEM;

	qp->ad = ad;
	qp->send_cq = to_sim_cq(attr->send_cq);
	qp->recv_cq = to_sim_cq(attr->recv_cq);
	qp->cap = attr->cap;
	qp->sig_type = attr->sq_sig_type;
	qp->state = IB_QPS_RESET;
	INIT_LIST_HEAD(&qp->inbound);
	sim_job_init(&qp->job, sim_qp_run);
	sim_timer_init(&qp->timer, sim_qp_timer);
	sim_timer_init(&qp->link_timer, sim_qp_link_timer);
	sim_timer_init(&qp->flush_timer, sim_qp_flush_timer);
	sim_cm_init_qp(qp);
	refcount_set(&qp->refs, 1);
	init_completion(&qp->gone);

	ret = queue_init(&qp->sq, attr->cap.max_send_wr,
			 attr->cap.max_send_sge);
	if (!ret)
		ret = queue_init(&qp->rq, attr->cap.max_recv_wr,
				 attr->cap.max_recv_sge);
	if (!ret)
		ret = xa_alloc_cyclic(&ad->qps, &ib->qp_num, qp,
				      XA_LIMIT(SIM_QPN_MIN, SIM_QPN_MAX),
				      &ad->next_qpn, GFP_KERNEL);
	if (ret < 0) {
		queue_free(&qp->sq);
		queue_free(&qp->rq);
		return ret;
	}
	sim_gauge_inc(ad, qps);
	return 0;
}

static void reset_qp(void *arg)
{
	struct sim_qp *qp = arg;

	sim_qp_forget(qp);
	sim_cq_purge(qp->send_cq, qp);
	sim_cq_purge(qp->recv_cq, qp);
	queue_reset(&qp->sq);
	queue_reset(&qp->rq);
}

static bool transition_ok(enum ib_qp_state from, enum ib_qp_state to)
{
	switch (to) {
	case IB_QPS_RESET:
	case IB_QPS_ERR:
		return true;
	case IB_QPS_INIT:
		return from == IB_QPS_RESET || from == IB_QPS_INIT;
	case IB_QPS_RTR:
		return from == IB_QPS_INIT || from == IB_QPS_RTR;
	case IB_QPS_RTS:
		return from == IB_QPS_RTR || from == IB_QPS_RTS;
	case IB_QPS_SQD:
		return from == IB_QPS_RTS || from == IB_QPS_SQD;
	default:
		return false;
	}
}

/**
 * sim_qp_move - change a queue pair's state
 * @qp: the queue pair
 * @from: the state that the change was decided on
 * @to: the new one
 *
 * Any context.  The consumer and the engine both do so; neither undoes what the
 * other has just done.
 *
 * Return: false where the state is another one by now; it stays.
 */
bool sim_qp_move(struct sim_qp *qp, enum ib_qp_state from, enum ib_qp_state to)
{
	return cmpxchg(&qp->state, from, to) == from;
}

/**
 * sim_modify_qp - ib_modify_qp()
 * @ib: the queue pair
 * @attr: new attributes
 * @mask: which of them
 * @udata: unused
 *
 * Return: 0 or a negative error number.
 */
int sim_modify_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask,
		  struct ib_udata *udata)
{
	struct sim_qp *qp = to_sim_qp(ib);
	enum ib_qp_state from;
	int ret;

	/* giving up a queue pair never fails, on no adapter */
	if (!(mask & IB_QP_STATE) || (attr->qp_state != IB_QPS_ERR &&
				      attr->qp_state != IB_QPS_RESET)) {
		ret = sim_verb_fault(qp->ad, SIM_AT(modify_qp));
		if (ret)
			return ret;
	}
	if (mask & IB_QP_ACCESS_FLAGS)
		qp->access = attr->qp_access_flags;
	if (!(mask & IB_QP_STATE))
		return 0;
	do {
		from = READ_ONCE(qp->state);
		if (!transition_ok(from, attr->qp_state))
			return -EINVAL;
	} while (!sim_qp_move(qp, from, attr->qp_state));
	if (attr->qp_state == IB_QPS_RESET)
		sim_engine_call(qp->ad, reset_qp, qp);
	else
		sim_engine_kick(qp->ad, &qp->job);
	return 0;
}

/**
 * sim_query_qp - ib_query_qp()
 * @ib: the queue pair
 * @attr: receives its attributes
 * @mask: unused
 * @init: receives what it was created with
 *
 * Return: 0.
 */
int sim_query_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask,
		 struct ib_qp_init_attr *init)
{
	struct sim_qp *qp = to_sim_qp(ib);

	attr->qp_state = READ_ONCE(qp->state);
	attr->cur_qp_state = attr->qp_state;
	attr->qp_access_flags = qp->access;
	attr->cap = qp->cap;
	init->send_cq = ib->send_cq;
	init->recv_cq = ib->recv_cq;
	init->qp_type = ib->qp_type;
	init->sq_sig_type = qp->sig_type;
	init->cap = qp->cap;
	return 0;
}

static void forget_qp(void *arg)
{
	struct sim_qp *qp = arg;

	WRITE_ONCE(qp->state, IB_QPS_RESET);
	sim_qp_forget(qp);
	/* its doorbell may have rung since; nobody will ring it again */
	sim_cq_purge(qp->send_cq, qp);
	sim_cq_purge(qp->recv_cq, qp);
	xa_erase(&qp->ad->qps, qp->ib.qp_num);
}

static void nothing(void *arg)
{
}

/**
 * sim_destroy_qp - ib_destroy_qp()
 * @ib: the queue pair
 * @udata: unused
 *
 * Return: 0.
 */
int sim_destroy_qp(struct ib_qp *ib, struct ib_udata *udata)
{
	struct sim_qp *qp = to_sim_qp(ib);

	sim_engine_call(qp->ad, forget_qp, qp);
	sim_qp_put(qp);
	wait_for_completion(&qp->gone);
	/* a job that was queued before us has run when this returns */
	sim_engine_call(qp->ad, nothing, NULL);
	queue_free(&qp->sq);
	queue_free(&qp->rq);
	sim_gauge_dec(qp->ad, qps);
	return 0;
}

/**
 * sim_qp_get - take a reference
 * @qp: the queue pair
 */
void sim_qp_get(struct sim_qp *qp)
{
	refcount_inc(&qp->refs);
}

/**
 * sim_qp_put - give a reference back
 * @qp: the queue pair
 */
void sim_qp_put(struct sim_qp *qp)
{
	if (refcount_dec_and_test(&qp->refs))
		complete(&qp->gone);
}

/**
 * sim_qp_event - raise an asynchronous event of a queue pair
 * @qp: the queue pair
 * @type: the event
 *
 * Engine context: bottom halves are off, so a handler that sleeps is caught.
 */
void sim_qp_event(struct sim_qp *qp, enum ib_event_type type)
{
	struct ib_event ev = {
		.device = qp->ib.device,
		.element.qp = &qp->ib,
		.event = type,
	};

	sim_count(qp->ad, events);
	if (qp->ib.event_handler)
		qp->ib.event_handler(&ev, qp->ib.qp_context);
}

/**
 * sim_qp_fail - a queue pair fails
 * @qp: the queue pair
 *
 * Engine context.  Flushing begins when the engine comes to this queue pair.
 */
void sim_qp_fail(struct sim_qp *qp)
{
	enum ib_qp_state from;

	do {
		from = READ_ONCE(qp->state);
		if (from == IB_QPS_RESET)
			return;
	} while (!sim_qp_move(qp, from, IB_QPS_ERR));
	sim_engine_kick(qp->ad, &qp->job);
}

/**
 * sim_qp_kick_all - have the engine look at every queue pair
 * @ad: the adapter
 *
 * Engine context.
 */
void sim_qp_kick_all(struct sim_adapter *ad)
{
	struct sim_qp *qp;
	unsigned long i;

	xa_for_each(&ad->qps, i, qp)
		sim_engine_kick(ad, &qp->job);
}

static bool send_wr_ok(struct sim_qp *qp, const struct ib_send_wr *wr)
{
	if (wr->num_sge < 0 || wr->num_sge > qp->cap.max_send_sge)
		return false;
	if (wr->send_flags & IB_SEND_INLINE)
		return false;
	switch (wr->opcode) {
	case IB_WR_SEND:
	case IB_WR_SEND_WITH_INV:
	case IB_WR_LOCAL_INV:
	case IB_WR_RDMA_WRITE:
	case IB_WR_RDMA_READ:
		return true;
	case IB_WR_REG_MR:
		return reg_wr(wr)->mr && !wr->num_sge;
	default:
		return false;
	}
}

static void fill_wqe(struct sim_qp *qp, const struct ib_send_wr *wr)
{
	u32 slot = qp->sq.head & qp->sq.mask;
	struct sim_wqe *wqe = &qp->sq.wqes[slot];

	wqe->wr_id = wr->wr_id;
	wqe->opcode = wr->opcode;
	wqe->num_sge = wr->num_sge;
	wqe->status = IB_WC_SUCCESS;
	wqe->held = false;
	wqe->on_wire = false;
	wqe->ack_at = 0;
	wqe->signaled = qp->sig_type == IB_SIGNAL_ALL_WR ||
			(wr->send_flags & IB_SEND_SIGNALED);
	if (wr->opcode == IB_WR_REG_MR) {
		wqe->mr = to_sim_mr(reg_wr(wr)->mr);
		wqe->key = reg_wr(wr)->key;
		wqe->access = reg_wr(wr)->access;
		wqe->staged = wqe->mr->staged;
		return;
	}
	wqe->key = wr->ex.invalidate_rkey;
	memcpy(&qp->sq.sges[slot * qp->sq.max_sge], wr->sg_list,
	       wr->num_sge * sizeof(*wr->sg_list));
}

static int post_one(struct sim_qp *qp, const struct ib_send_wr *wr)
{
	struct sim_adapter *ad = qp->ad;
	int ret = sim_verb_fault(ad, SIM_AT(post_send));

	if (ret)
		return ret;
	if (!send_wr_ok(qp, wr)) {
		sim_violation(ad, SIM_C_v_post_wr,
			      "QP %u: bad send WR, opcode %d, %d SGEs, flags %#x",
			      qp->ib.qp_num, wr->opcode, wr->num_sge,
			      wr->send_flags);
		return -EINVAL;
	}
	if (qp->sq.head - READ_ONCE(qp->sq.tail) >= qp->sq.depth) {
		sim_violation(ad, SIM_C_v_sq_overflow,
			      "QP %u: send queue of %u is full",
			      qp->ib.qp_num, qp->sq.depth);
		return -ENOMEM;
	}
	fill_wqe(qp, wr);
	/* pairs with the engine's smp_load_acquire() */
	smp_store_release(&qp->sq.head, qp->sq.head + 1);
	return 0;
}

/**
 * sim_post_send - ib_post_send()
 * @ib: the queue pair
 * @wr: chain of work requests
 * @bad: receives the first that was not accepted
 *
 * Any context.
 *
 * Return: 0 or a negative error number.
 */
int sim_post_send(struct ib_qp *ib, const struct ib_send_wr *wr,
		  const struct ib_send_wr **bad)
{
	struct sim_qp *qp = to_sim_qp(ib);
	enum ib_qp_state state = READ_ONCE(qp->state);
	unsigned long flags;
	int n = 0, ret = 0;

	if (state != IB_QPS_RTS && state != IB_QPS_SQD &&
	    state != IB_QPS_ERR) {
		sim_violation(qp->ad, SIM_C_v_post_state,
			      "QP %u: post_send in state %d", ib->qp_num,
			      state);
		*bad = wr;
		return -EINVAL;
	}
	spin_lock_irqsave(&qp->sq.lock, flags);
	for (; wr; wr = wr->next, n++) {
		ret = post_one(qp, wr);
		if (ret) {
			*bad = wr;
			break;
		}
	}
	spin_unlock_irqrestore(&qp->sq.lock, flags);
	sim_count(qp->ad, post_send_calls);
	sim_count_n(qp->ad, post_send_wrs, n);
	sim_engine_kick(qp->ad, &qp->job);
	return ret;
}

static int post_one_recv(struct sim_qp *qp, const struct ib_recv_wr *wr)
{
	u32 slot = qp->rq.head & qp->rq.mask;
	struct sim_wqe *wqe = &qp->rq.wqes[slot];
	int ret = sim_verb_fault(qp->ad, SIM_AT(post_recv));

	if (ret)
		return ret;
	if (wr->num_sge < 0 || wr->num_sge > qp->cap.max_recv_sge) {
		sim_violation(qp->ad, SIM_C_v_post_wr,
			      "QP %u: bad receive WR, %d SGEs",
			      qp->ib.qp_num, wr->num_sge);
		return -EINVAL;
	}
	if (qp->rq.head - READ_ONCE(qp->rq.tail) >= qp->rq.depth) {
		sim_violation(qp->ad, SIM_C_v_rq_overflow,
			      "QP %u: receive queue of %u is full",
			      qp->ib.qp_num, qp->rq.depth);
		return -ENOMEM;
	}
	wqe->wr_id = wr->wr_id;
	wqe->num_sge = wr->num_sge;
	memcpy(&qp->rq.sges[slot * qp->rq.max_sge], wr->sg_list,
	       wr->num_sge * sizeof(*wr->sg_list));
	/* pairs with the engine's smp_load_acquire() */
	smp_store_release(&qp->rq.head, qp->rq.head + 1);
	return 0;
}

/**
 * sim_post_recv - ib_post_recv()
 * @ib: the queue pair
 * @wr: chain of work requests
 * @bad: receives the first that was not accepted
 *
 * Any context.
 *
 * Return: 0 or a negative error number.
 */
int sim_post_recv(struct ib_qp *ib, const struct ib_recv_wr *wr,
		  const struct ib_recv_wr **bad)
{
	struct sim_qp *qp = to_sim_qp(ib);
	unsigned long flags;
	int n = 0, ret = 0;

	if (READ_ONCE(qp->state) == IB_QPS_RESET) {
		sim_violation(qp->ad, SIM_C_v_post_state,
			      "QP %u: post_recv in state RESET", ib->qp_num);
		*bad = wr;
		return -EINVAL;
	}
	spin_lock_irqsave(&qp->rq.lock, flags);
	for (; wr; wr = wr->next, n++) {
		ret = post_one_recv(qp, wr);
		if (ret) {
			*bad = wr;
			break;
		}
	}
	spin_unlock_irqrestore(&qp->rq.lock, flags);
	sim_count(qp->ad, post_recv_calls);
	sim_count_n(qp->ad, post_recv_wrs, n);
	/* an adapter looks at its receive ring only when something arrives */
	smp_mb(); /* pairs with sim_qp_deliver() */
	if (!list_empty_careful(&qp->inbound) ||
	    READ_ONCE(qp->state) == IB_QPS_ERR)
		sim_engine_kick(qp->ad, &qp->job);
	return ret;
}
