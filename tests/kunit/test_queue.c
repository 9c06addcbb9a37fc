// SPDX-License-Identifier: GPL-2.0-only
/*
 * Send queue accounting: entries are reserved before a command is chained and
 * come back with completions and responses; how often one is signalled; what
 * happens when the adapter takes fewer than it promised, or refuses.
 *
 * The books must balance at any time: what is free, what waits for a signalled
 * completion, and what is reserved for what is in flight is the whole queue.
 */
#include "rig.h"

/* How often, and in what pieces, others take of the completion queues */
#define TAKEN_MAX	256
#define TAKEN_CQES	64

static int avail(struct rig *rig)
{
	return atomic_read(&rig->conn->sq_avail);
}

static void reserve_and_release(struct kunit *test)
{
	struct iser_conn *conn = kunit_kzalloc(test, sizeof(*conn), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, conn);
	atomic_set(&conn->sq_avail, 5);
	KUNIT_EXPECT_TRUE(test, iser_sq_reserve(conn, 3, 0));
	KUNIT_EXPECT_FALSE(test, iser_sq_reserve(conn, 3, 0));
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&conn->sq_avail));
	KUNIT_EXPECT_TRUE(test, iser_sq_reserve(conn, 2, 0));
	KUNIT_EXPECT_FALSE(test, iser_sq_reserve(conn, 1, 0));
	KUNIT_EXPECT_TRUE(test, iser_sq_reserve(conn, 0, 0));
	iser_sq_release(conn, 1);
	KUNIT_EXPECT_TRUE(test, iser_sq_reserve(conn, 1, 0));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&conn->sq_avail));
}

struct account_case {
	const char *name;
	enum dma_data_direction dir;
	unsigned int len;
	bool unsolicited;
	unsigned int reserved;
	/* freed by a response that invalidates, and by completions */
	unsigned int by_response;
	unsigned int by_sends;
};

static const struct account_case account_cases[] = {
	{ "no data", DMA_NONE, 0, false, 1, 0, 0 },
	{ "read", DMA_FROM_DEVICE, 4096, false, 3, 1, 0 },
	{ "write, immediate", DMA_TO_DEVICE, 4096, false, 1, 0, 1 },
	{ "write, and solicited", DMA_TO_DEVICE, 65536, false, 3, 1, 2 },
	{ "write, unsolicited", DMA_TO_DEVICE, 65536, true, 8, 0, 8 },
	{ "write, unsolicited, and solicited", DMA_TO_DEVICE, 131072, true, 10,
	  1, 9 },
};

KUNIT_ARRAY_PARAM_DESC(account, account_cases, name);

/* The target invalidates: the entry for doing it ourselves is not needed */
static void account_remote(struct kunit *test)
{
	const struct account_case *c = test->param_value;
	struct rig *rig = rig_make(test, .unsolicited = c->unsolicited);
	int all = avail(rig);
	struct scsi_cmnd *sc;

	sc = rig_send(rig, c->dir, c->len);
	KUNIT_EXPECT_EQ(test, all - c->reserved, avail(rig));
	rig_answer(rig, sc, c->by_response ? &rig->fake->sends[0].key : NULL);
	KUNIT_EXPECT_EQ(test, all - c->reserved + c->by_response, avail(rig));
	fake_complete_sends(rig->fake);
	KUNIT_EXPECT_EQ(test, all - c->reserved + c->by_response + c->by_sends,
			avail(rig));
	KUNIT_EXPECT_EQ(test, all, avail(rig) + rig->conn->unsignalled);
	KUNIT_EXPECT_TRUE(test, finished(sc));
}

static void account_local(struct kunit *test)
{
	const struct account_case *c = test->param_value;
	struct rig *rig = rig_make(test, .unsolicited = c->unsolicited);
	struct fake_adapter *fake = rig->fake;
	int all = avail(rig);
	struct scsi_cmnd *sc;

	sc = rig_send(rig, c->dir, c->len);
	fake_complete_sends(fake);
	rig_answer(rig, sc, NULL);
	KUNIT_EXPECT_EQ(test, all - c->reserved + c->by_sends, avail(rig));
	if (c->by_response)
		fake_complete(fake, fake->nr_sends - 1, IB_WC_SUCCESS);
	KUNIT_EXPECT_EQ(test, all - c->reserved + c->by_sends + c->by_response,
			avail(rig));
	KUNIT_EXPECT_EQ(test, all, avail(rig) + rig->conn->unsignalled);
	KUNIT_EXPECT_TRUE(test, finished(sc));
}

