// SPDX-License-Identifier: GPL-2.0-only
/*
 * The target: connections and PDUs
 *
 * Each connection of the adapter has a struct sim_conn here.  A Send of the
 * initiator arrives at sim_target_rx(), is checked and dispatched; answers are
 * built with sim_pdu_start() and leave through sim_pdu_send(), which gives them
 * their numbers at the very moment of leaving, so that delayed and reordered
 * answers are numbered as a target would number them.
 *
 * All faults that concern PDUs are applied in two places: on the way in
 * before dispatch, on the way out after numbering.
 *
 * Recovery: the target never repairs a connection.  It ends it with
 * sim_conn_close(), which fails the queue pair; sim_cm_lost() then calls
 * sim_conn_free().
 */
#include <linux/slab.h>

#include "simhca.h"

/**
 * sim_conn_violation - the initiator did on a connection what it must not
 * @conn: the connection
 * @c: the counter of this kind of violation
 * @fmt: what it did
 */
void sim_conn_violation(struct sim_conn *conn, enum sim_counter c,
			const char *fmt, ...)
{
	struct va_format vaf;
	va_list args;

	va_start(args, fmt);
	vaf.fmt = fmt;
	vaf.va = &args;
	sim_violation(conn->ad, c, "QP %u: %pV", conn->qp->ib.qp_num, &vaf);
	va_end(args);
}

/* ---- PDUs out ---------------------------------------------------------- */

static void pdu_timer(struct sim_timer *timer);

/**
 * sim_pdu_start - begin a PDU to the initiator
 * @conn: the connection
 * @opcode: iSCSI opcode
 * @data_room: longest data segment that will be put into it
 *
 * Return: the PDU, or NULL without memory; the connection is lost then.
 */
struct sim_pdu *sim_pdu_start(struct sim_conn *conn, u8 opcode, u32 data_room)
{
	struct sim_pdu *pdu;

	pdu = kzalloc(struct_size(pdu, buf, HDR_LEN + ALIGN(data_room, 4)),
		      GFP_ATOMIC);
	if (!pdu) {
		sim_conn_close(conn, false);
		return NULL;
	}
	INIT_LIST_HEAD(&pdu->node);
	sim_timer_init(&pdu->timer, pdu_timer);
	pdu->conn = conn;
	pdu->len = HDR_LEN;
	pdu->buf[0] = ISCSI_CTRL;
	sim_pdu_bhs(pdu)->opcode = opcode;
	sim_pdu_bhs(pdu)->flags = ISCSI_FLAG_CMD_FINAL;
	return pdu;
}

/**
 * sim_pdu_data - give a PDU its data segment
 * @pdu: the PDU
 * @data: the data
 * @len: number of bytes
 */
void sim_pdu_data(struct sim_pdu *pdu, const void *data, u32 len)
{
	memcpy(pdu->buf + HDR_LEN, data, len);
	hton24(sim_pdu_bhs(pdu)->dlength, len);
	pdu->len = HDR_LEN + ALIGN(len, 4);
}

/**
 * sim_pdu_drop - free a PDU
 * @pdu: the PDU
 */
void sim_pdu_drop(struct sim_pdu *pdu)
{
	sim_timer_stop(&pdu->timer);
	list_del(&pdu->node);
	kfree(pdu);
}

static void update_window(struct sim_conn *conn)
{
	u32 max = conn->exp_cmdsn + conn->window - 1 - conn->outstanding;

	if ((s32)(max - conn->max_cmdsn) > 0)
		conn->max_cmdsn = max;
}

static void stamp(struct sim_conn *conn, struct sim_pdu *pdu)
{
	struct iscsi_nopin *hdr = (struct iscsi_nopin *)sim_pdu_bhs(pdu);

	update_window(conn);
	hdr->statsn = cpu_to_be32(conn->statsn);
	hdr->exp_cmdsn = cpu_to_be32(conn->exp_cmdsn);
	hdr->max_cmdsn = cpu_to_be32(conn->max_cmdsn);
	if (hdr->opcode != ISCSI_OP_NOOP_IN || hdr->itt != RESERVED_ITT)
		conn->statsn++;
}

static struct sim_pdu *pdu_copy(struct sim_pdu *pdu, u32 extra)
{
	struct sim_pdu *copy;

	copy = kzalloc(struct_size(pdu, buf, pdu->len + extra), GFP_ATOMIC);
	if (!copy)
		return NULL;
	memcpy(copy, pdu, struct_size(pdu, buf, pdu->len));
	INIT_LIST_HEAD(&copy->node);
	sim_timer_init(&copy->timer, pdu_timer);
	return copy;
}

static void send_later(struct sim_conn *conn, struct sim_pdu *pdu, u64 us)
{
	list_add_tail(&pdu->node, &conn->delayed);
	sim_timer_start(conn->ad, &pdu->timer,
			ktime_get_ns() + us * NSEC_PER_USEC);
}

