// SPDX-License-Identifier: GPL-2.0-only
/*
 * iSCSI task -> work requests, and the end of a task.
 *
 * Normal operation: libiscsi has built the PDU right in the task's slot. A
 * command's pages are mapped for DMA; what is not part of a Send (all of a
 * READ; of a WRITE, what is left after immediate and unsolicited data) is
 * registered and advertised in the iSER header. The work requests of a command
 * are: registration, command Send, Data-Out Sends. They are chained until the
 * last command of a batch.
 *
 * A task is finished when libiscsi's last reference to it is gone: one for
 * the response, one while the target's key is alive, one for each signalled
 * Send (those of user pages all are) that has not completed. Then, and not
 * before, the pages are unmapped and the command goes back to the SCSI layer.
 *
 * Recovery: a command that finds no send queue entry, headers, MR or mapping is
 * put off (busy), not failed. After an abort or a reset the error handlers here
 * kill the keys of the commands it hit, and wait until they are finished,
 * because the SCSI layer uses them again at once. When the connection goes
 * down, iser_tasks_release_all() takes back what a drained queue pair can no
 * longer touch.
 */
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_eh.h>
#include <scsi/scsi_host.h>
#include "iser.h"
#include "trace.h"

/* A local invalidate that takes longer hangs behind Sends nobody answers */
#define ISER_RELEASE_TIMEOUT	(5 * HZ)
#define ISER_RELEASE_POLL	(HZ / 10)

/*
 * How far the next generation is from the one before: nobody can foresee it who
 * lacks the connection's key. One hash is enough for four, and cheaper than the
 * kernel's random numbers. Context: frwd_lock held.
 */
static u32 iser_gen_step(struct iser_conn *conn)
{
	if (conn->nr_gens++ % 4)
		conn->gen_bits >>= 16;
	else
		conn->gen_bits = siphash_1u64(conn->nr_gens, &conn->gen_key);
	return 1 + (u16)conn->gen_bits % ISER_ITT_GEN_MASK;
}

/**
 * iser_alloc_pdu - libiscsi is about to build a PDU: tell it where
 * @task: the task
 * @opcode: opcode of the PDU
 *
 * The task tag gets a new generation, but for login and text requests, which
 * all carry the same one (RFC 7143, section 11.12.3), and no key. Nobody can
 * foresee the others: who answers with it has received the request, and so the
 * adapter has executed the registration before it. A target that could foresee
 * the tag might invalidate a key that does not live yet, and use it later.
 *
 * Context: frwd_lock held.
 * Return: 0, or -ENOMEM (try later) when there is no
 * connection that is up: the slots go with it.
 */
int iser_alloc_pdu(struct iscsi_task *task, u8 opcode)
{
	struct iscsi_session *session = task->conn->session;
	struct iser_conn *conn = iser_link(task->conn)->conn;
	struct iser_slot *slot;

	if (!conn || !iser_conn_is_up(conn))
		return -ENOMEM;

	slot = &conn->slots[task->itt];
	opcode &= ISCSI_OPCODE_MASK;
	if (opcode != ISCSI_OP_LOGIN && opcode != ISCSI_OP_TEXT)
		slot->gen += iser_gen_step(conn);

	task->hdr = iser_slot_hdr(slot);
	task->hdr_max = sizeof(slot->headers.hdr);
	task->hdr->itt = (__force itt_t)iser_itt_make(task->itt, slot->gen,
						      session->age);
	iser_ctrl_init(&slot->headers.ctrl);
	return 0;
}

/**
 * iser_parse_pdu_itt - take a task tag apart, for libiscsi
 * @iscsi: iSCSI connection
 * @itt: tag
 * @index: set to the index of the task
 * @age: set to the session age, if not NULL
 *
 * Context: any.
 */
void iser_parse_pdu_itt(struct iscsi_conn *iscsi, itt_t itt, int *index,
			int *age)
{
	*index = iser_itt_index((__force u32)itt);
	if (age)
		*age = iser_itt_age((__force u32)itt);
}

/* Take send queue entries, and see that there is a buffer for the headers */
static bool iser_send_reserve(struct iser_conn *conn, unsigned int wrs,
			      unsigned int keep)
{
	return iser_tx_left(conn) > keep && iser_sq_reserve(conn, wrs, keep);
}