static const unsigned int depths[] = { 76, 80, 88, 100, 128, 256, 512, 8192 };

static void depth_desc(const unsigned int *depth, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u work requests", *depth);
}

KUNIT_ARRAY_PARAM(depth, depths, depth_desc);

static void expect_cadence(struct kunit *test, struct rig *rig)
{
	unsigned int i, unsignalled = 0;

	for (i = 0; i < rig->fake->nr_sends; i++) {
		/* Always is, which must not be what keeps the cadence */
		if (rig->fake->sends[i].wr.opcode == IB_WR_LOCAL_INV)
			continue;
		unsignalled++;
		if (signalled(&rig->fake->sends[i]))
			unsignalled = 0;
		/* The command that reaches the mark may bring two */
		KUNIT_ASSERT_LE(test, unsignalled, rig->conn->signal_every);
	}
}

/* One command at a time for ever, with and without remote invalidation */
static void never_runs_dry(struct kunit *test)
{
	unsigned int wrs = *(const unsigned int *)test->param_value;
	struct rig *rig = rig_make(test, .tasks = 16, .wrs = wrs);
	struct fake_adapter *fake = rig->fake;
	int all = avail(rig), i;

	KUNIT_EXPECT_GT(test, rig->conn->signal_every, 0);
	KUNIT_EXPECT_LE(test, rig->conn->signal_every, ISER_SIGNAL_EVERY);
	KUNIT_EXPECT_EQ(test, all, rig->conn->sq_size);
	for (i = 0; i < 100; i++) {
		unsigned int first = fake->nr_sends;
		struct scsi_cmnd *sc = rig_pages(rig, DMA_FROM_DEVICE, 4096);

		KUNIT_ASSERT_EQ_MSG(test, 0, rig_queue(rig, sc), "command %d",
				    i);
		rig_answer(rig, sc, i & 1 ? &fake->sends[first].key : NULL);
		if (!(i & 1))
			fake_complete(fake, fake->nr_sends - 1, IB_WC_SUCCESS);
		fake_complete_sends(fake);
		KUNIT_ASSERT_TRUE(test, finished(sc));
		KUNIT_ASSERT_EQ(test, all,
				avail(rig) + rig->conn->unsignalled);
	}
	expect_cadence(test, rig);
}

/* As many commands as the session has tasks for, and again */
static void all_tasks_at_once(struct kunit *test)
{
	unsigned int wrs = *(const unsigned int *)test->param_value;
	struct rig *rig = rig_make(test, .tasks = 16, .wrs = wrs);
	struct fake_adapter *fake = rig->fake;
	struct scsi_cmnd *sc[16];
	int all = avail(rig), round, i, n;

	KUNIT_ASSERT_EQ(test, 0, iser_mr_grow(rig->conn, 16));
	for (round = 0; round < 8; round++) {
		for (n = 0; n < 16; n++) {
			sc[n] = rig_pages(rig, DMA_FROM_DEVICE, 4096);
			if (rig_queue(rig, sc[n]))
				break;
		}
		/* One is the login's */
		KUNIT_ASSERT_EQ(test, 15, n);
		KUNIT_EXPECT_GE(test, avail(rig), 0);
		for (i = 0; i < n; i++) {
			rig_answer(rig, sc[i], NULL);
			fake_complete(fake, fake->nr_sends - 1, IB_WC_SUCCESS);
		}
		fake_complete_sends(fake);
		KUNIT_ASSERT_EQ(test, all,
				avail(rig) + rig->conn->unsignalled);
	}
}