static void deliver(struct sim_conn *conn, struct sim_pdu *pdu)
{
	sim_count(conn->ad, pdus_out);
	if (pdu->invalidate)
		sim_count(conn->ad, sends_with_inv);
	sim_qp_deliver(conn->qp, pdu);
}

static void send_twice(struct sim_conn *conn, struct sim_pdu *pdu,
		       const struct sim_act *act)
{
	struct sim_pdu *copy = pdu_copy(pdu, 0);

	deliver(conn, pdu);
	if (!copy)
		return;
	copy->act.verb = SIM_DO_none;
	/* a duplicate of a Send with Invalidate would not survive the HCA */
	if (act->mode != SIM_INV_STALE)
		copy->invalidate = false;
	if (act->us)
		send_later(conn, copy, act->us);
	else
		deliver(conn, copy);
}

static void wrong_inv(struct sim_conn *conn, struct sim_pdu *pdu,
		      const struct sim_act *act)
{
	struct sim_mr *mr = NULL;

	switch (act->mode) {
	case SIM_INV_NONE:
		pdu->invalidate = false;
		return;
	case SIM_INV_OTHER:
	case SIM_INV_FOREIGN:
		mr = sim_mr_any_live(conn->ad, conn->qp->ib.pd,
				     act->mode == SIM_INV_OTHER, pdu->inv_key);
		if (!mr)
			return;
		pdu->inv_key = mr->index << SIM_KEY_SHIFT | mr->key;
		break;
	case SIM_INV_STALE:
		pdu->inv_key = conn->dead_key;
		break;
	case SIM_INV_SILENT:
		pdu->silent = true;
		return;
	case SIM_INV_LIE:
		pdu->lie = true;
		pdu->inv_key = act->val;
		break;
	}
	pdu->invalidate = true;
	pdu->wrong = true;
}

/* Answer another command, and forget both: who sent this one waits in vain. */
static void answer_other(struct sim_conn *conn, struct sim_pdu *pdu)
{
	struct sim_task *task;

	list_for_each_entry(task, &conn->tasks, node) {
		if (task->answered)
			continue;
		sim_pdu_bhs(pdu)->itt = (__force itt_t)task->itt;
		pdu->wrong = pdu->invalidate;
		sim_task_free(task);
		return;
	}
}

static void patch(struct sim_pdu *pdu, const struct sim_act *act)
{
	u32 i;

	for (i = 0; i < act->len && act->off + i < pdu->len; i++) {
		if (act->verb == SIM_DO_xor)
			pdu->buf[act->off + i] ^= act->bytes[i];
		else
			pdu->buf[act->off + i] = act->bytes[i];
	}
}

/*
 * The PDU and mutated copies of it, as fast as receives are posted.  What ends
 * the connection is rare among them, as the others are not looked at any more.
 */
static void flood(struct sim_conn *conn, struct sim_pdu *pdu, u32 n)
{
	struct sim_pdu *model = pdu_copy(pdu, 0), *copy;

	deliver(conn, pdu);
	if (!model)
		return;
	while (n-- && (copy = pdu_copy(model, 0))) {
		copy->act.verb = SIM_DO_none;
		copy->invalidate = false;
		stamp(conn, copy);
		sim_count(conn->ad, pdus_flooded);
		sim_fuzz_pdu(conn->ad, copy, 32);
		deliver(conn, copy);
	}
	sim_pdu_drop(model);
}

static struct sim_pdu *extend(struct sim_pdu *pdu, u32 extra)
{
	struct sim_pdu *copy = pdu_copy(pdu, extra);

	if (!copy)
		return pdu;
	memset(copy->buf + copy->len, 0xee, extra);
	copy->len += extra;
	sim_pdu_drop(pdu);
	return copy;
}

/* Replace a key=value pair of a login or text answer, or add it. */
static struct sim_pdu *rekey(struct sim_pdu *pdu, const char *text)
{
	u32 dlen = ntoh24(sim_pdu_bhs(pdu)->dlength);
	u32 name = strchr(text, '=') + 1 - text, len = 0, n;
	struct sim_pdu *copy = pdu_copy(pdu, SIM_ACT_BYTES + 4);
	const char *pair, *end = pdu->buf + HDR_LEN + dlen;
	char *out;

	if (!copy)
		return pdu;
	out = copy->buf + HDR_LEN;
	for (pair = pdu->buf + HDR_LEN; pair < end; pair += n) {
		/* the last one may go on in the next PDU */
		n = min_t(u32, strnlen(pair, end - pair) + 1, end - pair);
		if (n > name && !strncmp(pair, text, name))
			continue;
		memcpy(out + len, pair, n);
		len += n;
	}
	n = strlen(text) + 1;
	memcpy(out + len, text, n);
	len += n;
	memset(out + len, 0, ALIGN(len, 4) - len);
	hton24(sim_pdu_bhs(copy)->dlength, len);
	copy->len = HDR_LEN + ALIGN(len, 4);
	sim_pdu_drop(pdu);
	return copy;
}

