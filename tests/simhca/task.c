// SPDX-License-Identifier: GPL-2.0-only
/*
 * SCSI commands: from request to response
 *
 * Normal operation: a command is decoded (scsi.c), immediate data go to where
 * they belong, unsolicited Data-Out PDUs follow, what is left is fetched with
 * RDMA Reads; data for the initiator are placed with RDMA Writes; then the
 * response leaves, with an invalidation of the command's key where both sides
 * agreed on it.  All of that happens in one go unless unsolicited data are
 * outstanding or a fault puts it off, so a connection rarely has more than
 * one task on its list.
 *
 * What the initiator advertises is checked against what the command needs:
 * valid keys, no more bytes and rights than necessary, and no key of the last
 * command with the same task tag still alive.
 *
 * Recovery: task management removes tasks that are on the list; a lost
 * connection removes all.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <scsi/scsi_proto.h>

#include "simhca.h"

#define SENSE_LEN 18

static void task_run(struct sim_task *task);

/* ---- life -------------------------------------------------------------- */

static void task_timer(struct sim_timer *timer);

static struct sim_task *task_new(struct sim_conn *conn)
{
	struct sim_task *task = kzalloc(sizeof(*task), GFP_ATOMIC);

	if (!task)
		return NULL;
	task->conn = conn;
	sim_timer_init(&task->timer, task_timer);
	list_add_tail(&task->node, &conn->tasks);
	sim_gauge_inc(conn->ad, tasks);
	return task;
}

/**
 * sim_task_free - forget a command
 * @task: the command, answered or aborted
 *
 * Of one whose unsolicited data were still on their way its tag remains, so
 * that they can be told from data for nothing, until the last of them are here.
 * Engine context.
 */
void sim_task_free(struct sim_task *task)
{
	struct sim_conn *conn = task->conn;

	sim_timer_stop(&task->timer);
	list_del(&task->node);
	if (!task->immediate && !task->answered)
		conn->outstanding--;
	kfree(task->param);
	sim_gauge_dec(conn->ad, tasks);
	if (task->await_data)
		list_add(&task->node, &conn->dropped);
	else
		kfree(task);
}

/* Data for a command that was dropped mean nothing.  Return whether they are. */
static bool drop_data(struct sim_conn *conn, const struct iscsi_data *hdr)
{
	struct sim_task *task;

	list_for_each_entry(task, &conn->dropped, node) {
		if (task->itt != (__force u32)hdr->itt)
			continue;
		if (hdr->flags & ISCSI_FLAG_CMD_FINAL) {
			list_del(&task->node);
			kfree(task);
		}
		return true;
	}
	return false;
}

/**
 * sim_task_find - find a command in progress
 * @conn: the connection
 * @itt: its task tag
 *
 * Return: the command or NULL.
 */
struct sim_task *sim_task_find(struct sim_conn *conn, u32 itt)
{
	struct sim_task *task;

	list_for_each_entry(task, &conn->tasks, node)
		if (task->itt == itt && !task->answered)
			return task;
	return NULL;
}

/**
 * sim_task_fail - let a command end with a status
 * @task: the command
 * @status: SCSI status
 * @sense: sense key and codes, for CHECK CONDITION
 */
void sim_task_fail(struct sim_task *task, u8 status, u32 sense)
{
	task->status = status;
	task->sense = sense;
}

/* ---- data -------------------------------------------------------------- */

static u32 expected(struct sim_task *task)
{
	return min_t(u64, task->edtl, task->len);
}

/* Data that came with PDUs. */
static void take_data(struct sim_task *task, u32 off, const u8 *data, u32 len)
{
	if ((u64)off + len > expected(task))
		len = off < expected(task) ? expected(task) - off : 0;
	if (task->status || !len)
		return;
	if (task->xfer == SIM_XFER_PARAM_OUT)
		memcpy(task->param + off, data, len);
	else if (task->xfer == SIM_XFER_MEDIA_OUT &&
		 !sim_knob(task->conn->ad, null_data) &&
		 !sim_store_write(task->conn->ad, task->store, task->pos + off,
				  data, len))
		sim_task_fail(task, SAM_STAT_TASK_SET_FULL, 0);
	task->moved += len;
}

/*
 * One RDMA operation, within one page of the medium.  For one that there is no
 * memory for the initiator may ask again.
 */
