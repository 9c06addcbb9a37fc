// SPDX-License-Identifier: GPL-2.0-only
/*
 * Receive credits: there is always a receive for everything that a target may
 * send, they go back in batches, and the large ones serve the login only.
 */
#include "rig.h"

static void login_receives(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);
	struct fake_recv *recv = rig->fake->recvs;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, ISER_LOGIN_RX, rig->fake->nr_recvs);
	KUNIT_EXPECT_EQ(test, 1, rig->fake->recv_doorbells);
	for (i = 0; i < ISER_LOGIN_RX; i++) {
		KUNIT_EXPECT_EQ(test, ISER_LOGIN_LEN, recv[i].sge.length);
		KUNIT_EXPECT_EQ(test, FAKE_LKEY, recv[i].sge.lkey);
	}
}

static const unsigned int sizes[] = { 16, 32, 64, 128 };

static void size_desc(const unsigned int *size, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u tasks", *size);
}

KUNIT_ARRAY_PARAM(size, sizes, size_desc);

/* One for each task, and those that no request asked for */
static void a_receive_for_everything(struct kunit *test)
{
	unsigned int tasks = *(const unsigned int *)test->param_value;
	struct rig *rig = rig_make(test, .tasks = tasks);
	struct fake_adapter *fake = rig->fake;
	unsigned int n = tasks + ISER_RX_UNEXPECTED + ISER_RX_BATCH, i, j;

	KUNIT_EXPECT_EQ(test, n, rig->conn->nr_rx);
	KUNIT_ASSERT_EQ(test, ISER_LOGIN_RX + n, fake->nr_recvs);
	KUNIT_EXPECT_EQ(test, 1 + DIV_ROUND_UP(n, ISER_RX_BATCH),
			fake->recv_doorbells);
	for (i = ISER_LOGIN_RX; i < fake->nr_recvs; i++) {
		KUNIT_EXPECT_EQ(test, ISER_RX_LEN, fake->recvs[i].sge.length);
		for (j = ISER_LOGIN_RX; j < i; j++)
			if (abs_diff(fake->recvs[i].sge.addr,
				     fake->recvs[j].sge.addr) < ISER_RX_LEN)
				KUNIT_FAIL(test, "%u overlaps %u", i, j);
	}
}

static void queue_has_room(struct kunit *test)
{
	unsigned int tasks = *(const unsigned int *)test->param_value;
	struct rig *rig = rig_make(test, .tasks = tasks);

	/* And for the drain's own */
	KUNIT_EXPECT_LT(test, rig->fake->nr_recvs, rig->fake->cap.max_recv_wr);
}

static void ask_and_answer(struct rig *rig)
{
	struct scsi_cmnd *sc = rig_send(rig, DMA_NONE, 0);

	rig_answer(rig, sc, NULL);
	fake_complete_sends(rig->fake);
	KUNIT_ASSERT_TRUE(rig->test, finished(sc));
}

/* First the receives that the login left, then batches */
static void given_back_in_batches(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct fake_adapter *fake = rig->fake;
	unsigned int all = rig->conn->nr_rx, bells = fake->recv_doorbells, i;

	/* The login's are not given back */
	KUNIT_EXPECT_EQ(test, all + ISER_LOGIN_RX - 1, fake_recvs_left(fake));
	for (i = 0; i < ISER_LOGIN_RX - 1; i++)
		ask_and_answer(rig);
	KUNIT_EXPECT_EQ(test, all, fake_recvs_left(fake));
	KUNIT_EXPECT_EQ(test, bells, fake->recv_doorbells);

	for (i = 1; i <= 5 * ISER_RX_BATCH; i++) {
		ask_and_answer(rig);
		KUNIT_EXPECT_EQ(test, bells + i / ISER_RX_BATCH,
				fake->recv_doorbells);
		KUNIT_EXPECT_EQ(test, all - i % ISER_RX_BATCH,
				fake_recvs_left(fake));
		KUNIT_EXPECT_EQ(test, i % ISER_RX_BATCH,
				rig->conn->nr_rx_done);
	}
}

/* The large ones are gone with the last of them that is used, and not before */
static void login_receives_go(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct iser_conn *conn = rig->conn;

	KUNIT_ASSERT_EQ(test, ISER_LOGIN_RX - 1, conn->nr_login_rx);
	while (conn->nr_login_rx) {
		flush_work(&conn->login_over);
		KUNIT_EXPECT_EQ(test, ISER_LOGIN_RX,
				conn->login_ring.nr_chunks);
		ask_and_answer(rig);
	}
	flush_work(&conn->login_over);
	KUNIT_EXPECT_EQ(test, 0, conn->login_ring.nr_chunks);
	ask_and_answer(rig);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(conn));
}