/*
 * Another structure mostly ends a connection, so that nothing else can be tried
 * on it: it is rarer on some connections than on others.
 */
static u32 odds(struct sim_conn *conn)
{
	return sim_knob(conn->ad, odds) << 2 * (conn->qp->ib.qp_num % 4);
}

/* Apply the PDU's fault.  Return the PDU to deliver, or NULL. */
static struct sim_pdu *corrupt(struct sim_conn *conn, struct sim_pdu *pdu)
{
	struct iscsi_login_rsp *login;
	struct sim_act act = pdu->act;

	switch (act.verb) {
	case SIM_DO_drop:
	case SIM_DO_hold:
		sim_pdu_drop(pdu);
		return NULL;
	case SIM_DO_dup:
		send_twice(conn, pdu, &act);
		return NULL;
	case SIM_DO_set:
	case SIM_DO_xor:
		patch(pdu, &act);
		break;
	case SIM_DO_trunc:
		pdu->len = min_t(u64, pdu->len, act.val);
		break;
	case SIM_DO_extend:
		return extend(pdu, min_t(u64, act.val, SZ_64K));
	case SIM_DO_itt:
		sim_pdu_bhs(pdu)->itt = (__force itt_t)cpu_to_be32(act.val);
		break;
	case SIM_DO_stale:
		sim_pdu_bhs(pdu)->itt = (__force itt_t)conn->last_itt;
		break;
	case SIM_DO_swap:
		answer_other(conn, pdu);
		break;
	case SIM_DO_inv:
		wrong_inv(conn, pdu, &act);
		break;
	case SIM_DO_status:
		((struct iscsi_scsi_rsp *)sim_pdu_bhs(pdu))->cmd_status =
			act.val;
		break;
	case SIM_DO_response:
		((struct iscsi_scsi_rsp *)sim_pdu_bhs(pdu))->response =
			act.val;
		break;
	case SIM_DO_login:
		login = (struct iscsi_login_rsp *)sim_pdu_bhs(pdu);
		login->status_class = act.val;
		login->status_detail = act.val2;
		break;
	case SIM_DO_key:
		return rekey(pdu, act.bytes);
	case SIM_DO_random:
		sim_count(conn->ad, pdus_fuzzed);
		if (sim_fuzz_pdu(conn->ad, pdu, odds(conn)))
			sim_count(conn->ad, pdus_odd);
		break;
	case SIM_DO_flood:
		flood(conn, pdu, min_t(u64, act.val, 4096));
		return NULL;
	default:
		sim_conn_act(conn, &act);
	}
	return pdu;
}

static void transmit(struct sim_conn *conn, struct sim_pdu *pdu)
{
	bool rsp = sim_pdu_bhs(pdu)->opcode == ISCSI_OP_SCSI_CMD_RSP;
	u32 itt;

	stamp(conn, pdu);
	itt = (__force u32)sim_pdu_bhs(pdu)->itt;
	if (unlikely(pdu->act.verb != SIM_DO_none))
		pdu = corrupt(conn, pdu);
	if (!pdu)
		return;
	if (rsp)
		conn->last_itt = itt;
	if (pdu->invalidate && !pdu->lie)
		conn->dead_key = pdu->inv_key;
	deliver(conn, pdu);
}

static bool act_now(struct sim_conn *conn, const struct sim_act *act);

static void pdu_timer(struct sim_timer *timer)
{
	struct sim_pdu *pdu = container_of(timer, struct sim_pdu, timer);
	struct sim_conn *conn = pdu->conn;
	struct sim_act act;

	list_del_init(&pdu->node);
	if (pdu->len) {
		transmit(conn, pdu);
		return;
	}
	/* no PDU at all but a fault that was put off */
	act = pdu->act;
	sim_pdu_drop(pdu);
	act_now(conn, &act);
}

/**
 * sim_pdu_send - send a PDU
 * @conn: the connection
 * @pdu: the PDU; is consumed
 * @points: fault points that it is
 * @op: SCSI opcode that it answers, or SIM_ANY_OP
 *
 * Engine context.
 */
void sim_pdu_send(struct sim_conn *conn, struct sim_pdu *pdu, u64 points,
		  int op)
{
	u64 us = points & (SIM_AT(rsp_login) | SIM_AT(rsp_text)) ?
		 sim_knob(conn->ad, login_delay_us) :
		 sim_knob(conn->ad, rsp_delay_us);

	pdu->act.verb = SIM_DO_none;
	if (sim_fault(conn->ad, points | SIM_AT(rsp), op, &pdu->act) &&
	    pdu->act.verb == SIM_DO_delay) {
		us = pdu->act.us;
		pdu->act.verb = SIM_DO_none;
	}
	if (us)
		send_later(conn, pdu, us);
	else
		transmit(conn, pdu);
}

/**
 * sim_send_reject - tell the initiator that its PDU was rejected
 * @conn: the connection
 * @bhs: the PDU's basic header segment
 * @reason: why
 */