/*
 * Copy a slot's headers, of which @len bytes are sent, to where the adapter
 * reads them. The buffer is the Send's until a completion shows that it was
 * acknowledged, at or behind it. The task may be another one by then, whose tag
 * and key must not go out with a retransmission: the target would know them
 * before the adapter has executed the registration, see iser_alloc_pdu().
 */
static void iser_copy_headers(struct iser_conn *conn, struct iser_slot *slot,
			      unsigned int len)
{
	/* All by constants, as this is for each command */
	unsigned int at = conn->tx_next % ISER_TX_PER_CHUNK;
	struct iser_chunk *chunk =
		&conn->tx_ring.chunks[conn->tx_next / ISER_TX_PER_CHUNK];

	((struct iser_headers *)chunk->va)[at] = slot->headers;
	slot->sge[0].addr = chunk->dma + at * sizeof(slot->headers);
	slot->sge[0].length = len;
	conn->tx_sent++;
	if (++conn->tx_next == conn->nr_tx)
		conn->tx_next = 0;
}

/*
 * Append the Send of a slot. What asks for no answer may be gone by the time
 * that the adapter has it, and can't be answered either: it is never marked as
 * posted.
 */
static void iser_chain_slot(struct iser_conn *conn, struct iser_slot *slot,
			    struct ib_send_wr *send)
{
	if (iser_slot_hdr(slot)->itt != RESERVED_ITT) {
		slot->next_chained = conn->chained;
		conn->chained = slot;
	}
	iser_chain(conn, send);
}

/* Hand a slot's Send to the adapter; @wrs send queue entries come with it */
static void iser_chain_send(struct iser_conn *conn, struct iser_slot *slot,
			    struct iscsi_task *task, unsigned int hdr_len,
			    unsigned int data_sge, unsigned int wrs)
{
	bool holds_ref = task->hdr->itt == RESERVED_ITT;

	iser_copy_headers(conn, slot, sizeof(slot->headers.ctrl) + hdr_len);
	slot->send.num_sge = 1 + data_sge;
	conn->unsignalled += wrs;

	/*
	 * A PDU that gets no response is released by its Send's completion:
	 * that uses the one reference that such a task has.
	 */
	if (holds_ref || data_sge || conn->unsignalled >= conn->signal_every) {
		if (!holds_ref)
			iscsi_get_task(task);
		slot->task = task;
		slot->retires = conn->unsignalled;
		slot->acks = conn->tx_sent;
		conn->unsignalled = 0;
		slot->send.wr_cqe = &slot->signal_cqe;
		slot->send.send_flags = IB_SEND_SIGNALED;
	} else {
		slot->send.wr_cqe = &conn->plain_cqe;
		slot->send.send_flags = 0;
	}
	iser_chain_slot(conn, slot, &slot->send);
}

/*
 * A login or text request is copied, header and all, to a buffer of its own.
 * Its Send does not hold the task: libiscsi wants to use the one login task
 * again as soon as the response is there. So what a retransmission carries may
 * be the next request; no key is in it.
 *
 * In a discovery it is posted by work, a little later and on this processor,
 * which the caller mostly has until it leaves the kernel: iscsiadm misses an
 * answer that comes before the kernel has confirmed the request.
 */
static int iser_xmit_login(struct iser_conn *conn, struct iscsi_task *task)
{
	struct iser_slot *slot = &conn->slots[task->itt];
	unsigned int headers = ISER_HEADERS_LEN;
	void *buf = conn->login_tx.chunks[0].va;

	if (iser_text_has(task->data, task->data_count,
			  "SessionType=Discovery"))
		WRITE_ONCE(conn->discovery, true);
	if (iser_login_ends(task->hdr) && iser_post_all_rx(conn))
		return -ENOTCONN;
	if (!iser_sq_reserve(conn, 1, 0))
		return -EAGAIN;

	memcpy(buf, &slot->headers, headers);
	memcpy(buf + headers, task->data, task->data_count);
	conn->login_sge.length = headers + task->data_count;
	iser_chain_slot(conn, slot, &conn->login_send);
	if (conn->discovery)
		queue_delayed_work_on(smp_processor_id(), iser_bell_wq,
				      &conn->login_bell, ISER_BELL_DELAY);
	else
		iser_doorbell(conn);
	return 0;
}