static bool media_piece(struct sim_task *task, u32 key, u64 va, u32 off, u32 n,
			bool write)
{
	struct sim_adapter *ad = task->conn->ad;
	bool in = task->xfer == SIM_XFER_MEDIA_IN;
	u64 pos = task->pos + off;
	u8 *page;

	page = sim_store_page(ad, task->store, pos, !in);
	if (page)
		page += offset_in_page(pos);
	else if (in)
		page = page_address(ZERO_PAGE(0));
	else
		sim_task_fail(task, SAM_STAT_TASK_SET_FULL, 0);
	return !page || sim_qp_rdma(task->conn->qp, key, va, page, n, write);
}

static bool move_media(struct sim_task *task, u32 key, u64 va, u32 off,
		       u32 len, bool write)
{
	u32 n;

	if (sim_knob(task->conn->ad, null_data))
		return sim_qp_rdma(task->conn->qp, key, va, NULL, len, write);
	for (; len && !task->status; off += n, va += n, len -= n) {
		n = min_t(u32, len,
			  PAGE_SIZE - offset_in_page(task->pos + off));
		if (!media_piece(task, key, va, off, n, write))
			return false;
	}
	return true;
}

/* Fetch what has to be solicited. */
static bool pull(struct sim_task *task)
{
	u32 want = expected(task), done = task->unsolicited;
	struct sim_conn *conn = task->conn;
	bool ok;

	if (want <= done || task->act.verb == SIM_DO_nodata)
		return true;
	want -= done;
	if (task->act.verb == SIM_DO_partial)
		want /= 2;
	if (!task->write_key) {
		sim_proto(conn, "write of %u bytes, %u unsolicited, without STag",
			  task->edtl, done);
		sim_task_fail(task, SAM_STAT_CHECK_CONDITION,
			      SIM_SENSE(ABORTED_COMMAND, 0x0c, 0x0c));
		return true;
	}
	sim_count_n(conn->ad, bytes_rdma_read, want);
	if (task->xfer == SIM_XFER_PARAM_OUT)
		ok = sim_qp_rdma(conn->qp, task->write_key, task->write_va,
				 task->param + done, want, false);
	else
		ok = move_media(task, task->write_key, task->write_va, done,
				want, false);
	if (ok)
		task->moved += want;
	return ok;
}

/* Place what the initiator wants to read. */
static bool push(struct sim_task *task)
{
	u32 len = expected(task);
	struct sim_conn *conn = task->conn;
	bool ok;

	if (!len || task->act.verb == SIM_DO_nodata)
		return true;
	if (task->act.verb == SIM_DO_partial)
		len /= 2;
	if (!task->read_key) {
		sim_proto(conn, "read of %u bytes without STag", task->edtl);
		sim_task_fail(task, SAM_STAT_CHECK_CONDITION,
			      SIM_SENSE(ABORTED_COMMAND, 0x0c, 0x0c));
		return true;
	}
	sim_count_n(conn->ad, bytes_rdma_write, len);
	if (task->xfer == SIM_XFER_BUF_IN)
		ok = sim_qp_rdma(conn->qp, task->read_key, task->read_va,
				 conn->ad->target.buf, len, true);
	else
		ok = move_media(task, task->read_key, task->read_va, 0, len,
				true);
	if (ok)
		task->moved += len;
	return ok;
}

/* Return false where the initiator's memory could not be used. */
static bool move_data(struct sim_task *task)
{
	switch (task->xfer) {
	case SIM_XFER_MEDIA_OUT:
		return pull(task);
	case SIM_XFER_PARAM_OUT:
		if (!pull(task))
			return false;
		if (!task->status)
			sim_scsi_params(task);
		return true;
	case SIM_XFER_BUF_IN:
		sim_scsi_decode(task);	/* fills the target's buffer */
		return push(task);
	case SIM_XFER_MEDIA_IN:
		return push(task);
	default:
		return true;
	}
}

/* ---- response ---------------------------------------------------------- */

static void put_sense(struct sim_task *task, struct sim_pdu *pdu)
{
	u8 data[2 + SENSE_LEN] = { 0, SENSE_LEN };
	u8 *sense = data + 2;

	sense[0] = 0x70;	/* current, fixed format */
	sense[2] = task->sense >> 16;
	sense[7] = SENSE_LEN - 8;
	sense[12] = task->sense >> 8;
	sense[13] = task->sense;
	sim_pdu_data(pdu, data, sizeof(data));
}

static void put_residual(struct sim_task *task, struct iscsi_scsi_rsp *rsp)
{
	u64 len = task->status ? task->moved : task->len;

	if (len < task->edtl) {
		rsp->flags |= ISCSI_FLAG_CMD_UNDERFLOW;
		rsp->residual_count = cpu_to_be32(task->edtl - len);
	} else if (len > task->edtl) {
		rsp->flags |= ISCSI_FLAG_CMD_OVERFLOW;
		rsp->residual_count = cpu_to_be32(len - task->edtl);
	}
}