void sim_send_reject(struct sim_conn *conn, const void *bhs, u8 reason)
{
	struct sim_pdu *pdu = sim_pdu_start(conn, ISCSI_OP_REJECT,
					    sizeof(struct iscsi_hdr));
	struct iscsi_reject *hdr;

	if (!pdu)
		return;
	hdr = (struct iscsi_reject *)sim_pdu_bhs(pdu);
	hdr->reason = reason;
	hdr->ffffffff = cpu_to_be32(ISCSI_RESERVED_TAG);
	sim_pdu_data(pdu, bhs, sizeof(struct iscsi_hdr));
	sim_pdu_send(conn, pdu, SIM_AT(rsp_reject), SIM_ANY_OP);
}

/* A NOP-In that wants an answer, with @len bytes of ping data */
static void send_ping(struct sim_conn *conn, u32 len)
{
	u8 data[256];
	struct sim_pdu *pdu;
	struct iscsi_nopin *hdr;

	len = min_t(u32, len, sizeof(data));
	pdu = sim_pdu_start(conn, ISCSI_OP_NOOP_IN, len);
	if (!pdu)
		return;
	hdr = (struct iscsi_nopin *)sim_pdu_bhs(pdu);
	hdr->itt = RESERVED_ITT;
	hdr->ttt = cpu_to_be32(++conn->ping);
	memset(data, 'p', len);
	sim_pdu_data(pdu, data, len);
	sim_count(conn->ad, nops_in);
	sim_pdu_send(conn, pdu, SIM_AT(rsp_ping), SIM_ANY_OP);
}

static void send_async(struct sim_conn *conn, u8 event, u16 p1, u16 p2, u16 p3)
{
	struct sim_pdu *pdu = sim_pdu_start(conn, ISCSI_OP_ASYNC_EVENT, 0);
	struct iscsi_async *hdr;

	if (!pdu)
		return;
	hdr = (struct iscsi_async *)sim_pdu_bhs(pdu);
	memset(hdr->rsvd4, 0xff, 4);	/* where others have the task tag */
	hdr->async_event = event;
	hdr->param1 = cpu_to_be16(p1);
	hdr->param2 = cpu_to_be16(p2);
	hdr->param3 = cpu_to_be16(p3);
	sim_pdu_send(conn, pdu, SIM_AT(rsp_async), SIM_ANY_OP);
}

/* ---- faults that concern more than one PDU ----------------------------- */

static void act_later(struct sim_conn *conn, const struct sim_act *act)
{
	struct sim_pdu *pdu = sim_pdu_start(conn, 0, 0);

	if (!pdu)
		return;
	pdu->len = 0;
	pdu->act = *act;
	send_later(conn, pdu, act->us);
}

/* The port goes down, for @act->val microseconds if that is not 0, or up */
static void port_act(struct sim_conn *conn, const struct sim_act *act)
{
	struct sim_act up = { .verb = SIM_DO_port_up, .us = act->val };
	struct sim_adapter *ad = conn->ad;
	bool link = act->verb == SIM_DO_port_up;

	WRITE_ONCE(ad->knobs[SIM_K_link], link);
	sim_netdev_link(ad, link);
	sim_device_event(ad, link ? IB_EVENT_PORT_ACTIVE : IB_EVENT_PORT_ERR);
	sim_qp_kick_all(ad);
	if (!link && up.us)
		act_later(conn, &up);
}

/* Return true where the connection is over. */
static bool act_now(struct sim_conn *conn, const struct sim_act *act)
{
	static const struct iscsi_hdr none;
	struct sim_adapter *ad = conn->ad;

	switch (act->verb) {
	case SIM_DO_close:
		sim_conn_close(conn, true);
		return true;
	case SIM_DO_abort:
	case SIM_DO_qp_error:
		sim_conn_close(conn, false);
		return true;
	case SIM_DO_qp_fatal:
		sim_qp_event(conn->qp, IB_EVENT_QP_FATAL);
		sim_conn_close(conn, false);
		return true;
	case SIM_DO_cq_error:
		sim_cq_event(conn->qp->recv_cq, IB_EVENT_CQ_ERR);
		return false;
	case SIM_DO_dev_fatal:
		sim_device_event(ad, IB_EVENT_DEVICE_FATAL);
		return false;
	case SIM_DO_remove:
		queue_work(ad->wq, &ad->remove_work);
		return false;
	case SIM_DO_port_down:
	case SIM_DO_port_up:
		port_act(conn, act);
		return false;
	case SIM_DO_nopin:
		send_ping(conn, act->val);
		return false;
	case SIM_DO_async:
		send_async(conn, act->val, conn->cid, act->off, act->val2);
		return false;
	case SIM_DO_reject:
		sim_send_reject(conn, &none, act->val);
		return false;
	default:
		return false;
	}
}

/* A PDU may be on its way through the code that asks: theirs comes behind it. */
static bool sends_pdu(enum sim_verb verb)
{
	return verb == SIM_DO_nopin || verb == SIM_DO_async ||
	       verb == SIM_DO_reject;
}