/* NOP-Out, task management, logout: a header and no data */
static int iser_xmit_control(struct iser_conn *conn, struct iscsi_task *task)
{
	u8 opcode = task->hdr->opcode & ISCSI_OPCODE_MASK;

	trace_iser_send_control(conn, task->hdr);
	if (opcode == ISCSI_OP_LOGIN || opcode == ISCSI_OP_TEXT)
		return iser_xmit_login(conn, task);

	if (!iser_send_reserve(conn, 1, 0)) {
		conn->stats.tx_busy++;
		trace_iser_busy(conn, task->itt, -EAGAIN);
		return -EAGAIN;
	}
	if (opcode == ISCSI_OP_LOGOUT)
		WRITE_ONCE(conn->logout, true);
	iser_chain_send(conn, &conn->slots[task->itt], task,
			sizeof(struct iscsi_hdr), 0, 1);
	iser_doorbell(conn);
	return 0;
}

/*
 * Gather @len bytes at @offset of a mapped scatter list.
 * Return: the number of elements, or -E2BIG if they are more than @max.
 */
static int iser_gather(struct ib_sge *sge, unsigned int max,
		       struct scatterlist *sg, unsigned int offset,
		       unsigned int len)
{
	unsigned int n = 0;

	while (offset >= sg_dma_len(sg)) {
		offset -= sg_dma_len(sg);
		sg = sg_next(sg);
	}
	for (; len; sg = sg_next(sg), n++) {
		if (n == max)
			return -E2BIG;
		sge[n].addr = sg_dma_address(sg) + offset;
		sge[n].length = min(len, sg_dma_len(sg) - offset);
		len -= sge[n].length;
		offset = 0;
	}
	return n;
}

static void iser_dataouts_put(struct iser_conn *conn, struct iser_plan *plan)
{
	if (!plan->nr_dataouts)
		return;
	spin_lock(&conn->dataout_lock);
	list_splice_init(&plan->dataouts, &conn->dataout_free);
	conn->nr_dataout_free += plan->nr_dataouts;
	spin_unlock(&conn->dataout_lock);
	plan->nr_dataouts = 0;
}

static bool iser_dataouts_get(struct iser_conn *conn, struct iser_plan *plan,
			      unsigned int n)
{
	bool enough;

	spin_lock(&conn->dataout_lock);
	enough = conn->nr_dataout_free >= n;
	if (enough) {
		conn->nr_dataout_free -= n;
		plan->nr_dataouts = n;
		while (n--)
			list_move_tail(conn->dataout_free.next,
				       &plan->dataouts);
	}
	spin_unlock(&conn->dataout_lock);
	return enough;
}

/* Gather the data of every unsolicited PDU, before any header is written */
static int iser_plan_dataouts(struct iser_conn *conn, struct iscsi_task *task,
			      struct iser_plan *plan)
{
	unsigned int max = task->conn->max_xmit_dlength;
	unsigned int offset = task->unsol_r2t.data_offset;
	unsigned int left = task->unsol_r2t.data_length;
	unsigned int n_pdus = DIV_ROUND_UP(left, max);
	struct iser_dataout *out;

	if (!left)
		return 0;
	INIT_LIST_HEAD(&plan->dataouts);
	/* One command must not need more of the send queue than there can be */
	if (n_pdus > conn->sq_size / 4 || !iser_dataouts_get(conn, plan, n_pdus))
		return -EBUSY;

	list_for_each_entry(out, &plan->dataouts, node) {
		unsigned int len = min(left, max);
		int n = iser_gather(&out->sge[1], conn->limits.data_sge,
				    scsi_sglist(task->sc), offset, len);

		if (n < 0)
			return n;
		out->send.num_sge = 1 + n;
		offset += len;
		left -= len;
	}
	return 0;
}

/*
 * Work out which part of a WRITE goes how. If the pages are too scattered for
 * the gather lists, or all Data-Out PDUs are in flight, less goes unsolicited
 * and the target fetches the rest: RFC 7143, section 4.2.5.2, lets the
 * initiator send immediate data only, or none.
 */
static void iser_plan_write(struct iser_conn *conn, struct iscsi_task *task,
			    struct iser_plan *plan)
{
	struct iser_slot *slot = &conn->slots[task->itt];
	struct iscsi_scsi_req *hdr = (struct iscsi_scsi_req *)task->hdr;
	int n = 0;