static void respond(struct sim_task *task)
{
	struct sim_conn *conn = task->conn;
	u32 key = task->read_key ?: task->write_key;
	struct iscsi_scsi_rsp *rsp;
	struct sim_pdu *pdu;

	pdu = sim_pdu_start(conn, ISCSI_OP_SCSI_CMD_RSP, 2 + SENSE_LEN);
	if (!pdu)
		return;
	rsp = (struct iscsi_scsi_rsp *)sim_pdu_bhs(pdu);
	rsp->itt = (__force itt_t)task->itt;
	rsp->response = task->response;
	rsp->cmd_status = task->status;
	put_residual(task, rsp);
	if (task->status)
		sim_count(conn->ad, cmds_failed);
	if (task->status == SAM_STAT_CHECK_CONDITION)
		put_sense(task, pdu);
	if (conn->invalidate && key) {
		pdu->invalidate = true;
		pdu->inv_key = key;
	}
	/* the slot in the window is free when the response leaves */
	if (!task->immediate)
		conn->outstanding--;
	task->answered = true;
	sim_pdu_send(conn, pdu, task->points, task->cdb[0]);
}

/* ---- execution --------------------------------------------------------- */

static void run_later(struct sim_task *task, u32 us)
{
	sim_timer_start(task->conn->ad, &task->timer,
			ktime_get_ns() + (u64)us * NSEC_PER_USEC);
}

static void task_timer(struct sim_timer *timer)
{
	struct sim_task *task = container_of(timer, struct sim_task, timer);

	if (!task->answered) {
		task_run(task);
		return;
	}
	/* data after the response: the fault that was asked for */
	task->conn->ad->provoking = true;
	move_data(task);
	task->conn->ad->provoking = false;
	sim_task_free(task);
}

static void task_run(struct sim_task *task)
{
	bool early = task->act.verb == SIM_DO_early;
	bool touch = task->act.verb == SIM_DO_touch;

	if (!task->status && !early && !move_data(task)) {
		sim_task_free(task);	/* the connection is lost */
		return;
	}
	respond(task);
	if (early || touch)
		run_later(task, task->act.us);
	else
		sim_task_free(task);
}

/* Apply the command's fault.  Return false where it shall not run now. */
static bool task_fault(struct sim_task *task)
{
	struct sim_act *act = &task->act;

	switch (act->verb) {
	case SIM_DO_hold:
	case SIM_DO_drop:
		return false;
	case SIM_DO_delay:
		run_later(task, act->us);
		return false;
	case SIM_DO_check:
		sim_task_fail(task, SAM_STAT_CHECK_CONDITION, act->val);
		return true;
	case SIM_DO_status:
		sim_task_fail(task, act->val, 0);
		return true;
	case SIM_DO_response:
		task->response = act->val;
		return true;
	case SIM_DO_early:
	case SIM_DO_nodata:
	case SIM_DO_partial:
	case SIM_DO_touch:
		return true;
	default:
		sim_conn_act(task->conn, act);
		return true;
	}
}

static void task_go(struct sim_task *task)
{
	if (task->act.verb != SIM_DO_none && !task_fault(task))
		return;
	task_run(task);
}

/* ---- checks ------------------------------------------------------------ */

static void check_key(struct sim_task *task, u32 key, u64 va, u32 need,
		      int rights)
{
	struct sim_conn *conn = task->conn;
	struct sim_mr *mr = sim_mr_by_key(conn->ad, key);

	if (!mr) {
		if (sim_mr_stolen(conn->ad, key))
			return;
		sim_violation(conn->ad, SIM_C_v_mr_bad_key,
			      "QP %u: command advertises key %#x, which is not valid",
			      conn->qp->ib.qp_num, key);
		return;
	}
	if (mr->access & ~rights)
		sim_violation(conn->ad, SIM_C_v_mr_excess_rights,
			      "QP %u: key %#x grants rights %#x, %#x would do",
			      conn->qp->ib.qp_num, key, mr->access, rights);
	if (mr->dma_mr || va < mr->iova || mr->length > need)
		sim_violation(conn->ad, SIM_C_v_mr_excess_range,
			      "QP %u: key %#x covers %llu bytes, the command needs %u",
			      conn->qp->ib.qp_num, key, mr->length, need);
}