/**
 * sim_conn_act - do what a fault rule wants done to a connection
 * @conn: the connection
 * @act: what
 *
 * Engine context.
 *
 * Return: true where the connection is over.
 */
bool sim_conn_act(struct sim_conn *conn, const struct sim_act *act)
{
	if (!act->us && !sends_pdu(act->verb))
		return act_now(conn, act);
	act_later(conn, act);
	return false;
}

/**
 * sim_target_now - do what a rule "at=now" wants done
 * @ad: the adapter
 * @act: what; to every connection that is logged in, or just logged out
 *
 * Engine context.
 */
void sim_target_now(struct sim_adapter *ad, const struct sim_act *act)
{
	struct sim_conn *conn, *next;

	switch (act->verb) {
	case SIM_DO_remove:
		queue_work(ad->wq, &ad->remove_work);
		return;
	case SIM_DO_dev_fatal:
		sim_device_event(ad, IB_EVENT_DEVICE_FATAL);
		return;
	default:
		break;
	}
	list_for_each_entry_safe(conn, next, &ad->target.conns, node)
		if (conn->phase != SIM_CONN_LOGIN)
			sim_conn_act(conn, act);
}

/* ---- PDUs in ----------------------------------------------------------- */

/**
 * sim_cmdsn - account for the CmdSN of a request
 * @conn: the connection
 * @hdr: the request's header
 *
 * Return: true where the request is an immediate one.
 */
bool sim_cmdsn(struct sim_conn *conn, const struct iscsi_hdr *hdr)
{
	u32 sn = be32_to_cpu(((const struct iscsi_nopout *)hdr)->cmdsn);

	if (hdr->opcode & ISCSI_OP_IMMEDIATE)
		return true;
	if ((s32)(sn - conn->max_cmdsn) > 0)
		sim_violation(conn->ad, SIM_C_v_cmdsn,
			      "QP %u: CmdSN %u is beyond MaxCmdSN %u",
			      conn->qp->ib.qp_num, sn, conn->max_cmdsn);
	if (sn != conn->exp_cmdsn)
		sim_violation(conn->ad, SIM_C_v_cmdsn,
			      "QP %u: CmdSN %u instead of %u",
			      conn->qp->ib.qp_num, sn, conn->exp_cmdsn);
	if ((s32)(sn - conn->exp_cmdsn) >= 0)
		conn->exp_cmdsn = sn + 1;
	return false;
}

/**
 * sim_conn_missed - a PDU was lost on its way
 * @conn: the connection
 * @buf: the PDU
 * @len: its length
 *
 * What the initiator numbers next is not wrong for that.  Engine context.
 */
void sim_conn_missed(struct sim_conn *conn, const u8 *buf, u32 len)
{
	const struct iscsi_hdr *hdr =
		(const struct iscsi_hdr *)(buf + sizeof(struct iser_ctrl));

	if (len >= HDR_LEN &&
	    (hdr->opcode & ISCSI_OPCODE_MASK) != ISCSI_OP_SCSI_DATA_OUT)
		sim_cmdsn(conn, hdr);
}

/* The receives of an iSER initiator need not be longer than this */
#define SIM_ECHO_MAX	128

static void nopout_rx(struct sim_conn *conn, u8 *buf, u32 len)
{
	struct iscsi_nopout *req =
		(struct iscsi_nopout *)(buf + sizeof(struct iser_ctrl));
	u32 dlen = min_t(u32, ntoh24(req->dlength), SIM_ECHO_MAX);
	struct iscsi_nopin *rsp;
	struct sim_pdu *pdu;

	sim_count(conn->ad, nops_out);
	sim_cmdsn(conn, (struct iscsi_hdr *)req);
	if (req->itt == RESERVED_ITT) {
		if (!(req->opcode & ISCSI_OP_IMMEDIATE))
			sim_proto(conn, "NOP-Out without task tag is not immediate");
		return;
	}
	if (req->ttt != cpu_to_be32(ISCSI_RESERVED_TAG))
		sim_proto(conn, "NOP-Out with both tags, TTT %#x",
			  be32_to_cpu(req->ttt));
	pdu = sim_pdu_start(conn, ISCSI_OP_NOOP_IN, dlen);
	if (!pdu)
		return;
	rsp = (struct iscsi_nopin *)sim_pdu_bhs(pdu);
	rsp->itt = req->itt;
	rsp->ttt = cpu_to_be32(ISCSI_RESERVED_TAG);
	sim_pdu_data(pdu, buf + HDR_LEN, dlen);
	sim_pdu_send(conn, pdu, SIM_AT(rsp_nop), SIM_ANY_OP);
}

static void abort_tasks(struct sim_conn *conn, int lun)
{
	struct sim_task *task, *next;

	list_for_each_entry_safe(task, next, &conn->tasks, node) {
		if (lun >= 0 && task->lun != lun)
			continue;
		sim_count(conn->ad, tasks_aborted);
		sim_task_free(task);
	}
}

