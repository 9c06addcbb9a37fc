// SPDX-License-Identifier: GPL-2.0-only
/*
 * Connections: the provider's side of the iWARP connection manager
 *
 * Normal operation: the consumer connects to an address of the adapter's
 * subnet; the engine, perhaps after a delay, opens a connection at the built-in
 * target, moves the queue pair to RTS and answers.  Nobody ever connects to
 * us: listening succeeds, so that a server that listens on every device still
 * works, and no request comes.
 *
 * The core's rules for a provider are kept under all faults, for it enforces
 * them with BUG(): exactly one answer to a connect, then at most one
 * DISCONNECT, then exactly one CLOSE, and a reference to the cm_id for as long
 * as events may follow.
 *
 * Recovery: whatever ends a connection puts the queue pair into ERR, and the
 * engine then calls sim_cm_lost(), the only place where the target's side is
 * torn down and the manager is told.
 */
#include <linux/inet.h>
#include <net/ipv6.h>

#include "simhca.h"

#define SIM_PORT 3260

static void send_event(struct sim_qp *qp, enum iw_cm_event_type type,
		       int status, void *pdata, u8 len)
{
	struct iw_cm_event ev = {
		.event = type,
		.status = status,
		.local_addr = qp->cm_id->m_local_addr,
		.remote_addr = qp->cm_id->m_remote_addr,
		.private_data = pdata,
		.private_data_len = len,
		.ird = sim_knob(qp->ad, max_rd_atom),
		.ord = sim_knob(qp->ad, max_rd_atom),
	};
	int ret = qp->cm_id->event_handler(qp->cm_id, &ev);

	if (ret && len) {
		/* no memory to copy private data; the event must not be lost */
		ev.private_data = NULL;
		ev.private_data_len = 0;
		ret = qp->cm_id->event_handler(qp->cm_id, &ev);
	}
	if (ret)
		pr_err("%s: CM did not take event %d: %d\n", qp->ad->name,
		       type, ret);
}

static void end_cm(struct sim_qp *qp)
{
	struct iw_cm_id *cm_id = qp->cm_id;

	qp->cm_id = NULL;
	qp->cm_state = SIM_CM_DONE;
	cm_id->rem_ref(cm_id);
}

static void refuse(struct sim_qp *qp, int err, const struct sim_act *act)
{
	u8 pdata[SIM_ACT_BYTES];
	u8 len = act ? act->len : 0;

	if (len)
		memcpy(pdata, act->bytes, len);
	sim_count(qp->ad, connects_refused);
	send_event(qp, IW_CM_EVENT_CONNECT_REPLY, err, pdata, len);
	end_cm(qp);
}

/* Our own address is as good as the portals that follow it. */
static bool is_portal(struct sim_qp *qp)
{
	struct sockaddr_storage *ss = &qp->cm_id->remote_addr;
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	int host;

	if (ss->ss_family != AF_INET || in->sin_port != htons(SIM_PORT))
		return false;
	host = ntohl(in->sin_addr.s_addr) - sim_subnet(qp->ad->index);
	return host >= 1 && host < 2 + sim_knob(qp->ad, portals);
}

static void accept(struct sim_qp *qp)
{
	enum ib_qp_state from = READ_ONCE(qp->state);
	struct iser_cm_hdr hdr = {};
	int flags = sim_knob(qp->ad, rep_flags);

	if (from == IB_QPS_ERR || from == IB_QPS_RESET) {
		refuse(qp, -ECONNRESET, NULL);
		return;
	}
	if (is_portal(qp))
		qp->conn = sim_conn_open(qp);
	if (!qp->conn) {
		refuse(qp, -ECONNREFUSED, NULL);
		return;
	}
	hdr.flags = flags;
	sim_count(qp->ad, connects);
	qp->cm_state = SIM_CM_UP;
	/* a consumer that gave up meanwhile has kicked the engine, which ends it */
	sim_qp_move(qp, from, IB_QPS_RTS);
	send_event(qp, IW_CM_EVENT_CONNECT_REPLY, 0, &hdr,
		   flags < 0 ? 0 : sizeof(hdr));
	if (qp->connect_act != SIM_DO_none)
		sim_conn_close(qp->conn, qp->connect_act == SIM_DO_close);
}

static void close_event(struct sim_qp *qp)
{
	sim_count(qp->ad, closes);
	send_event(qp, IW_CM_EVENT_CLOSE, 0, NULL, 0);
	end_cm(qp);
}

static void cm_timer(struct sim_timer *timer)
{
	struct sim_qp *qp = container_of(timer, struct sim_qp, cm_timer);

	if (qp->cm_state == SIM_CM_CLOSING)
		close_event(qp);
	else if (qp->connect_err)
		refuse(qp, qp->connect_err, NULL);
	else
		accept(qp);
}

/* Apply a fault to a connect.  Return false where it is answered already. */
static bool connect_fault(struct sim_qp *qp, u64 *us)
{
	struct sim_act act;

	if (!sim_fault(qp->ad, SIM_AT(connect), SIM_ANY_OP, &act))
		return true;
	switch (act.verb) {
	case SIM_DO_refuse:
	case SIM_DO_fail:
		refuse(qp, -act.err, &act);
		return false;
	case SIM_DO_drop:
	case SIM_DO_hold:
		/* nobody answers; after some time the adapter gives up */
		qp->connect_err = -ETIMEDOUT;
		*us = act.us ?: 10 * USEC_PER_SEC;
		return true;
	case SIM_DO_delay:
		*us = act.us;
		return true;
	case SIM_DO_close:
	case SIM_DO_abort:
		/* accepted, and over before the consumer can know */
		qp->connect_act = act.verb;
		return true;
	case SIM_DO_qp_fatal:
		sim_qp_event(qp, IB_EVENT_QP_FATAL);
		sim_qp_fail(qp);
		return true;
	case SIM_DO_remove:
		queue_work(qp->ad->wq, &qp->ad->remove_work);
		return true;
	default:
		return true;
	}
}