static void check_old_key(struct sim_conn *conn, u32 index, u32 old, u32 now)
{
	if (!old || old == now || !sim_mr_by_key(conn->ad, old))
		return;
	sim_violation(conn->ad, SIM_C_v_itt_live_rkey,
		      "QP %u: task %u comes back, its old key %#x is still valid",
		      conn->qp->ib.qp_num, index, old);
}

/* A task that comes back was finished, and so must its keys have been. */
static void check_old_keys(struct sim_task *task)
{
	struct sim_conn *conn = task->conn;
	u32 index = (__force u32)task->itt & SIM_ITT_INDEX;
	u32 slot = index % SIM_ITT_SLOTS;

	if (conn->old_keys[slot].index == index) {
		check_old_key(conn, index, conn->old_keys[slot].key[0],
			      task->read_key);
		check_old_key(conn, index, conn->old_keys[slot].key[1],
			      task->write_key);
	}
	conn->old_keys[slot].index = index;
	conn->old_keys[slot].key[0] = task->read_key;
	conn->old_keys[slot].key[1] = task->write_key;
}

static void check_advertised(struct sim_task *task, const struct iser_ctrl *iser)
{
	struct sim_conn *conn = task->conn;
	bool r = task->flags & ISCSI_FLAG_CMD_READ;
	bool w = task->flags & ISCSI_FLAG_CMD_WRITE;

	if ((iser->flags & ISER_RSV) && !r)
		sim_proto(conn, "Read STag on a command that does not read");
	if ((iser->flags & ISER_WSV) && !w)
		sim_proto(conn, "Write STag on a command that does not write");
	if (!r && !w && task->edtl)
		sim_proto(conn, "command without R and W expects %u bytes",
			  task->edtl);
	if (sim_task_find(conn, task->itt) != task)
		sim_proto(conn, "task tag %#x is in use already",
			  be32_to_cpu((__force __be32)task->itt));
	check_old_keys(task);
	if (task->read_key)
		check_key(task, task->read_key, task->read_va, task->edtl,
			  IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE);
	if (task->write_key)
		check_key(task, task->write_key, task->write_va, task->edtl,
			  IB_ACCESS_REMOTE_READ);
}

static void check_unsolicited(struct sim_task *task, u32 dlen)
{
	struct sim_conn *conn = task->conn;

	if (dlen && !conn->imm_data)
		sim_terms(conn, "immediate data, which were not agreed on");
	if (dlen && !(task->flags & ISCSI_FLAG_CMD_WRITE))
		sim_proto(conn, "immediate data on a command that does not write");
	if (task->await_data && conn->initial_r2t)
		sim_terms(conn, "unsolicited data, which were not agreed on");
	if (dlen > conn->first_burst)
		sim_terms(conn, "%u bytes of immediate data, FirstBurstLength is %u",
			  dlen, conn->first_burst);
	if (dlen > task->edtl)
		sim_proto(conn, "%u bytes of immediate data, %u are expected",
			  dlen, task->edtl);
}

/* ---- PDUs -------------------------------------------------------------- */

/* What is beyond the room in the header follows it. */
static void fill_cdb(struct sim_task *task, const struct iscsi_scsi_req *req)
{
	const struct iscsi_ecdb_ahdr *ahs =
		(const struct iscsi_ecdb_ahdr *)(req + 1);

	memcpy(task->cdb, req->cdb, sizeof(req->cdb));
	if (req->hlength)
		memcpy(task->cdb + sizeof(req->cdb), ahs->ecdb,
		       be16_to_cpu(ahs->ahslength) - 1);
}

static void fill_task(struct sim_task *task, const struct iser_ctrl *iser,
		      const struct iscsi_scsi_req *req)
{
	const u8 *l = req->lun.scsi_lun;

	task->itt = (__force u32)req->itt;
	task->flags = req->flags;
	task->edtl = be32_to_cpu(req->data_length);
	task->lun = (l[0] & 0x3f) << 8 | l[1];
	fill_cdb(task, req);
	if (iser->flags & ISER_RSV) {
		task->read_key = be32_to_cpu(iser->read_stag);
		task->read_va = be64_to_cpu(iser->read_va);
	}
	if (iser->flags & ISER_WSV) {
		task->write_key = be32_to_cpu(iser->write_stag);
		task->write_va = be64_to_cpu(iser->write_va);
	}
	task->await_data = (req->flags & ISCSI_FLAG_CMD_WRITE) &&
			   !(req->flags & ISCSI_FLAG_CMD_FINAL);
}