	if (task->imm_count)
		n = iser_gather(&slot->sge[1], conn->limits.data_sge,
				scsi_sglist(task->sc), 0, task->imm_count);
	if (n < 0) {
		task->imm_count = 0;
		hton24(hdr->dlength, 0);
		n = 0;
		conn->stats.solicited_only++;
	} else if (!iser_plan_dataouts(conn, task, plan)) {
		plan->imm_sge = n;
		return;
	}

	iser_dataouts_put(conn, plan);
	task->unsol_r2t.data_length = 0;
	hdr->flags |= ISCSI_FLAG_CMD_FINAL;
	plan->imm_sge = n;
}

/* Register what is not in Sends, and tell the target */
static int iser_register(struct iser_conn *conn, struct iscsi_task *task,
			 struct iser_plan *plan, unsigned int skip)
{
	enum dma_data_direction dir = task->sc->sc_data_direction;
	struct iser_task *it = iser_task(task);
	struct iser_slot *slot = &conn->slots[task->itt];
	struct iser_mr *imr;
	int err;

	imr = iser_mr_get(conn);
	if (!imr) {
		conn->stats.mr_busy++;
		return -EBUSY;
	}
	it->mr = imr;
	imr->task = task;
	err = iser_mr_map(imr, scsi_sglist(task->sc), plan->nents, skip, dir);
	if (err)
		return err;

	if (dir == DMA_FROM_DEVICE)
		iser_ctrl_read(&slot->headers.ctrl, imr->mr->rkey, imr->mr->iova);
	else
		iser_ctrl_write(&slot->headers.ctrl, imr->mr->rkey, imr->mr->iova);
	return 0;
}

static void iser_chain_dataouts(struct iser_conn *conn,
				struct iscsi_task *task, struct iser_plan *plan)
{
	struct iscsi_r2t_info *r2t = &task->unsol_r2t;
	struct iser_dataout *out, *next;

	list_for_each_entry_safe(out, next, &plan->dataouts, node) {
		list_del_init(&out->node);
		iser_ctrl_init(out->ctrl);
		iscsi_prep_data_out_pdu(task, r2t,
					(struct iscsi_data *)(out->ctrl + 1));
		r2t->sent += r2t->data_count;

		iscsi_get_task(task);
		out->task = task;
		out->retires = 1;
		out->sge[0].length = ISER_HEADERS_LEN;
		iser_chain(conn, &out->send);
	}
}

static int iser_map_data(struct iser_conn *conn, struct iscsi_task *task,
			 struct iser_plan *plan)
{
	struct scsi_cmnd *sc = task->sc;

	plan->nents = ib_dma_map_sg(conn->device, scsi_sglist(sc),
				    scsi_sg_count(sc), sc->sc_data_direction);
	if (!plan->nents)
		return -ENOMEM;
	iser_task(task)->mapped = true;
	return 0;
}

/* Map, plan and register: all that can fail, before anything is chained */
static int iser_prepare(struct iser_conn *conn, struct iscsi_task *task,
			struct iser_plan *plan)
{
	unsigned int skip = 0;
	int err;

	err = iser_map_data(conn, task, plan);
	if (err)
		return err;
	if (task->sc->sc_data_direction == DMA_TO_DEVICE) {
		iser_plan_write(conn, task, plan);
		skip = task->imm_count + task->unsol_r2t.data_length;
	}
	if (skip == scsi_bufflen(task->sc))
		return 0;
	return iser_register(conn, task, plan, skip);
}

/**
 * iser_init_task - work out how a task goes
 * @task: task with its PDU built
 *
 * Done here and not in iser_xmit_task(), because libiscsi takes an error here
 * as final and fails the command, and one there as busy.
 *
 * Context: frwd_lock held, softirqs off.
 * Return: 0, or -EIO if the device can't describe the command's memory, or the
 * session is one for discovery.
 */
