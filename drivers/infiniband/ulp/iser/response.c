// SPDX-License-Identifier: GPL-2.0-only
/*
 * Receive completion -> iSCSI response.
 *
 * Normal operation: a PDU is validated by itself (wire.h), then against what
 * this side has asked: the tag must be that of a request which is waiting, the
 * opcode must be the one that answers it, and a key that the target says it
 * invalidated must be the one that this very command advertised. Only then
 * libiscsi gets it. A key that the target left alive is killed here; the
 * command is finished when that has completed.
 *
 * Recovery: anything that doesn't fit drops the connection, with one line that
 * names what was wrong. Nothing of it is believed or answered (but for the
 * window of commands, by libiscsi, if that is who refuses); commands that were
 * waiting are tried again on a new connection.
 */
#include <scsi/scsi_cmnd.h>
#include "iser.h"
#include "trace.h"

#define ISER_RSP_RESIDUAL	(ISCSI_FLAG_CMD_UNDERFLOW |		\
				 ISCSI_FLAG_CMD_OVERFLOW |		\
				 ISCSI_FLAG_CMD_BIDI_UNDERFLOW |	\
				 ISCSI_FLAG_CMD_BIDI_OVERFLOW)

/* What is wrong with a PDU that is sound by itself */
static const char iser_bad_itt[] = "no request with this tag is waiting";
static const char iser_bad_answer[] = "opcode does not answer the request";
static const char iser_bad_inval[] = "invalidates a key that is not its own";
static const char iser_bad_reject[] = "Reject of what was not sent";
static const char iser_not_send[] = "not a plain Send";
static const char iser_too_early[] = "full-feature PDU during login";
static const char iser_too_many[] = "floods with PDUs that answer nothing";
/* Or with this side, which the target is not to be blamed for */
static const char iser_untold[] = "iscsid can't be told: no memory, or it is not there";

/*
 * The task that waits for an answer to the request with this tag, which must
 * match to the last bit: an answer to the slot's previous user does not
 * complete the present one. Nor is there an answer to what was not posted.
 * Context: back_lock held.
 */
static struct iscsi_task *iser_find_waiting(struct iser_conn *conn, itt_t itt)
{
	unsigned int i = iser_itt_index((__force u32)itt);
	struct iscsi_task *task;
	struct iser_slot *slot;

	if (i >= conn->nr_slots)
		return NULL;
	task = conn->iscsi->session->cmds[i];
	slot = &conn->slots[i];
	/* Pairs with iser_doorbell() */
	if (!smp_load_acquire(&slot->posted) || task->state != ISCSI_TASK_RUNNING ||
	    iser_slot_hdr(slot)->itt != itt)
		return NULL;
	return task;
}

/* The task that a response is for. Context: back_lock held. */
static struct iscsi_task *iser_find_task(struct iser_conn *conn,
					 const struct iser_pdu *pdu,
					 const char **why)
{
	struct iscsi_task *task;
	bool is_command;

	*why = iser_bad_itt;
	task = iser_find_waiting(conn, pdu->hdr->itt);
	if (!task)
		return NULL;

	*why = iser_bad_answer;
	if (iser_response_opcode(task->hdr->opcode) != pdu->opcode)
		return NULL;
	is_command = pdu->opcode == ISCSI_OP_SCSI_CMD_RSP;
	return !!task->sc == is_command ? task : NULL;
}

/* Context: back_lock held. Is the key dead, or what is to be done about it? */
static const char *iser_settle_key(struct iser_conn *conn,
				   struct iscsi_task *task,
				   const struct ib_wc *wc)
{
	struct iser_task *it = iser_task(task);

	if (wc->wc_flags & IB_WC_WITH_INVALIDATE) {
		if (!it->rkey_live || it->inv_posted ||
		    wc->ex.invalidate_rkey != it->mr->mr->rkey)
			return iser_bad_inval;
		trace_iser_invalidated(conn, task->itt, it->mr->mr->rkey, true);
		it->rkey_live = false;
		conn->stats.inv_remote++;
		iser_sq_release(conn, 1);
		__iscsi_put_task(task);
	} else {
		iser_mr_invalidate(conn, task);
	}
	return NULL;
}

/*
 * The residual count of an overflow says what the target had beyond the
 * buffer, which is full. Left as it is, it would be taken for bytes that are
 * missing in the buffer, even for more than it holds.
 */
static void iser_fix_overflow(struct iscsi_hdr *hdr)
{
	struct iscsi_scsi_rsp *rsp = (struct iscsi_scsi_rsp *)hdr;

	if (rsp->flags & ISCSI_FLAG_CMD_OVERFLOW) {
		rsp->flags &= ~ISCSI_FLAG_CMD_OVERFLOW;
		rsp->residual_count = 0;
	}
}