/* A command without data that is answered; false if it was put off */
static bool one_more(struct rig *rig)
{
	struct scsi_cmnd *sc = rig_pages(rig, DMA_NONE, 0);

	if (rig_queue(rig, sc))
		return false;
	rig_answer(rig, sc, NULL);
	return true;
}

/*
 * The target answers and does not acknowledge: its adapter may be sent all of
 * that once more. So each Send has headers of its own, until there are no
 * buffers left, but for control PDUs; acknowledged ones are used again.
 */
static void headers_are_kept(struct kunit *test)
{
	struct rig *rig = rig_make(test, .tasks = 16, .wrs = 8192);
	struct fake_adapter *fake = rig->fake;
	unsigned int i, j, nr_tx = rig->conn->nr_tx;

	KUNIT_EXPECT_EQ(test, 16 + ISER_SQ_AHEAD, nr_tx);
	while (one_more(rig))
		;
	KUNIT_EXPECT_EQ(test, nr_tx - ISER_SQ_CONTROL, fake->nr_sends);
	KUNIT_EXPECT_EQ(test, 1, rig->conn->stats.tx_busy);
	for (i = 0; i <= ISER_SQ_CONTROL; i++)
		KUNIT_EXPECT_EQ(test, i == ISER_SQ_CONTROL,
				!!rig_send_pdu(rig, ISCSI_OP_NOOP_OUT |
					       ISCSI_OP_IMMEDIATE, 0, 0, NULL,
					       0));
	KUNIT_EXPECT_EQ(test, nr_tx, fake->nr_sends);
	KUNIT_EXPECT_EQ(test, 2, rig->conn->stats.tx_busy);
	for (i = 0; i < nr_tx; i++)
		for (j = 0; j < i; j++)
			KUNIT_ASSERT_GE(test, abs_diff(fake->sends[i].sge[0].addr,
						       fake->sends[j].sge[0].addr),
					ISER_TX_LEN);

	/* The first that is signalled stands for those before it and no others */
	i = rig->conn->signal_every - 1;
	KUNIT_ASSERT_TRUE(test, signalled(&fake->sends[i]));
	fake_complete(fake, i, IB_WC_SUCCESS);
	KUNIT_EXPECT_EQ(test, i + 1, iser_tx_left(rig->conn));
	while (one_more(rig))
		;
	KUNIT_EXPECT_EQ(test, nr_tx + i + 1 - ISER_SQ_CONTROL, fake->nr_sends);

	fake_complete_sends(fake);
	for (i = 0; i < 2 * nr_tx; i++) {
		KUNIT_ASSERT_TRUE(test, one_more(rig));
		fake_complete_sends(fake);
	}
}

/* No entry: the command is put off, with nothing left of the attempt */
static void full_is_busy(struct kunit *test)
{
	struct rig *rig = rig_make(test, .unsolicited = true);
	struct scsi_cmnd *sc = rig_pages(rig, DMA_TO_DEVICE, 131072);
	struct fake_adapter *fake = rig->fake;
	int all = avail(rig);

	atomic_set(&rig->conn->sq_avail, 9 + ISER_SQ_CONTROL);
	KUNIT_EXPECT_EQ(test, SCSI_MLQUEUE_TARGET_BUSY, rig_queue(rig, sc));
	KUNIT_EXPECT_EQ(test, 9 + ISER_SQ_CONTROL, avail(rig));
	KUNIT_EXPECT_EQ(test, 1, rig->conn->stats.tx_busy);
	KUNIT_EXPECT_EQ(test, 0, fake->nr_sends);
	KUNIT_EXPECT_EQ(test, 0, fake->mapped);
	KUNIT_EXPECT_EQ(test, ISER_DATAOUT_MAX, rig->conn->nr_dataout_free);
	KUNIT_EXPECT_TRUE(test, finished(sc));

	atomic_set(&rig->conn->sq_avail, 10 + ISER_SQ_CONTROL);
	KUNIT_EXPECT_EQ(test, 0, rig_queue(rig, sc));
	KUNIT_EXPECT_EQ(test, ISER_SQ_CONTROL, avail(rig));
	KUNIT_EXPECT_EQ(test, 9, fake->nr_sends);
	/* CmdSN goes on where the first attempt would have */
	KUNIT_EXPECT_EQ(test, rig->session->cmdsn - 1,
			be32_to_cpu(sent_req(&fake->sends[1])->cmdsn));
	iser_sq_release(rig->conn, all - 10 - ISER_SQ_CONTROL);
}