static void abort_everywhere(struct sim_conn *conn, int lun)
{
	struct sim_conn *c;

	list_for_each_entry(c, &conn->ad->target.conns, node)
		if (c->target == conn->target)
			abort_tasks(c, lun);
}

static u8 do_tmf(struct sim_conn *conn, struct iscsi_tm *req)
{
	u8 *l = req->lun.scsi_lun;
	u32 lun = (l[0] & 0x3f) << 8 | l[1];
	struct sim_task *task;

	switch (ISCSI_TM_FUNC_VALUE(req)) {
	case ISCSI_TM_FUNC_ABORT_TASK:
		task = sim_task_find(conn, (__force u32)req->rtt);
		if (!task)
			return ISCSI_TMF_RSP_NO_TASK;
		sim_count(conn->ad, tasks_aborted);
		sim_task_free(task);
		return ISCSI_TMF_RSP_COMPLETE;
	case ISCSI_TM_FUNC_ABORT_TASK_SET:
		abort_tasks(conn, lun);
		return ISCSI_TMF_RSP_COMPLETE;
	case ISCSI_TM_FUNC_CLEAR_TASK_SET:
	case ISCSI_TM_FUNC_LOGICAL_UNIT_RESET:
		if (lun >= sim_knob(conn->ad, luns))
			return ISCSI_TMF_RSP_NO_LUN;
		abort_everywhere(conn, lun);
		return ISCSI_TMF_RSP_COMPLETE;
	case ISCSI_TM_FUNC_TARGET_WARM_RESET:
	case ISCSI_TM_FUNC_TARGET_COLD_RESET:
		abort_everywhere(conn, -1);
		return ISCSI_TMF_RSP_COMPLETE;
	default:
		return ISCSI_TMF_RSP_NOT_SUPPORTED;
	}
}

static void tmf_rx(struct sim_conn *conn, u8 *buf, u32 len)
{
	struct iscsi_tm *req =
		(struct iscsi_tm *)(buf + sizeof(struct iser_ctrl));
	struct iscsi_tm_rsp *rsp;
	struct sim_pdu *pdu;
	u8 response;

	sim_count(conn->ad, tmfs);
	sim_cmdsn(conn, (struct iscsi_hdr *)req);
	response = do_tmf(conn, req);
	pdu = sim_pdu_start(conn, ISCSI_OP_SCSI_TMFUNC_RSP, 0);
	if (!pdu)
		return;
	rsp = (struct iscsi_tm_rsp *)sim_pdu_bhs(pdu);
	rsp->itt = req->itt;
	rsp->response = response;
	sim_pdu_send(conn, pdu, SIM_AT(rsp_tmf), SIM_ANY_OP);
}

static void logout_rx(struct sim_conn *conn, u8 *buf, u32 len)
{
	struct iscsi_logout *req =
		(struct iscsi_logout *)(buf + sizeof(struct iser_ctrl));
	struct iscsi_logout_rsp *rsp;
	struct sim_pdu *pdu;

	sim_count(conn->ad, logouts);
	sim_cmdsn(conn, (struct iscsi_hdr *)req);
	pdu = sim_pdu_start(conn, ISCSI_OP_LOGOUT_RSP, 0);
	if (!pdu)
		return;
	rsp = (struct iscsi_logout_rsp *)sim_pdu_bhs(pdu);
	rsp->itt = req->itt;
	rsp->response = ISCSI_LOGOUT_SUCCESS;
	conn->phase = SIM_CONN_LOGOUT;
	sim_pdu_send(conn, pdu, SIM_AT(rsp_logout), SIM_ANY_OP);
}

static u64 pdu_points(const struct iscsi_hdr *hdr)
{
	switch (hdr->opcode & ISCSI_OPCODE_MASK) {
	case ISCSI_OP_LOGIN:
		return SIM_AT(pdu) | SIM_AT(login);
	case ISCSI_OP_TEXT:
		return SIM_AT(pdu) | SIM_AT(text);
	case ISCSI_OP_SCSI_DATA_OUT:
		return SIM_AT(pdu) | SIM_AT(dataout);
	case ISCSI_OP_SCSI_TMFUNC:
		return SIM_AT(pdu) | SIM_AT(tmf);
	case ISCSI_OP_NOOP_OUT:
		return SIM_AT(pdu) | SIM_AT(nop);
	case ISCSI_OP_LOGOUT:
		return SIM_AT(pdu) | SIM_AT(logout);
	case ISCSI_OP_SCSI_CMD:
		return 0;	/* they have a place of their own: count_command() */
	default:
		return SIM_AT(pdu);
	}
}

/* Return false where the PDU shall not be looked at any further. */
static bool pdu_fault(struct sim_conn *conn, const struct iscsi_hdr *hdr)
{
	struct sim_act act;

	if (!sim_fault(conn->ad, pdu_points(hdr), SIM_ANY_OP, &act))
		return true;
	if (act.verb == SIM_DO_drop || act.verb == SIM_DO_hold)
		return false;
	if (act.verb == SIM_DO_reject) {
		sim_send_reject(conn, hdr, act.val);
		return false;
	}
	return !sim_conn_act(conn, &act);
}