/*
 * All other PDUs, with a copy of the header: nobody but the adapter writes to
 * a receive. Not inlined, as it would be cleared for each response.
 * Context: back_lock held. Return: NULL, or what is wrong.
 */
static noinline const char *iser_pass_on(struct iscsi_conn *iscsi,
					 const struct iser_pdu *pdu)
{
	struct iscsi_hdr hdr = *pdu->hdr;

	if (pdu->opcode == ISCSI_OP_SCSI_CMD_RSP)
		iser_fix_overflow(&hdr);
	switch (__iscsi_complete_pdu(iscsi, &hdr, pdu->data, pdu->datalen)) {
	case 0:
		return NULL;
	case ISCSI_ERR_CONN_FAILED:
		return iser_untold;
	default:
		return "refused by the iSCSI layer";
	}
}

/* What nearly all responses say: done, all data moved, and no more */
static bool iser_is_plain(const struct iser_pdu *pdu)
{
	const struct iscsi_scsi_rsp *rsp =
		(const struct iscsi_scsi_rsp *)pdu->hdr;

	return rsp->response == ISCSI_STATUS_CMD_COMPLETED &&
	       rsp->cmd_status == SAM_STAT_GOOD && !pdu->datalen &&
	       !(rsp->flags & ISER_RSP_RESIDUAL);
}

/*
 * libiscsi's short way for such a response: it would look for the task again,
 * and for what is known not to be there. Context: back_lock held.
 */
static void iser_complete_plain(struct iscsi_conn *iscsi,
				struct iscsi_task *task,
				const struct iscsi_hdr *hdr)
{
	const struct iscsi_scsi_rsp *rsp = (const struct iscsi_scsi_rsp *)hdr;

	iscsi->exp_statsn = be32_to_cpu(rsp->statsn) + 1;
	iscsi->scsirsp_pdus_cnt++;
	task->sc->result = DID_OK << 16 | SAM_STAT_GOOD;
	iscsi_complete_scsi_task(task, be32_to_cpu(rsp->exp_cmdsn),
				 be32_to_cpu(rsp->max_cmdsn));
}

/*
 * A Reject carries the header of what it rejects, and libiscsi completes the
 * task of a NOP-Out that it finds there: so that must be one that waits. Not
 * inlined, for the sake of the stack of those who have no such copy.
 * Context: back_lock held. Return: NULL, or what is wrong.
 */
static noinline const char *
iser_check_reject(struct iser_conn *conn, const struct iser_pdu *pdu)
{
	struct iscsi_hdr rejected;
	struct iscsi_task *task;

	if (pdu->datalen < sizeof(rejected))
		return iser_bad_reject;
	memcpy(&rejected, pdu->data, sizeof(rejected));
	if ((rejected.opcode & ISCSI_OPCODE_MASK) != ISCSI_OP_NOOP_OUT ||
	    rejected.itt == RESERVED_ITT)
		return NULL;
	task = iser_find_waiting(conn, rejected.itt);
	if (!task || task->sc ||
	    (task->hdr->opcode & ISCSI_OPCODE_MASK) != ISCSI_OP_NOOP_OUT)
		return iser_bad_reject;
	return NULL;
}

/* Only a SCSI response may come with an invalidation: RFC 7145, 7.3.6 */
static bool iser_inval_allowed(const struct iser_pdu *pdu,
			       const struct ib_wc *wc)
{
	return !(wc->wc_flags & IB_WC_WITH_INVALIDATE) ||
	       pdu->opcode == ISCSI_OP_SCSI_CMD_RSP;
}

/* A SCSI response. Context: back_lock held. Return: NULL, or what is wrong. */
static const char *iser_complete_command(struct iser_conn *conn,
					 struct iscsi_task *task,
					 const struct iser_pdu *pdu,
					 const struct ib_wc *wc)
{
	const char *why = iser_settle_key(conn, task, wc);

	if (why)
		return why;
	if (task->sc->sc_data_direction == DMA_FROM_DEVICE)
		conn->iscsi->rxdata_octets += scsi_bufflen(task->sc);
	if (!iser_is_plain(pdu))
		return iser_pass_on(conn->iscsi, pdu);
	iser_complete_plain(conn->iscsi, task, pdu->hdr);
	return NULL;
}

/*
 * Pings, messages and rejects. libiscsi answers, logs or reports each to iscsid,
 * whose socket all sessions share: so there is a limit to what it gets.
 * Context: back_lock held. Return: NULL, or what is wrong.
 */