int iser_init_task(struct iscsi_task *task)
{
	struct iser_conn *conn = iser_link(task->conn)->conn;
	struct iser_task *it = iser_task(task);
	int err;

	*it = (struct iser_task){};
	if (!conn || !iser_conn_is_up(conn))
		return 0;
	it->conn = conn;
	if (!task->sc)
		return 0;
	/* Who scans by hand, meanwhile: there are no disks, nor memory regions */
	if (conn->discovery)
		return -EIO;
	if (!scsi_bufflen(task->sc))
		return 0;

	err = iser_prepare(conn, task, &it->plan);
	if (!err)
		return 0;
	iser_dataouts_put(conn, &it->plan);
	if (err == -EIO) {
		iser_err(conn, "%s can't describe the memory of a command of %u bytes in %u segments: command failed\n",
			 dev_name(&conn->device->dev), scsi_bufflen(task->sc),
			 scsi_sg_count(task->sc));
		/* If it was the last of a batch, nobody else rings for it */
		iser_doorbell(conn);
		return err;
	}
	it->plan.busy = err;
	trace_iser_busy(conn, task->itt, err);
	return 0;
}

/*
 * Entries for the registration, the command and the invalidation, if there is
 * a registration; the last is given back if the target invalidates.
 */
static unsigned int iser_wrs(const struct iser_task *it)
{
	return 1 + it->plan.nr_dataouts + (it->mr ? 2 : 0);
}

static int iser_xmit_command(struct iser_conn *conn, struct iscsi_task *task)
{
	struct iser_slot *slot = &conn->slots[task->itt];
	struct iser_task *it = iser_task(task);
	struct iser_plan *plan = &it->plan;
	unsigned int hdr_len = task->hdr_len;

	if (plan->busy)
		return plan->busy;
	if (!iser_send_reserve(conn, iser_wrs(it), ISER_SQ_CONTROL)) {
		conn->stats.tx_busy++;
		trace_iser_busy(conn, task->itt, -EAGAIN);
		iser_dataouts_put(conn, plan);
		return -EAGAIN;
	}

	trace_iser_send_command(conn, task, it->mr ? it->mr->mr->rkey : 0);
	if (it->mr) {
		/* The key is as good as out, and the task may not go before */
		it->rkey_live = true;
		iscsi_get_task(task);
		iser_chain(conn, &it->mr->reg.wr);
	}
	iser_chain_send(conn, slot, task, hdr_len, plan->imm_sge,
			it->mr ? 2 : 1);
	if (plan->nr_dataouts)
		iser_chain_dataouts(conn, task, plan);
	if (task->sc->sc_data_direction == DMA_TO_DEVICE)
		task->conn->txdata_octets += scsi_bufflen(task->sc);
	if (task->sc->flags & SCMD_LAST)
		iser_doorbell(conn);
	return 0;
}

/**
 * iser_xmit_task - send a PDU
 * @task: task that iser_init_task() has worked out
 *
 * Context: frwd_lock held, softirqs off. Must not be refused once the work
 * requests are chained: libiscsi would use the CmdSN again.
 *
 * Return: 0, or a negative errno: libiscsi has a command tried again, and gives
 * anything else up.
 */
int iser_xmit_task(struct iscsi_task *task)
{
	struct iser_conn *conn = iser_link(task->conn)->conn;

	if (!conn || !iser_conn_is_up(conn) || !iser_task(task)->conn)
		return -ENOTCONN;
	return task->sc ? iser_xmit_command(conn, task) :
			  iser_xmit_control(conn, task);
}

/**
 * iser_commit_rqs - the batch ended without a command marked as the last
 * @shost: host
 * @hwq: hardware queue; there is one
 *
 * Context: process or softirq, interrupts on; takes frwd_lock.
 */
void iser_commit_rqs(struct Scsi_Host *shost, u16 hwq)
{
	struct iser_host *host = iscsi_host_priv(shost);
	struct iscsi_session *session = host->session;
	struct iser_conn *conn;

	if (!session)
		return;
	spin_lock_bh(&session->frwd_lock);
	conn = session->leadconn ? iser_link(session->leadconn)->conn : NULL;
	if (conn)
		iser_doorbell(conn);
	spin_unlock_bh(&session->frwd_lock);
}

static void iser_unmap(struct iser_task *it, struct scsi_cmnd *sc)
{
	if (!it->mapped)
		return;
	it->mapped = false;
	ib_dma_unmap_sg(it->conn->device, scsi_sglist(sc), scsi_sg_count(sc),
			sc->sc_data_direction);
}

