// SPDX-License-Identifier: GPL-2.0-only
/*
 * Completion queues
 *
 * Normal operation: the engine puts completions on a ring and, where the
 * consumer has armed the queue, raises one interrupt: the consumer's handler
 * runs in hard interrupt context on the processor of the queue's vector, as it
 * would with MSI-X.  The consumer polls entries off the ring.  A slot of a
 * send or receive queue becomes free when the completion that covers it is
 * polled, not earlier: an adapter cannot know before.
 *
 * Recovery: the ring is somewhat larger than the consumer asked for.  What
 * goes beyond the asked depth is an overflow: counted, noted and told with
 * IB_EVENT_CQ_ERR and a failed queue pair, but not lost, so that a test sees
 * the fault instead of a hang in ib_drain_qp().
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/log2.h>
#include <linux/slab.h>

#include "simhca.h"

#define SIM_CQ_SPARE 4096

static void cq_interrupt(struct sim_cq *cq)
{
	clear_bit(0, &cq->irq_busy);
	smp_mb__after_atomic();	/* pairs with test_and_set_bit() */
	sim_count(cq->ad, interrupts);
	if (cq->ib.comp_handler)
		cq->ib.comp_handler(&cq->ib, cq->ib.cq_context);
	/* pairs with sim_destroy_cq(): the queue may go now */
	atomic_dec_return_release(&cq->irqs);
}

static void cq_irq_work(struct irq_work *work)
{
	cq_interrupt(container_of(work, struct sim_cq, irq));
}

static void cq_remote_irq(void *arg)
{
	cq_interrupt(arg);
}

static void cq_raise(struct sim_cq *cq)
{
	if (test_and_set_bit(0, &cq->irq_busy))
		return;
	atomic_inc(&cq->irqs);
	if (cq->cpu == smp_processor_id() || !cpu_online(cq->cpu) ||
	    smp_call_function_single_async(cq->cpu, &cq->csd))
		irq_work_queue(&cq->irq);
}

static void cq_timer(struct sim_timer *timer)
{
	cq_raise(container_of(timer, struct sim_cq, irq_timer));
}

static void cq_notify(struct sim_cq *cq)
{
	u64 us = sim_knob(cq->ad, irq_delay_us);

	if (!us)
		cq_raise(cq);
	else if (!sim_timer_pending(&cq->irq_timer))
		sim_timer_start(cq->ad, &cq->irq_timer,
				ktime_get_ns() + us * NSEC_PER_USEC);
}

/* What a real adapter leaves undefined must not be relied upon. */
static void poison(struct ib_wc *wc)
{
	wc->opcode = 0x5a5a5a5a;
	wc->byte_len = 0xdeadbeef;
	wc->wc_flags = 0x7fffffff;
	wc->ex.invalidate_rkey = 0xdeadbeef;
}

static void overflow(struct sim_cq *cq, struct sim_qp *qp)
{
	sim_violation(cq->ad, SIM_C_v_cq_overflow,
		      "CQ of %u entries overflowed", cq->depth);
	sim_cq_event(cq, IB_EVENT_CQ_ERR);
	sim_qp_event(qp, IB_EVENT_QP_FATAL);
	sim_qp_fail(qp);
}

/**
 * sim_cq_push - complete a work request
 * @cq: the completion queue
 * @qp: the queue pair
 * @pos: position of the work request in its queue
 * @recv: it is of the receive queue, and counts as a solicited event, as RFC
 *	7145 has the target send all its PDUs so
 * @wc: the completion; wr_id, status and what depends on the opcode are set
 *
 * Engine context.
 */
void sim_cq_push(struct sim_cq *cq, struct sim_qp *qp, u32 pos, bool recv,
		 const struct ib_wc *wc)
{
	bool notify = false, first_overflow = false, lost = false;
	struct sim_cqe *cqe;
	unsigned long flags;

	spin_lock_irqsave(&cq->lock, flags);
	if (cq->head - cq->tail >= cq->size) {
		lost = true;
	} else {
		cqe = &cq->ring[cq->head & (cq->size - 1)];
		cqe->wc = *wc;
		cqe->wc.qp = &qp->ib;
		cqe->qp = qp;
		cqe->pos = pos;
		cqe->recv = recv;
		if (wc->status != IB_WC_SUCCESS &&
		    sim_knob(cq->ad, poison_wc))
			poison(&cqe->wc);
		cq->head++;
	}
	if (cq->head - cq->tail > cq->depth && !cq->overflowed) {
		cq->overflowed = true;
		first_overflow = true;
	}
	if (cq->armed && (recv || !cq->solicited_only ||
			  wc->status != IB_WC_SUCCESS)) {
		cq->armed = false;
		notify = true;
	}
	spin_unlock_irqrestore(&cq->lock, flags);

	sim_count(cq->ad, cqes);
	if (wc->status != IB_WC_SUCCESS)
		sim_count(cq->ad, cqes_error);
	if (recv)
		sim_count(cq->ad, cqes_recv);
	else
		sim_count(cq->ad, cqes_send);
	if (notify)
		cq_notify(cq);
	if (first_overflow)
		overflow(cq, qp);
	WARN_ONCE(lost, "simhca: completion lost, CQ overflowed beyond measure\n");
}

/**
 * sim_cq_purge - drop the completions of a queue pair that goes
 * @cq: the completion queue
 * @qp: the queue pair
 */