/* Of the additional headers that there are, only the rest of a long CDB. */
static bool ahs_ok(const struct iscsi_hdr *hdr)
{
	const struct iscsi_ecdb_ahdr *ahs =
		(const struct iscsi_ecdb_ahdr *)(hdr + 1);
	u32 len = be16_to_cpu(ahs->ahslength);	/* with the reserved byte */

	return (hdr->opcode & ISCSI_OPCODE_MASK) == ISCSI_OP_SCSI_CMD &&
	       ahs->ahstype == ISCSI_AHSTYPE_CDB &&
	       len > 1 && len - 1 <= SIM_CDB_MAX - ISCSI_CDB_SIZE &&
	       sim_ahs_len(hdr) == ALIGN(3 + len, 4);
}

/* RFC 7143, section 13.12: until another length is agreed on */
#define SIM_LOGIN_DSL	8192U

/* The iSER header and the lengths.  Return false where they are unusable. */
static bool headers_ok(struct sim_conn *conn, const u8 *buf, u32 len)
{
	const struct iser_ctrl *iser = (const struct iser_ctrl *)buf;
	const struct iscsi_hdr *hdr =
		(const struct iscsi_hdr *)(buf + sizeof(*iser));
	u32 dlen, hlen;

	if (len < HDR_LEN) {
		sim_proto(conn, "PDU of %u bytes is shorter than its headers",
			  len);
		return false;
	}
	dlen = ntoh24(hdr->dlength);
	hlen = HDR_LEN + sim_ahs_len(hdr);
	if ((iser->flags & 0xf0) != ISCSI_CTRL) {
		sim_proto(conn, "iSER header with opcode %#x",
			  iser->flags >> 4);
		return false;
	}
	if ((iser->flags & 0x03) || iser->rsvd[0] || iser->rsvd[1] ||
	    iser->rsvd[2])
		sim_proto(conn, "iSER header: reserved bits are set");
	if (len != hlen + dlen && len != hlen + ALIGN(dlen, 4)) {
		sim_proto(conn, "PDU %#x: %u bytes with headers of %u and a data segment of %u",
			  hdr->opcode, len, hlen, dlen);
		return false;
	}
	if (hdr->hlength && !ahs_ok(hdr)) {
		sim_proto(conn, "PDU %#x with additional header segments",
			  hdr->opcode);
		return false;
	}
	if (dlen > (conn->phase == SIM_CONN_LOGIN ? SIM_LOGIN_DSL :
						    conn->recv_dsl))
		sim_terms(conn, "PDU %#x: data segment of %u is too long",
			  hdr->opcode, dlen);
	if ((iser->flags & (ISER_RSV | ISER_WSV)) &&
	    (hdr->opcode & ISCSI_OPCODE_MASK) != ISCSI_OP_SCSI_CMD)
		sim_proto(conn, "PDU %#x advertises memory", hdr->opcode);
	return true;
}

static void check_statsn(struct sim_conn *conn, const struct iscsi_hdr *hdr)
{
	u32 sn = be32_to_cpu(hdr->exp_statsn);

	/* every request has ExpStatSN at the same place */
	if ((s32)(sn - conn->statsn) > 0 && conn->phase == SIM_CONN_FULL)
		sim_conn_violation(conn, SIM_C_v_statsn,
				   "PDU %#x: ExpStatSN %u, the next is %u",
				   hdr->opcode, sn, conn->statsn);
}

/**
 * sim_target_rx - the target receives a Send
 * @conn: the connection
 * @buf: the message
 * @len: its length
 *
 * Engine context.
 */