static const char *iser_complete_unasked(struct iser_conn *conn,
					 const struct iser_pdu *pdu)
{
	const char *why = NULL;

	if (pdu->opcode == ISCSI_OP_REJECT)
		why = iser_check_reject(conn, pdu);
	if (!why && !__ratelimit(&conn->unasked))
		why = iser_too_many;
	return why ?: iser_pass_on(conn->iscsi, pdu);
}

/* Context: back_lock held. Return: NULL, or what is wrong. */
static const char *iser_complete(struct iser_conn *conn,
				 const struct iser_pdu *pdu,
				 const struct ib_wc *wc)
{
	struct iscsi_task *task;
	const char *why;

	if (!iser_inval_allowed(pdu, wc))
		return iser_bad_inval;
	/* Before full-feature phase there are login responses and rejects */
	if (!READ_ONCE(conn->rx_posted) && !READ_ONCE(conn->discovery) &&
	    pdu->opcode != ISCSI_OP_LOGIN_RSP && pdu->opcode != ISCSI_OP_REJECT)
		return iser_too_early;

	if (pdu->hdr->itt == RESERVED_ITT)
		return iser_complete_unasked(conn, pdu);
	task = iser_find_task(conn, pdu, &why);
	if (!task)
		return why;
	if (task->sc)
		return iser_complete_command(conn, task, pdu, wc);
	why = iser_pass_on(conn->iscsi, pdu);
	if (!why && pdu->opcode == ISCSI_OP_LOGOUT_RSP)
		WRITE_ONCE(conn->logged_out, true);
	return why;
}

/*
 * An answer can be here before iser_doorbell() has come back from the adapter
 * and said that there can be one. It does so with frwd_lock held: what seems to
 * answer nothing is looked at again after that.
 */
static const char *iser_answer(struct iser_conn *conn,
			       const struct iser_pdu *pdu,
			       const struct ib_wc *wc)
{
	struct iscsi_session *session = conn->iscsi->session;
	const char *why;

	spin_lock(&session->back_lock);
	why = iser_complete(conn, pdu, wc);
	spin_unlock(&session->back_lock);
	if (likely(why != iser_bad_itt && why != iser_bad_reject))
		return why;

	spin_lock(&session->frwd_lock);
	spin_lock(&session->back_lock);
	why = iser_complete(conn, pdu, wc);
	spin_unlock(&session->back_lock);
	spin_unlock(&session->frwd_lock);
	return why;
}

static const char *iser_handle(struct iser_conn *conn, struct iser_rx *rx,
			       const struct ib_wc *wc, struct iser_pdu *pdu)
{
	enum iser_fault fault;

	/* RDMA Write with Immediate takes a receive and leaves it as it was */
	if (wc->opcode != IB_WC_RECV || wc->wc_flags & IB_WC_WITH_IMM ||
	    wc->byte_len > rx->sge.length)
		return iser_not_send;
	fault = iser_pdu_check(rx->buf, wc->byte_len, pdu);
	if (fault)
		return iser_fault_text(fault);
	trace_iser_recv(conn, pdu->hdr, wc->byte_len,
			wc->wc_flags & IB_WC_WITH_INVALIDATE);
	return iser_answer(conn, pdu, wc);
}

/* The opcode, whether or not the message got as far as having one */
static u8 iser_opcode_of(const struct iser_rx *rx, u32 len)
{
	if (len < ISER_HEADERS_LEN)
		return 0xff;
	return ((struct iscsi_hdr *)(rx->buf + sizeof(struct iser_ctrl)))->opcode;
}

static const char *iser_prefix(const char *why)
{
	return why == iser_untold ? "" : "protocol error: ";
}

/**
 * iser_recv_done - a PDU has arrived, or never will
 * @cq: completion queue
 * @wc: completion
 *
 * Context: softirq; one at a time for a connection.
 */
void iser_recv_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct iser_rx *rx = container_of(wc->wr_cqe, struct iser_rx, cqe);
	struct iser_conn *conn = wc->qp->qp_context;
	struct iser_pdu pdu = {};
	const char *why;

	if (wc->status != IB_WC_SUCCESS) {
		iser_wc_error(conn, wc, "receive");
		return;
	}
	if (!iser_conn_listens(conn))
		return;

	why = iser_handle(conn, rx, wc, &pdu);
	if (why && iser_conn_condemn(conn))
		iser_err(conn, "%s%s (PDU of %u bytes, opcode %#x, tag %#x), connection dropped\n",
			 iser_prefix(why), why, wc->byte_len,
			 iser_opcode_of(rx, wc->byte_len),
			 pdu.hdr ? (__force u32)pdu.hdr->itt : 0);
	iser_rx_give_back(conn, rx);
}