/**
 * iser_cleanup_task - the last reference is gone: the command is finished
 * @task: task
 *
 * Context: back_lock held, softirqs off.
 */
void iser_cleanup_task(struct iscsi_task *task)
{
	struct iser_task *it = iser_task(task);
	struct iser_conn *conn = it->conn;

	if (!conn)
		return;
	conn->slots[task->itt].posted = false;
	iser_unmap(it, task->sc);
	if (it->mr)
		iser_mr_put(conn, it->mr);
	it->mr = NULL;
	it->conn = NULL;
	/* Those who wait look again under back_lock, which is held here */
	if (waitqueue_active(&conn->released))
		wake_up(&conn->released);
}

/*
 * Does a signalled Send still hold the task? Not if the device was drained as it
 * should be. (That of a PDU without a response holds the only reference that
 * there is, which libiscsi drops when it stops the connection.)
 */
static bool iser_task_is_sent(struct iser_conn *conn, struct iscsi_task *task)
{
	struct iser_slot *slot = &conn->slots[task->itt];

	if (slot->task != task || task->hdr->itt == RESERVED_ITT)
		return false;
	slot->task = NULL;
	return true;
}

/* Context: back_lock held. The queue pair is gone: nobody can touch it. */
static void iser_task_take_back(struct iser_conn *conn, struct iscsi_task *task)
{
	struct iser_task *it = iser_task(task);
	bool live = it->rkey_live;

	if (it->conn != conn)
		return;
	iser_unmap(it, task->sc);
	it->mr = NULL;
	it->rkey_live = false;
	it->conn = NULL;
	if (iser_task_is_sent(conn, task))
		__iscsi_put_task(task);
	if (live)
		__iscsi_put_task(task);
}

/* The same for Data-Out PDUs */
static void iser_dataouts_take_back(struct iser_conn *conn)
{
	unsigned int i;

	for (i = 0; conn->dataout && i < ISER_DATAOUT_MAX; i++) {
		struct iscsi_task *task = conn->dataout[i].task;

		conn->dataout[i].task = NULL;
		if (task)
			iscsi_put_task(task);
	}
}

/**
 * iser_tasks_release_all - take back the memory of every command
 * @conn: connection, bound, its queue pair drained and destroyed
 *
 * Afterwards nothing is mapped, and no command has an MR; the commands
 * themselves are libiscsi's to answer.
 *
 * Context: may sleep.
 */
void iser_tasks_release_all(struct iser_conn *conn)
{
	struct iscsi_session *session = conn->iscsi->session;
	int i;

	for (i = 0; i < session->cmds_max; i++) {
		spin_lock_bh(&session->back_lock);
		iser_task_take_back(conn, session->cmds[i]);
		spin_unlock_bh(&session->back_lock);
	}
	iser_dataouts_take_back(conn);
	wake_up(&conn->released);
}

/* What an error handler must see finished: @sc, or all of @lun, or of @session */
struct iser_victims {
	struct iscsi_session *session;
	struct scsi_device *lun;
	struct scsi_cmnd *sc;
};

/* Context: back_lock held. Hit by the error handling, but not finished? */
static bool iser_is_victim(const struct iser_victims *v,
			   struct iscsi_task *task)
{
	return task->sc && iscsi_task_is_completed(task) &&
	       (!v->sc || v->sc == task->sc) &&
	       (!v->lun || v->lun == task->sc->device);
}

/*
 * Kill the keys of the commands concerned, and see if any is left.
 * Only iSCSI tasks that libiscsi has finished with are looked at, so a
 * command that is queued meanwhile is not waited for.
 */
static bool iser_victims_gone(const struct iser_victims *v,
			      struct iser_conn *conn)
{
	struct iscsi_session *session = v->session;
	bool gone = true;
	int i;

	spin_lock_bh(&session->frwd_lock);
	spin_lock(&session->back_lock);
	/* Without a connection the session is going, and its tasks soon are gone */
	for (i = 0; session->leadconn && i < session->cmds_max; i++) {
		struct iscsi_task *task = session->cmds[i];

		if (!iser_is_victim(v, task))
			continue;
		gone = false;
		if (iser_task(task)->conn == conn)
			iser_mr_invalidate(conn, task);
	}
	spin_unlock(&session->back_lock);
	spin_unlock_bh(&session->frwd_lock);
	return gone;
}