/* libiscsi can't put them off: no abort, and no ping, for want of an entry */
static void full_but_for_control_pdus(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_pages(rig, DMA_NONE, 0);
	int all = avail(rig);

	atomic_set(&rig->conn->sq_avail, ISER_SQ_CONTROL);
	KUNIT_EXPECT_EQ(test, SCSI_MLQUEUE_TARGET_BUSY, rig_queue(rig, sc));
	KUNIT_EXPECT_EQ(test, 0,
			rig_send_pdu(rig, ISCSI_OP_NOOP_OUT |
				     ISCSI_OP_IMMEDIATE, 0, 0, NULL, 0));
	KUNIT_EXPECT_EQ(test, ISER_SQ_CONTROL - 1, avail(rig));
	atomic_set(&rig->conn->sq_avail, all);
}

static void full_for_a_control_pdu(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	int all = avail(rig);

	atomic_set(&rig->conn->sq_avail, 0);
	KUNIT_EXPECT_NE(test, 0,
			rig_send_pdu(rig, ISCSI_OP_NOOP_OUT |
				     ISCSI_OP_IMMEDIATE, 0, 0, NULL, 0));
	KUNIT_EXPECT_EQ(test, 1, rig->conn->stats.tx_busy);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->nr_sends);
	atomic_set(&rig->conn->sq_avail, all);
}

/* Data-Outs in flight are a limit of their own: then less goes unsolicited */
static void dataouts_run_out(struct kunit *test)
{
	struct rig *rig = rig_make(test, .unsolicited = true);
	struct fake_adapter *fake = rig->fake;
	unsigned int i, before;

	/* 7 of 64 for each: the tenth finds one */
	for (i = 0; i < 9; i++)
		rig_send(rig, DMA_TO_DEVICE, 65536);
	KUNIT_EXPECT_EQ(test, 1, rig->conn->nr_dataout_free);
	before = fake->nr_sends;
	rig_send(rig, DMA_TO_DEVICE, 65536);
	KUNIT_ASSERT_EQ(test, before + 2, fake->nr_sends);
	KUNIT_EXPECT_EQ(test, IB_WR_REG_MR, fake->sends[before].wr.opcode);
	KUNIT_EXPECT_EQ(test, 65536 - 8192, fake->sends[before].length);
	KUNIT_EXPECT_TRUE(test, sent_req(&fake->sends[before + 1])->flags &
			  ISCSI_FLAG_CMD_FINAL);
	KUNIT_EXPECT_EQ(test, 1, rig->conn->nr_dataout_free);

	fake_complete_sends(fake);
	KUNIT_EXPECT_EQ(test, ISER_DATAOUT_MAX, rig->conn->nr_dataout_free);
}

static const unsigned int refused_at[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };

static void refused_desc(const unsigned int *at, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u are taken", *at);
}

KUNIT_ARRAY_PARAM(refused, refused_at, refused_desc);

/* The adapter takes some of a chain: registration, command, 7 Data-Outs */
static void post_is_refused(struct kunit *test)
{
	unsigned int taken = *(const unsigned int *)test->param_value;
	struct rig *rig = rig_make(test, .unsolicited = true);
	struct scsi_cmnd *sc = rig_pages(rig, DMA_TO_DEVICE, 131072);
	struct fake_adapter *fake = rig->fake;
	struct iscsi_task *task;
	bool lost;
	int err;

	fake->send_fails_at = taken;
	/* Keeps the teardown waiting, which flushes the rest */
	mutex_lock(&rig->conn->mutex);
	err = rig_queue(rig, sc);
	lost = rig->conn->lost;
	mutex_unlock(&rig->conn->mutex);
	/* The command is taken all the same, and answered by the recovery */
	KUNIT_ASSERT_EQ(test, 0, err);
	/* What was not posted has not failed by itself: there is a reason */
	KUNIT_EXPECT_FALSE(test, lost);
	task = rig_task(sc);
	KUNIT_ASSERT_NOT_NULL(test, task);
	KUNIT_EXPECT_EQ(test, taken, fake->nr_sends);
	KUNIT_EXPECT_FALSE(test, iser_conn_is_up(rig->conn));

	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
	KUNIT_EXPECT_EQ(test, -ENOMEM, rig->conn->error);
	/* Only libiscsi's own reference is left, and no mapping */
	KUNIT_EXPECT_EQ(test, 1, refcount_read(&task->refcount));
	KUNIT_EXPECT_EQ(test, 0, fake->mapped);
	KUNIT_EXPECT_EQ(test, ISER_DATAOUT_MAX, rig->conn->nr_dataout_free);
}