/* Every task answered at once, plus what was not asked for, in one go */
static void worst_case(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct rig_pdu nop = { .opcode = ISCSI_OP_NOOP_IN, .itt = RESERVED_ITT };
	struct scsi_cmnd *sc[17];
	unsigned int i;

	for (i = 0; i < ISER_LOGIN_RX - 1 + ISER_RX_BATCH - 1; i++)
		ask_and_answer(rig);
	KUNIT_ASSERT_EQ(test, ISER_RX_BATCH - 1, rig->conn->nr_rx_done);
	KUNIT_EXPECT_GE(test, fake_recvs_left(rig->fake),
			rig->session->cmds_max + ISER_RX_UNEXPECTED);
	for (i = 0; i < ARRAY_SIZE(sc); i++)
		sc[i] = rig_send(rig, DMA_NONE, 0);
	for (i = 0; i < ISER_RX_UNEXPECTED; i++)
		rig_receive(rig, &nop);
	for (i = 0; i < ARRAY_SIZE(sc); i++)
		rig_answer(rig, sc[i], NULL);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
}

static void refused_at_first(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_UP);
	struct iscsi_transport *tt = reach_transport();
	struct iscsi_cls_session *cls;

	cls = tt->create_session(rig->ep, 32, 32, 1);
	KUNIT_ASSERT_NOT_NULL(test, cls);
	rig->session = cls->dd_data;
	rig->iscsi = tt->create_conn(cls, 0)->dd_data;
	rig->fake->recv_fails_at = 1;
	KUNIT_EXPECT_NE(test, 0, tt->bind_conn(cls, rig->iscsi->cls_conn,
					       rig->ep->id, 1));
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
	KUNIT_EXPECT_EQ(test, -ENOMEM, rig->conn->error);
}

static void refused_later(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	unsigned int i;

	for (i = 0; i < ISER_LOGIN_RX - 1 + ISER_RX_BATCH - 1; i++)
		ask_and_answer(rig);
	rig->fake->recv_fails_at = 0;
	ask_and_answer(rig);
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
	KUNIT_EXPECT_EQ(test, -ENOMEM, rig->conn->error);
}

/* Nothing goes back to a queue pair that is being drained */
static void not_given_back_when_down(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	unsigned int bells = rig->fake->recv_doorbells, i;

	mutex_lock(&rig->conn->mutex);
	iser_conn_fail(rig->conn, 0);
	for (i = 0; i < 2 * ISER_RX_BATCH; i++) {
		local_bh_disable();
		iser_rx_give_back(rig->conn, &rig->conn->rx[i]);
		local_bh_enable();
	}
	mutex_unlock(&rig->conn->mutex);
	KUNIT_EXPECT_EQ(test, bells, rig->fake->recv_doorbells);
	KUNIT_EXPECT_EQ(test, 0, rig->conn->nr_rx_done);
}

static void flushed_receive_ends_it(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct ib_wc wc = { .status = IB_WC_WR_FLUSH_ERR };

	fake_complete_recv(rig->fake, &wc);
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
	/* Nothing failed before: then the other side has hung up */
	KUNIT_EXPECT_EQ(test, -ECONNRESET, rig->conn->error);
}

static struct kunit_case receive_cases[] = {
	KUNIT_CASE(login_receives),
	KUNIT_CASE_PARAM(a_receive_for_everything, size_gen_params),
	KUNIT_CASE_PARAM(queue_has_room, size_gen_params),
	KUNIT_CASE(given_back_in_batches),
	KUNIT_CASE(login_receives_go),
	KUNIT_CASE(worst_case),
	KUNIT_CASE(refused_at_first),
	KUNIT_CASE(refused_later),
	KUNIT_CASE(not_given_back_when_down),
	KUNIT_CASE(flushed_receive_ends_it),
	{}
};

static struct kunit_suite receive_suite = {
	.name = "iser_receive",
	.suite_init = rig_suite_init,
	.suite_exit = rig_suite_exit,
	.exit = rig_exit,
	.test_cases = receive_cases,
};

kunit_test_suite(receive_suite);