static void iser_wait_victims(const struct iser_victims *v)
{
	unsigned long deadline = jiffies + ISER_RELEASE_TIMEOUT;
	struct iscsi_session *session = v->session;
	struct iser_conn *conn = NULL;

	spin_lock_bh(&session->frwd_lock);
	if (session->leadconn)
		conn = iser_link(session->leadconn)->conn;
	if (conn)
		kref_get(&conn->ref);
	spin_unlock_bh(&session->frwd_lock);
	if (!conn)
		return;

	/* Looked at again now and then: a teardown's wake-up can be missed */
	while (!wait_event_timeout(conn->released, iser_victims_gone(v, conn),
				   ISER_RELEASE_POLL)) {
		if (time_after(jiffies, deadline) &&
		    iser_conn_fail(conn, -ETIMEDOUT))
			iser_err(conn, "aborted commands are not released: the target does not acknowledge, connection dropped\n");
	}
	iser_conn_put(conn);
}

static struct iscsi_session *iser_sc_session(struct scsi_cmnd *sc)
{
	return starget_to_session(scsi_target(sc->device))->dd_data;
}

/**
 * iser_eh_abort - abort a command
 * @sc: command
 *
 * Context: may sleep.
 * Return: SUCCESS once nothing can touch its pages.
 */
int iser_eh_abort(struct scsi_cmnd *sc)
{
	struct iser_victims v = { .session = iser_sc_session(sc), .sc = sc };
	int rc = iscsi_eh_abort(sc);

	/*
	 * While it stopped others from being sent, the last one of a batch may
	 * have been turned away: nobody else would ring for the ones before it.
	 */
	iser_commit_rqs(sc->device->host, 0);
	if (rc == SUCCESS)
		iser_wait_victims(&v);
	return rc;
}

/**
 * iser_eh_device_reset - reset a logical unit
 * @sc: a command to it
 *
 * Context: may sleep.
 * Return: SUCCESS once nothing can touch the pages of any
 * command that the reset ended.
 */
int iser_eh_device_reset(struct scsi_cmnd *sc)
{
	struct iser_victims v = {
		.session	= iser_sc_session(sc),
		.lun		= sc->device,
	};
	int rc = iscsi_eh_device_reset(sc);

	if (rc == SUCCESS)
		iser_wait_victims(&v);
	return rc;
}

static bool iser_is_settled(int state)
{
	return state == ISCSI_STATE_LOGGED_IN ||
	       state == ISCSI_STATE_RECOVERY_FAILED ||
	       state == ISCSI_STATE_TERMINATE;
}

/*
 * Only a session that works can be reset. One that is being recovered is being
 * reset already: libiscsi would report another error, which iscsid can take for
 * one of the connection that it is just about to make, and wait for ever.
 * Context: may sleep.
 */
static int iser_recover_target(struct iscsi_session *session,
			       struct scsi_cmnd *sc)
{
	int state;

	if (READ_ONCE(session->state) == ISCSI_STATE_LOGGED_IN)
		return iscsi_eh_recover_target(sc);
	do {
		/* Long, and who calls sg_reset(8) may give up */
		if (wait_event_state(session->ehwait,
				     iser_is_settled(READ_ONCE(session->state)),
				     (TASK_KILLABLE | TASK_NOLOAD)))
			return FAILED;
		/*
		 * With this held libiscsi ends the commands, after it has set
		 * the state. The connection may be lost again by now.
		 */
		mutex_lock(&session->eh_mutex);
		state = READ_ONCE(session->state);
		mutex_unlock(&session->eh_mutex);
	} while (!iser_is_settled(state));
	return state == ISCSI_STATE_LOGGED_IN ? SUCCESS : FAILED;
}

/**
 * iser_eh_target_reset - reset the target, or else the session
 * @sc: a command to it
 *
 * Context: may sleep.
 * Return: SUCCESS once nothing can touch the pages of any
 * command that the reset ended.
 */
int iser_eh_target_reset(struct scsi_cmnd *sc)
{
	struct iser_victims v = { .session = iser_sc_session(sc) };
	int rc = iser_recover_target(v.session, sc);

	if (rc == SUCCESS)
		iser_wait_victims(&v);
	return rc;
}