/* Nothing of a batch that was refused is left either */
static void batch_is_refused(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc[6];
	int i;

	rig->fake->send_fails_at = 3;
	for (i = 0; i < 6; i++) {
		sc[i] = rig_pages(rig, i & 1 ? DMA_TO_DEVICE : DMA_FROM_DEVICE,
				  4096);
		sc[i]->flags = i == 5 ? SCMD_LAST : 0;
		KUNIT_ASSERT_EQ(test, 0, rig_queue(rig, sc[i]));
	}
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
	for (i = 0; i < 6; i++) {
		KUNIT_ASSERT_NOT_NULL(test, rig_task(sc[i]));
		KUNIT_EXPECT_EQ(test, 1,
				refcount_read(&rig_task(sc[i])->refcount));
	}
}

/* What is chained when the connection goes down is not left hanging */
static void chained_at_the_end(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_pages(rig, DMA_TO_DEVICE, 4096);

	sc->flags = 0;
	KUNIT_ASSERT_EQ(test, 0, rig_queue(rig, sc));
	KUNIT_EXPECT_EQ(test, 2, refcount_read(&rig_task(sc)->refcount));
	iser_conn_fail(rig->conn, -EIO);
	rig_settle();
	KUNIT_ASSERT_NOT_NULL(test, rig_task(sc));
	KUNIT_EXPECT_EQ(test, 1, refcount_read(&rig_task(sc)->refcount));
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
}

static void nothing_is_sent_when_down(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_pages(rig, DMA_FROM_DEVICE, 4096);

	mutex_lock(&rig->conn->mutex);
	iser_conn_fail(rig->conn, 0);
	KUNIT_EXPECT_NE(test, 0, rig_queue(rig, sc));
	KUNIT_EXPECT_TRUE(test, finished(sc));
	mutex_unlock(&rig->conn->mutex);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->nr_sends);
}

static const struct {
	const char *name;
	enum ib_wc_status status;
	int error;
} bad_ends[] = {
	{ "local error", IB_WC_LOC_PROT_ERR, -EIO },
	{ "retries exceeded", IB_WC_RETRY_EXC_ERR, -EIO },
	{ "no receive", IB_WC_RNR_RETRY_EXC_ERR, -EIO },
	/* Nothing failed before: then the other side has hung up */
	{ "flushed", IB_WC_WR_FLUSH_ERR, -ECONNRESET },
};

KUNIT_ARRAY_PARAM_DESC(bad_end, bad_ends, name);

/* Where the CM is the first to say that the target has closed (InfiniBand) */
static void flushed_without_a_word(struct kunit *test)
{
	struct rig *rig = rig_make(test);

	rig->fake->ib.port_data[1].immutable.core_cap_flags =
		RDMA_CORE_PORT_IBA_ROCE;
	rig_send(rig, DMA_FROM_DEVICE, 4096);
	fake_complete(rig->fake, 0, IB_WC_WR_FLUSH_ERR);
	KUNIT_EXPECT_EQ(test, -EPIPE, rig->conn->error);
	KUNIT_EXPECT_TRUE(test, rig->conn->lost);
	/* Who knows why may still say so */
	KUNIT_EXPECT_TRUE(test, iser_conn_blame(rig->conn));
	KUNIT_EXPECT_EQ(test, -EPIPE, rig->conn->error);
	/* The teardown would wait for the CM now, which does not know of this */
	complete_all(&rig->conn->hung_up);
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
}