static u64 count_command(struct sim_task *task)
{
	struct sim_adapter *ad = task->conn->ad;

	sim_count(ad, cmds);
	task->points = SIM_AT(rsp_cmd);
	if (task->xfer == SIM_XFER_MEDIA_IN) {
		sim_count(ad, cmds_read);
		task->points |= SIM_AT(rsp_read);
		return SIM_AT(pdu) | SIM_AT(cmd) | SIM_AT(read);
	}
	if (task->xfer == SIM_XFER_MEDIA_OUT) {
		sim_count(ad, cmds_write);
		task->points |= SIM_AT(rsp_write);
		return SIM_AT(pdu) | SIM_AT(cmd) | SIM_AT(write);
	}
	sim_count(ad, cmds_other);
	return SIM_AT(pdu) | SIM_AT(cmd);
}

/**
 * sim_task_rx - a SCSI command arrives
 * @conn: the connection
 * @buf: the PDU
 * @len: its length
 *
 * Engine context.
 */
void sim_task_rx(struct sim_conn *conn, u8 *buf, u32 len)
{
	struct iser_ctrl *iser = (struct iser_ctrl *)buf;
	struct iscsi_scsi_req *req =
		(struct iscsi_scsi_req *)(buf + sizeof(*iser));
	u32 hlen = HDR_LEN + sim_ahs_len((struct iscsi_hdr *)req);
	u32 dlen = ntoh24(req->dlength);
	struct sim_task *task = task_new(conn);
	u64 points;

	if (!task) {
		sim_conn_close(conn, false);
		return;
	}
	fill_task(task, iser, req);
	task->immediate = sim_cmdsn(conn, (struct iscsi_hdr *)req);
	if (!task->immediate)
		conn->outstanding++;
	check_advertised(task, iser);
	check_unsolicited(task, dlen);
	sim_scsi_decode(task);
	points = count_command(task);
	take_data(task, 0, buf + hlen, dlen);
	task->unsolicited = dlen;
	sim_count_n(conn->ad, bytes_immediate, dlen);
	sim_fault(conn->ad, points, task->cdb[0], &task->act);
	if (task->act.verb == SIM_DO_reject) {
		u8 reason = task->act.val;

		/* first, as the Reject may be made the answer to any task */
		sim_task_free(task);
		sim_send_reject(conn, req, reason);
		return;
	}
	if (!task->await_data)
		task_go(task);
}

/**
 * sim_dataout_rx - unsolicited data arrive
 * @conn: the connection
 * @buf: the PDU
 * @len: its length
 *
 * Engine context.
 */
void sim_dataout_rx(struct sim_conn *conn, u8 *buf, u32 len)
{
	struct iscsi_data *hdr =
		(struct iscsi_data *)(buf + sizeof(struct iser_ctrl));
	struct sim_task *task = sim_task_find(conn, (__force u32)hdr->itt);
	u32 dlen = ntoh24(hdr->dlength);

	if (!task && drop_data(conn, hdr))
		return;
	if (!task || !task->await_data) {
		sim_proto(conn, "Data-Out for task tag %#x, which expects none",
			  be32_to_cpu((__force __be32)hdr->itt));
		return;
	}
	if (hdr->ttt != cpu_to_be32(ISCSI_RESERVED_TAG))
		sim_proto(conn, "Data-Out with TTT %#x: nothing was solicited",
			  be32_to_cpu(hdr->ttt));
	if (be32_to_cpu(hdr->datasn) != task->datasn)
		sim_proto(conn, "Data-Out with DataSN %u instead of %u",
			  be32_to_cpu(hdr->datasn), task->datasn);
	if (be32_to_cpu(hdr->offset) != task->unsolicited)
		sim_proto(conn, "Data-Out at offset %u instead of %u",
			  be32_to_cpu(hdr->offset), task->unsolicited);
	if (task->unsolicited + dlen > conn->first_burst)
		sim_terms(conn, "%u bytes unsolicited, FirstBurstLength is %u",
			  task->unsolicited + dlen, conn->first_burst);
	if (task->unsolicited + dlen > task->edtl)
		sim_proto(conn, "%u bytes unsolicited, %u are expected",
			  task->unsolicited + dlen, task->edtl);
	task->datasn++;
	take_data(task, task->unsolicited, buf + HDR_LEN, dlen);
	task->unsolicited += dlen;
	sim_count_n(conn->ad, bytes_unsolicited, dlen);
	if (hdr->flags & ISCSI_FLAG_CMD_FINAL) {
		task->await_data = false;
		task_go(task);
	}
}