static void connect_job(struct sim_job *job)
{
	struct sim_qp *qp = container_of(job, struct sim_qp, cm_job);
	u64 us = sim_knob(qp->ad, connect_delay_us);

	if (qp->cm_state != SIM_CM_CONNECTING || !connect_fault(qp, &us))
		return;
	sim_timer_start(qp->ad, &qp->cm_timer,
			ktime_get_ns() + us * NSEC_PER_USEC);
}

/**
 * sim_cm_lost - a queue pair's connection is over
 * @qp: the queue pair
 * @at_once: the queue pair goes: tell the manager without delay
 *
 * Engine context.
 */
void sim_cm_lost(struct sim_qp *qp, bool at_once)
{
	u64 us = sim_knob(qp->ad, close_delay_us);

	if (qp->conn) {
		sim_conn_free(qp->conn);
		qp->conn = NULL;
	}
	switch (qp->cm_state) {
	case SIM_CM_CONNECTING:
		sim_timer_stop(&qp->cm_timer);
		refuse(qp, -ECONNRESET, NULL);
		break;
	case SIM_CM_UP:
		qp->cm_state = SIM_CM_CLOSING;
		if (at_once || !us)
			close_event(qp);
		else
			sim_timer_start(qp->ad, &qp->cm_timer,
					ktime_get_ns() + us * NSEC_PER_USEC);
		break;
	case SIM_CM_CLOSING:
		if (at_once) {
			sim_timer_stop(&qp->cm_timer);
			close_event(qp);
		}
		break;
	default:
		break;
	}
}

/**
 * sim_cm_init_qp - prepare the connection part of a new queue pair
 * @qp: the queue pair
 */
void sim_cm_init_qp(struct sim_qp *qp)
{
	qp->cm_state = SIM_CM_NONE;
	sim_job_init(&qp->cm_job, connect_job);
	sim_timer_init(&qp->cm_timer, cm_timer);
}

/**
 * sim_iw_connect - the consumer wants to connect
 * @cm_id: the manager's object
 * @param: queue pair and private data
 *
 * Return: 0, an answer will come; or a negative error number.
 */
int sim_iw_connect(struct iw_cm_id *cm_id, struct iw_cm_conn_param *param)
{
	struct sim_adapter *ad = sim_ad(cm_id->device);
	struct sim_qp *qp = xa_load(&ad->qps, param->qpn);

	if (!qp || qp->cm_state == SIM_CM_CONNECTING ||
	    qp->cm_state == SIM_CM_UP || qp->cm_state == SIM_CM_CLOSING)
		return -EINVAL;
	qp->connect_err = 0;
	qp->connect_act = SIM_DO_none;
	qp->connect_flags_valid = param->private_data_len >=
				  sizeof(struct iser_cm_hdr);
	qp->connect_flags = qp->connect_flags_valid ?
			    *(const u8 *)param->private_data : 0;
	cm_id->add_ref(cm_id);
	cm_id->provider_data = qp;
	qp->cm_id = cm_id;
	qp->cm_state = SIM_CM_CONNECTING;
	sim_engine_kick(ad, &qp->cm_job);
	return 0;
}

/**
 * sim_iw_accept - never called: no request is ever passed up
 * @cm_id: unused
 * @param: unused
 *
 * Return: an error.
 */
int sim_iw_accept(struct iw_cm_id *cm_id, struct iw_cm_conn_param *param)
{
	return -EOPNOTSUPP;
}

/**
 * sim_iw_reject - never called: no request is ever passed up
 * @cm_id: unused
 * @pdata: unused
 * @len: unused
 *
 * Return: an error.
 */
int sim_iw_reject(struct iw_cm_id *cm_id, const void *pdata, u8 len)
{
	return -EOPNOTSUPP;
}

/**
 * sim_iw_create_listen - listen, to no avail
 * @cm_id: unused
 * @backlog: unused
 *
 * A listener on the wildcard address listens on all devices and fails where
 * one of them refuses.
 *
 * Return: 0.
 */
int sim_iw_create_listen(struct iw_cm_id *cm_id, int backlog)
{
	return 0;
}

/**
 * sim_iw_destroy_listen - end listening
 * @cm_id: unused
 *
 * Return: 0.
 */
int sim_iw_destroy_listen(struct iw_cm_id *cm_id)
{
	return 0;
}

/**
 * sim_iw_add_ref - the manager takes a reference to a queue pair
 * @qp: the queue pair
 */
void sim_iw_add_ref(struct ib_qp *qp)
{
	sim_qp_get(to_sim_qp(qp));
}

/**
 * sim_iw_rem_ref - the manager gives a reference back
 * @qp: the queue pair
 */
void sim_iw_rem_ref(struct ib_qp *qp)
{
	sim_qp_put(to_sim_qp(qp));
}

/**
 * sim_iw_get_qp - find a queue pair by number
 * @ib: the device
 * @qpn: the number
 *
 * Return: the queue pair or NULL.
 */
struct ib_qp *sim_iw_get_qp(struct ib_device *ib, int qpn)
{
	struct sim_qp *qp = xa_load(&sim_ad(ib)->qps, qpn);

	return qp ? &qp->ib : NULL;
}