/* Signalled or not: an error is completed, and ends the connection */
static void send_fails(struct kunit *test)
{
	const typeof(bad_ends[0]) *c = test->param_value;
	static const unsigned int wrs[] = { 0, 1, 3, 4 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(wrs); i++) {
		struct rig *rig = rig_make(test, .unsolicited = true);
		struct fake_adapter *fake = rig->fake;
		int before;

		rig_send(rig, DMA_FROM_DEVICE, 4096);
		rig_send(rig, DMA_TO_DEVICE, 32768);
		KUNIT_ASSERT_EQ(test, 6, fake->nr_sends);
		before = avail(rig);
		fake_complete(fake, wrs[i], c->status);
		KUNIT_EXPECT_EQ(test, c->error, rig->conn->error);
		KUNIT_EXPECT_EQ(test, before, avail(rig));
		rig_settle();
		KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
		KUNIT_EXPECT_EQ(test, 0, fake->mapped);
		rig_exit(test);
	}
}

/* An adapter that promises more than it has memory for */
static void queues_are_halved(struct kunit *test)
{
	struct fake_adapter *fake = rig_adapter();
	struct iser_limits lim;
	struct rig *rig = rig_make(test, .stop_at = RIG_RESOLVING, .wrs = 8192);
	int err;

	fake->qp_wr_room = 500;
	mutex_lock(&rig->conn->mutex);
	err = iser_verbs_create(rig->conn);
	mutex_unlock(&rig->conn->mutex);
	KUNIT_ASSERT_EQ(test, 0, err);
	lim = rig->conn->limits;
	KUNIT_EXPECT_EQ(test, 128, lim.cmds);
	KUNIT_EXPECT_EQ(test, lim.sq, fake->cap.max_send_wr);
	KUNIT_EXPECT_EQ(test, lim.rq, fake->cap.max_recv_wr);
	KUNIT_EXPECT_LE(test, lim.sq + lim.rq, 500);
	KUNIT_EXPECT_EQ(test, lim.sq - ISER_SQ_SPARE, rig->conn->sq_size);
	KUNIT_EXPECT_EQ(test, 1 + lim.data_sge, fake->cap.max_send_sge);
}

/* More tasks are asked for than the queues are enough for, by however many */
static void tasks_fit_the_queues(struct kunit *test)
{
	static const u16 asked[] = { 0, 64, 128, 512 };
	struct rig *rig = rig_make(test, .stop_at = RIG_UP, .wrs = 128);
	struct iscsi_transport *tt = reach_transport();
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 60, rig->conn->limits.cmds);
	for (i = 0; i < ARRAY_SIZE(asked); i++) {
		struct iscsi_cls_session *cls;
		struct iscsi_session *session;

		cls = tt->create_session(rig->ep, asked[i], 32, 1);
		KUNIT_ASSERT_NOT_NULL(test, cls);
		session = cls->dd_data;
		KUNIT_EXPECT_EQ(test, 32, session->cmds_max);
		tt->destroy_session(cls);
	}
}

/* A session that is made on one device may be reconnected through another */
static void session_fits_the_device(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_UNBOUND);
	struct iser_limits *lim = &rig->conn->limits;
	const struct iser_limits enough = *lim;

	lim->cmds_max = rig->session->cmds_max - 1;
	KUNIT_EXPECT_EQ(test, -EINVAL, rig_bind(rig));
	*lim = enough;
	/* It could do more, but has no room */
	lim->cmds = rig->session->cmds_max - 1;
	KUNIT_EXPECT_EQ(test, -ENOMEM, rig_bind(rig));
	*lim = enough;
	lim->mr_pages_max = rig->shost->sg_tablesize - 1;
	KUNIT_EXPECT_EQ(test, -EINVAL, rig_bind(rig));
	*lim = enough;
	lim->sectors_max = rig->shost->max_sectors - 1;
	KUNIT_EXPECT_EQ(test, -EINVAL, rig_bind(rig));
	*lim = enough;
	lim->virt_boundary = SZ_64K - 1;
	KUNIT_EXPECT_EQ(test, -EINVAL, rig_bind(rig));
	*lim = enough;

	/* Just enough */
	lim->cmds_max = rig->session->cmds_max;
	lim->cmds = rig->session->cmds_max;
	lim->mr_pages_max = rig->shost->sg_tablesize;
	lim->sectors_max = rig->shost->max_sectors;
	KUNIT_EXPECT_EQ(test, 0, rig_bind(rig));
	KUNIT_EXPECT_EQ(test, lim->mr_pages_max, lim->mr_pages);
}