void sim_cq_purge(struct sim_cq *cq, struct sim_qp *qp)
{
	unsigned long flags;
	u32 from, to;

	spin_lock_irqsave(&cq->lock, flags);
	for (from = to = cq->tail; from != cq->head; from++) {
		struct sim_cqe *cqe = &cq->ring[from & (cq->size - 1)];

		if (cqe->qp == qp)
			continue;
		if (from != to)
			cq->ring[to & (cq->size - 1)] = *cqe;
		to++;
	}
	cq->head = to;
	spin_unlock_irqrestore(&cq->lock, flags);
}

/**
 * sim_cq_event - raise an asynchronous event of a completion queue
 * @cq: the completion queue
 * @type: the event
 *
 * Engine context.
 */
void sim_cq_event(struct sim_cq *cq, enum ib_event_type type)
{
	struct ib_event ev = {
		.device = cq->ib.device,
		.element.cq = &cq->ib,
		.event = type,
	};

	sim_count(cq->ad, events);
	if (cq->ib.event_handler)
		cq->ib.event_handler(&ev, cq->ib.cq_context);
}

/**
 * sim_poll_cq - ib_poll_cq()
 * @ib: the completion queue
 * @n: room for so many completions
 * @wc: receives them
 *
 * Any context.
 *
 * Return: the number of completions.
 */
int sim_poll_cq(struct ib_cq *ib, int n, struct ib_wc *wc)
{
	struct sim_cq *cq = to_sim_cq(ib);
	unsigned long flags;
	int i;

	spin_lock_irqsave(&cq->lock, flags);
	for (i = 0; i < n && cq->tail != cq->head; i++, cq->tail++) {
		struct sim_cqe *cqe = &cq->ring[cq->tail & (cq->size - 1)];
		struct sim_queue *q = cqe->recv ? &cqe->qp->rq : &cqe->qp->sq;

		wc[i] = cqe->wc;
		WRITE_ONCE(q->tail, cqe->pos + 1);
	}
	spin_unlock_irqrestore(&cq->lock, flags);
	sim_count(cq->ad, poll_calls);
	sim_count_n(cq->ad, cqes_polled, i);
	return i;
}

/**
 * sim_req_notify_cq - ib_req_notify_cq()
 * @ib: the completion queue
 * @flags: for which completions
 *
 * Any context.
 *
 * Return: 1 where completions were missed and the caller wants to know, else
 * 0.
 */
int sim_req_notify_cq(struct ib_cq *ib, enum ib_cq_notify_flags flags)
{
	struct sim_cq *cq = to_sim_cq(ib);
	unsigned long irqflags;
	int missed;

	spin_lock_irqsave(&cq->lock, irqflags);
	cq->solicited_only =
		(flags & IB_CQ_SOLICITED_MASK) == IB_CQ_SOLICITED;
	cq->armed = true;
	missed = cq->head != cq->tail && (flags & IB_CQ_REPORT_MISSED_EVENTS);
	spin_unlock_irqrestore(&cq->lock, irqflags);
	sim_count(cq->ad, notify_calls);
	return missed;
}

/**
 * sim_create_cq - ib_create_cq()
 * @ib: the core's part
 * @attr: depth and vector
 * @udata: unused
 *
 * Return: 0 or a negative error number.
 */
int sim_create_cq(struct ib_cq *ib, const struct ib_cq_init_attr *attr,
		  struct sim_cq_udata *udata)
{
	struct sim_adapter *ad = sim_ad(ib->device);
	struct sim_cq *cq = to_sim_cq(ib);
	int ret = sim_verb_fault(ad, SIM_AT(create_cq));

	if (ret)
		return ret;
	if (attr->flags || !attr->cqe ||
	    attr->cqe > ib->device->attrs.max_cqe ||
	    attr->comp_vector >= ib->device->num_comp_vectors)
		return -EINVAL;
	cq->ad = ad;
	cq->depth = attr->cqe;
	cq->size = roundup_pow_of_two(attr->cqe + SIM_CQ_SPARE);
	cq->ring = kvcalloc(cq->size, sizeof(*cq->ring), GFP_KERNEL);
	if (!cq->ring)
		return -ENOMEM;
	cq->cpu = attr->comp_vector % num_online_cpus();
	spin_lock_init(&cq->lock);
	sim_timer_init(&cq->irq_timer, cq_timer);
	cq->irq = IRQ_WORK_INIT_HARD(cq_irq_work);
	INIT_CSD(&cq->csd, cq_remote_irq, cq);
	ib->cqe = attr->cqe;
	sim_gauge_inc(ad, cqs);
	return 0;
}

static void forget_cq(void *arg)
{
	struct sim_cq *cq = arg;

	sim_timer_stop(&cq->irq_timer);
}

/**
 * sim_destroy_cq - ib_destroy_cq()
 * @ib: the completion queue
 * @udata: unused
 *
 * Return: 0.
 */
int sim_destroy_cq(struct ib_cq *ib, struct ib_udata *udata)
{
	struct sim_cq *cq = to_sim_cq(ib);

	sim_engine_call(cq->ad, forget_cq, cq);
	while (atomic_read_acquire(&cq->irqs))
		usleep_range(10, 50);
	irq_work_sync(&cq->irq);
	kvfree(cq->ring);
	sim_gauge_dec(cq->ad, cqs);
	return 0;
}