void sim_target_rx(struct sim_conn *conn, u8 *buf, u32 len)
{
	struct iscsi_hdr *hdr =
		(struct iscsi_hdr *)(buf + sizeof(struct iser_ctrl));
	u8 op;

	sim_count(conn->ad, pdus_in);
	if (!headers_ok(conn, buf, len)) {
		sim_conn_close(conn, false);
		return;
	}
	if (!pdu_fault(conn, hdr))
		return;
	op = hdr->opcode & ISCSI_OPCODE_MASK;
	check_statsn(conn, hdr);
	if (conn->phase == SIM_CONN_LOGOUT) {
		sim_proto(conn, "PDU %#x after the end", hdr->opcode);
		return;
	}
	if (conn->phase == SIM_CONN_LOGIN) {
		if (op == ISCSI_OP_LOGIN) {
			sim_login_rx(conn, buf, len);
		} else {
			sim_proto(conn, "PDU %#x before login", hdr->opcode);
			sim_conn_close(conn, false);
		}
		return;
	}
	if (op == ISCSI_OP_LOGIN) {
		sim_conn_violation(conn, SIM_C_v_login,
				   "login request after the login");
		sim_send_reject(conn, hdr, ISCSI_REASON_PROTOCOL_ERROR);
		return;
	}
	if (conn->discovery && op != ISCSI_OP_TEXT && op != ISCSI_OP_LOGOUT &&
	    op != ISCSI_OP_NOOP_OUT) {
		sim_proto(conn, "PDU %#x in a discovery session", hdr->opcode);
		sim_send_reject(conn, hdr, ISCSI_REASON_PROTOCOL_ERROR);
		return;
	}
	switch (op) {
	case ISCSI_OP_NOOP_OUT:
		nopout_rx(conn, buf, len);
		break;
	case ISCSI_OP_SCSI_CMD:
		sim_task_rx(conn, buf, len);
		break;
	case ISCSI_OP_SCSI_TMFUNC:
		tmf_rx(conn, buf, len);
		break;
	case ISCSI_OP_TEXT:
		sim_text_rx(conn, buf, len);
		break;
	case ISCSI_OP_SCSI_DATA_OUT:
		sim_dataout_rx(conn, buf, len);
		break;
	case ISCSI_OP_LOGOUT:
		logout_rx(conn, buf, len);
		break;
	default:
		sim_proto(conn, "PDU with opcode %#x", hdr->opcode);
		sim_send_reject(conn, hdr, ISCSI_REASON_CMD_NOT_SUPPORTED);
	}
}

/* ---- life of a connection ---------------------------------------------- */

/**
 * sim_conn_open - a connection was accepted
 * @qp: the initiator's queue pair
 *
 * Engine context.
 *
 * Return: the connection, or NULL without memory.
 */
struct sim_conn *sim_conn_open(struct sim_qp *qp)
{
	struct sim_adapter *ad = qp->ad;
	struct sim_conn *conn = kzalloc(sizeof(*conn), GFP_ATOMIC);

	if (!conn)
		return NULL;
	conn->qp = qp;
	conn->ad = ad;
	conn->target = -1;
	conn->recv_dsl = sim_knob(ad, recv_dsl);
	conn->window = sim_knob(ad, window);
	conn->invalidate = sim_knob(ad, remote_inv) &&
			   qp->connect_flags_valid &&
			   !(qp->connect_flags & ISER_SEND_W_INV_NOT_SUP) &&
			   !(sim_knob(ad, rep_flags) &
			     ISERT_SEND_W_INV_NOT_USED);
	if (qp->connect_flags_valid && (qp->connect_flags & 0x3f))
		sim_proto(conn, "connect: private data flags are %#x",
			  qp->connect_flags);
	INIT_LIST_HEAD(&conn->tasks);
	INIT_LIST_HEAD(&conn->dropped);
	INIT_LIST_HEAD(&conn->delayed);
	list_add_tail(&conn->node, &ad->target.conns);
	sim_gauge_inc(ad, connections);
	return conn;
}

/**
 * sim_conn_free - a connection is over
 * @conn: the connection
 *
 * Engine context; called by sim_cm_lost() only.
 */
void sim_conn_free(struct sim_conn *conn)
{
	struct sim_adapter *ad = conn->ad;
	struct sim_task *task, *next_task;
	struct sim_pdu *pdu, *next;

	list_for_each_entry_safe(task, next_task, &conn->tasks, node)
		sim_task_free(task);
	list_for_each_entry_safe(task, next_task, &conn->dropped, node)
		kfree(task);
	list_for_each_entry_safe(pdu, next, &conn->delayed, node)
		sim_pdu_drop(pdu);
	if (conn->tsih)
		sim_gauge_dec(ad, sessions);
	list_del(&conn->node);
	kfree(conn->text);
	kfree(conn);
	sim_gauge_dec(ad, connections);
}

/**
 * sim_conn_close - the target ends a connection
 * @conn: the connection; it lives on until the engine is back in its loop
 * @orderly: say goodbye
 *
 * Engine context.
 */
void sim_conn_close(struct sim_conn *conn, bool orderly)
{
	struct sim_qp *qp = conn->qp;
	struct iw_cm_event ev = { .event = IW_CM_EVENT_DISCONNECT };

	if (orderly && qp->cm_state == SIM_CM_UP &&
	    qp->state == IB_QPS_RTS)
		qp->cm_id->event_handler(qp->cm_id, &ev);
	sim_qp_fail(qp);
}

/**
 * sim_target_init - prepare the target of an adapter
 * @ad: the adapter
 *
 * Return: 0 or a negative error number.
 */
int sim_target_init(struct sim_adapter *ad)
{
	INIT_LIST_HEAD(&ad->target.conns);
	xa_init(&ad->target.stores);
	ad->target.buf = kmalloc(SIM_TARGET_BUF, GFP_KERNEL);
	return ad->target.buf ? 0 : -ENOMEM;
}

/**
 * sim_target_exit - release what the target owns
 * @ad: the adapter; it has no connections any more
 */
void sim_target_exit(struct sim_adapter *ad)
{
	if (!ad->target.buf)
		return;
	sim_stores_free(ad);
	kfree(ad->target.buf);
}