static void expect_refusal(struct kunit *test, struct rig *rig)
{
	int err;

	mutex_lock(&rig->conn->mutex);
	err = iser_verbs_create(rig->conn);
	mutex_unlock(&rig->conn->mutex);
	KUNIT_EXPECT_EQ(test, -ENOMEM, err);
	KUNIT_EXPECT_EQ(test, 0, rig_adapter()->pds);
	KUNIT_EXPECT_NULL(test, rig->conn->pd);
	KUNIT_EXPECT_NULL(test, rig->conn->cq);
	KUNIT_EXPECT_NULL(test, rig->conn->qp);
}

static void queues_are_refused(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_RESOLVING);

	rig_adapter()->qp_wr_room = 50;
	expect_refusal(test, rig);
}

static void no_protection_domain(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_RESOLVING);

	rig_adapter()->no_pd = true;
	expect_refusal(test, rig);
}

/* Others have what there is, of those in the core's pool, too */
static void no_completion_queue(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_RESOLVING);
	struct fake_adapter *fake = rig_adapter();
	struct ib_cq **taken;
	int i, nr;

	taken = kunit_kcalloc(test, TAKEN_MAX, sizeof(*taken), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, taken);
	fake->no_cq = true;
	for (nr = 0; nr < TAKEN_MAX; nr++) {
		taken[nr] = ib_cq_pool_get(&fake->ib, TAKEN_CQES, -1,
					   IB_POLL_SOFTIRQ);
		if (IS_ERR(taken[nr]))
			break;
	}
	KUNIT_EXPECT_LT(test, nr, TAKEN_MAX);
	expect_refusal(test, rig);
	for (i = 0; i < nr; i++)
		ib_cq_pool_put(taken[i], TAKEN_CQES);
}

static struct kunit_case queue_cases[] = {
	KUNIT_CASE(reserve_and_release),
	KUNIT_CASE_PARAM(account_remote, account_gen_params),
	KUNIT_CASE_PARAM(account_local, account_gen_params),
	KUNIT_CASE_PARAM(never_runs_dry, depth_gen_params),
	KUNIT_CASE_PARAM(all_tasks_at_once, depth_gen_params),
	KUNIT_CASE(headers_are_kept),
	KUNIT_CASE(full_is_busy),
	KUNIT_CASE(full_but_for_control_pdus),
	KUNIT_CASE(full_for_a_control_pdu),
	KUNIT_CASE(dataouts_run_out),
	KUNIT_CASE_PARAM(post_is_refused, refused_gen_params),
	KUNIT_CASE(batch_is_refused),
	KUNIT_CASE(chained_at_the_end),
	KUNIT_CASE(nothing_is_sent_when_down),
	KUNIT_CASE(flushed_without_a_word),
	KUNIT_CASE_PARAM(send_fails, bad_end_gen_params),
	KUNIT_CASE(queues_are_halved),
	KUNIT_CASE(tasks_fit_the_queues),
	KUNIT_CASE(session_fits_the_device),
	KUNIT_CASE(queues_are_refused),
	KUNIT_CASE(no_protection_domain),
	KUNIT_CASE(no_completion_queue),
	{}
};

static struct kunit_suite queue_suite = {
	.name = "iser_queue",
	.suite_init = rig_suite_init,
	.suite_exit = rig_suite_exit,
	.exit = rig_exit,
	.test_cases = queue_cases,
};

kunit_test_suite(queue_suite);
