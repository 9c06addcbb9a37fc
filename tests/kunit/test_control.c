// SPDX-License-Identifier: GPL-2.0-only
/*
 * PDUs that are not commands: pings, task management, logout; login and text
 * requests, which have a buffer of their own; discovery sessions.
 */
#include "rig.h"

static struct fake_send *last_send(struct rig *rig)
{
	KUNIT_ASSERT_GT(rig->test, rig->fake->nr_sends, 0);
	return &rig->fake->sends[rig->fake->nr_sends - 1];
}

static const struct {
	const char *name;
	u8 opcode;
	bool no_answer;
} pdus[] = {
	{ "ping", ISCSI_OP_NOOP_OUT | ISCSI_OP_IMMEDIATE },
	{ "answer to a ping", ISCSI_OP_NOOP_OUT | ISCSI_OP_IMMEDIATE, true },
	{ "task management", ISCSI_OP_SCSI_TMFUNC | ISCSI_OP_IMMEDIATE },
	{ "logout", ISCSI_OP_LOGOUT | ISCSI_OP_IMMEDIATE },
};

KUNIT_ARRAY_PARAM_DESC(pdu, pdus, name);

static void control_pdu(struct kunit *test)
{
	const typeof(pdus[0]) *c = test->param_value;
	struct rig *rig = rig_make(test);
	struct fake_send *send;
	struct iser_ctrl plain;

	KUNIT_ASSERT_EQ(test, 0, rig_send_pdu(rig, c->opcode,
					      ISCSI_FLAG_CMD_FINAL,
					      c->no_answer ? RESERVED_ITT : 0,
					      NULL, 0));
	send = last_send(rig);
	iser_ctrl_init(&plain);
	KUNIT_EXPECT_EQ(test, 1, rig->fake->nr_sends);
	KUNIT_EXPECT_EQ(test, 1, rig->fake->doorbells);
	KUNIT_EXPECT_EQ(test, IB_WR_SEND, send->wr.opcode);
	KUNIT_EXPECT_EQ(test, 1, send->wr.num_sge);
	KUNIT_EXPECT_EQ(test, ISER_HEADERS_LEN, send->sge[0].length);
	KUNIT_EXPECT_MEMEQ(test, sent_ctrl(send), &plain, sizeof(plain));
	KUNIT_EXPECT_EQ(test, c->opcode, sent_req(send)->opcode);
	KUNIT_EXPECT_EQ(test, c->no_answer,
			sent_req(send)->itt == RESERVED_ITT);
	/* Nothing but the completion tells that the task is free again */
	KUNIT_EXPECT_EQ(test, c->no_answer, signalled(send));
	KUNIT_EXPECT_EQ(test, c->opcode == (ISCSI_OP_LOGOUT |
					    ISCSI_OP_IMMEDIATE),
			rig->conn->logout);
}

static unsigned int free_tasks(struct rig *rig)
{
	return kfifo_len(&rig->session->cmdpool.queue) / sizeof(void *);
}

static void unanswered_pdu_frees_its_task(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	unsigned int before = free_tasks(rig);

	KUNIT_ASSERT_EQ(test, 0, rig_send_pdu(rig, ISCSI_OP_NOOP_OUT |
					      ISCSI_OP_IMMEDIATE, 0,
					      RESERVED_ITT, NULL, 0));
	KUNIT_EXPECT_EQ(test, before - 1, free_tasks(rig));
	KUNIT_EXPECT_EQ(test, 1, fake_complete_sends(rig->fake));
	KUNIT_EXPECT_EQ(test, before, free_tasks(rig));
}

/* Send an immediate request of a header; the tag that its answer has to have */
static itt_t send_request(struct rig *rig, u8 opcode)
{
	KUNIT_ASSERT_EQ(rig->test, 0,
			rig_send_pdu(rig, opcode | ISCSI_OP_IMMEDIATE,
				     ISCSI_FLAG_CMD_FINAL, 0, NULL, 0));
	return sent_req(last_send(rig))->itt;
}

static void ping_frees_its_task(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	unsigned int before = free_tasks(rig);
	struct rig_pdu pong = { .opcode = ISCSI_OP_NOOP_IN };

	pong.itt = send_request(rig, ISCSI_OP_NOOP_OUT);
	rig_receive(rig, &pong);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
	KUNIT_EXPECT_EQ(test, before, free_tasks(rig));
}

static const struct hang_up {
	const char *name;
	bool answered;
	bool discovery;
	bool disks;
	int told;
} hang_ups[] = {
	{ "instead of an answer", .told = ISCSI_ERR_CONN_FAILED },
	{ "behind the answer", .answered = true },
	{ "while there are disks", .answered = true, .disks = true,
	  .told = ISCSI_ERR_CONN_FAILED },
	{ "where there are none", .answered = true, .disks = true,
	  .discovery = true },
};

KUNIT_ARRAY_PARAM_DESC(hang_up, hang_ups, name);

/* Some targets do so at once. It is an error if anybody still waits. */
static void hung_up_at_logout(struct kunit *test)
{
	const struct hang_up *c = test->param_value;
	struct rig *rig = rig_make(test);
	struct rig_pdu answer = { .opcode = ISCSI_OP_LOGOUT_RSP };

	rig->conn->discovery = c->discovery;
	/* As the iSCSI class does when it has taken the disks away */
	if (!c->disks)
		rig->session->cls_session->target_id = ISCSI_MAX_TARGET;
	answer.itt = send_request(rig, ISCSI_OP_LOGOUT);
	if (c->answered)
		rig_receive(rig, &answer);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
	iser_conn_hung_up(rig->conn);
	rig_settle();
	KUNIT_EXPECT_EQ(test, c->told, rig_told(rig));
}

/* Answered from the completion handler, with the locks that it holds */
static void targets_ping_is_answered(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	const struct rig_pdu ping = {
		.opcode = ISCSI_OP_NOOP_IN,
		.itt = RESERVED_ITT,
		.ttt = 0x1234,
	};
	struct iscsi_nopout *answer;

	rig_receive(rig, &ping);
	KUNIT_ASSERT_EQ(test, 1, rig->fake->nr_sends);
	answer = (struct iscsi_nopout *)sent_req(last_send(rig));
	KUNIT_EXPECT_EQ(test, ISCSI_OP_NOOP_OUT | ISCSI_OP_IMMEDIATE,
			answer->opcode);
	KUNIT_EXPECT_EQ(test, 0x1234, be32_to_cpu(answer->ttt));
	KUNIT_EXPECT_TRUE(test, answer->itt == RESERVED_ITT);
	KUNIT_EXPECT_TRUE(test, signalled(last_send(rig)));
	KUNIT_EXPECT_EQ(test, 1, fake_complete_sends(rig->fake));
}

static int send_login(struct rig *rig, u8 flags, const char *keys)
{
	return rig_send_pdu(rig, ISCSI_OP_LOGIN | ISCSI_OP_IMMEDIATE, flags, 0,
			    keys, strlen(keys) + 1);
}

/* The request leaves in a buffer that libiscsi has no hand in */
static void login_is_copied(struct kunit *test)
{
	static const char keys[] = "InitiatorName=iqn.2026-11.test:kunit";
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);
	struct iser_slot *slot;
	struct fake_send *send;

	KUNIT_ASSERT_EQ(test, 0, send_login(rig, 0, keys));
	send = last_send(rig);
	slot = &rig->conn->slots[rig->iscsi->login_task->itt];
	KUNIT_EXPECT_EQ(test, 1, send->wr.num_sge);
	KUNIT_EXPECT_EQ(test, ISER_HEADERS_LEN + sizeof(keys),
			send->sge[0].length);
	KUNIT_EXPECT_EQ(test, sizeof(keys), ntoh24(sent_req(send)->dlength));
	KUNIT_EXPECT_TRUE(test, signalled(send));
	KUNIT_EXPECT_MEMEQ(test, &slot->headers, send->head, ISER_HEADERS_LEN);
	KUNIT_EXPECT_MEMEQ(test, keys, (u8 *)(uintptr_t)send->sge[0].addr +
			   ISER_HEADERS_LEN, sizeof(keys));
}

static int send_discovery_login(struct rig *rig)
{
	static const char keys[] = "SessionType=Discovery";
	struct iscsi_hdr hdr = { .opcode = ISCSI_OP_LOGIN | ISCSI_OP_IMMEDIATE };

	hton24(hdr.dlength, sizeof(keys));
	return reach_transport()->send_pdu(rig->iscsi->cls_conn, &hdr,
					   (char *)keys, sizeof(keys));
}

/* iscsiadm would miss an answer that comes before its system call returns */
static void discovery_waits_for_its_caller(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);
	unsigned int posted;
	int err;

	preempt_disable();
	err = send_discovery_login(rig);
	posted = rig->fake->nr_sends;
	preempt_enable();
	KUNIT_EXPECT_EQ(test, 0, err);
	KUNIT_EXPECT_EQ(test, 0, posted);
	flush_delayed_work(&rig->conn->login_bell);
	KUNIT_EXPECT_EQ(test, 1, rig->fake->nr_sends);
}

/* iscsid does not, and a recovery depends on no processor's time */
static void login_does_not_wait(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);
	struct iscsi_hdr hdr = { .opcode = ISCSI_OP_LOGIN | ISCSI_OP_IMMEDIATE };
	unsigned int posted;
	int err;

	preempt_disable();
	err = reach_transport()->send_pdu(rig->iscsi->cls_conn, &hdr, NULL, 0);
	posted = rig->fake->nr_sends;
	preempt_enable();
	KUNIT_EXPECT_EQ(test, 0, err);
	KUNIT_EXPECT_EQ(test, 1, posted);
}

/* A teardown that comes first posts it, for the drain to wait for */
static void discovery_that_still_waits(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);
	bool waited;

	preempt_disable();
	send_discovery_login(rig);
	waited = cancel_delayed_work(&rig->conn->login_bell);
	preempt_enable();
	KUNIT_EXPECT_TRUE(test, waited);
	iser_conn_fail(rig->conn, -EIO);
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
	KUNIT_EXPECT_EQ(test, 1, rig->fake->nr_sends);
	KUNIT_EXPECT_FALSE(test, work_busy(&rig->conn->login_bell.work));
}

/* iscsid's requests are at most as large as the buffer */
static void longest_login(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);
	char *keys = kunit_kmalloc(test, ISCSI_DEF_MAX_RECV_SEG_LEN + 1,
				   GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, keys);
	memset(keys, 'x', ISCSI_DEF_MAX_RECV_SEG_LEN + 1);
	KUNIT_EXPECT_NE(test, 0,
			rig_send_pdu(rig, ISCSI_OP_LOGIN | ISCSI_OP_IMMEDIATE,
				     0, 0, keys,
				     ISCSI_DEF_MAX_RECV_SEG_LEN + 1));
	KUNIT_EXPECT_EQ(test, 0, rig->fake->nr_sends);
	KUNIT_EXPECT_EQ(test, 0,
			rig_send_pdu(rig, ISCSI_OP_LOGIN | ISCSI_OP_IMMEDIATE,
				     0, 0, keys, ISCSI_DEF_MAX_RECV_SEG_LEN));
	KUNIT_EXPECT_EQ(test, ISER_LOGIN_LEN, last_send(rig)->sge[0].length);
}

/* A login of several requests: the task is used again, and again */
static void login_in_steps(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);
	struct rig_pdu response = { .opcode = ISCSI_OP_LOGIN_RSP };
	int i;

	for (i = 0; i < 5; i++) {
		KUNIT_ASSERT_EQ(test, 0, send_login(rig, 0, "AuthMethod=None"));
		response.itt = sent_req(last_send(rig))->itt;
		/* Whether the response or the completion is first */
		if (i & 1)
			fake_complete_sends(rig->fake);
		rig_receive(rig, &response);
		KUNIT_ASSERT_TRUE(test, iser_conn_is_up(rig->conn));
		fake_complete_sends(rig->fake);
		KUNIT_EXPECT_EQ(test, ISER_LOGIN_RX,
				fake_recvs_left(rig->fake));
	}
	KUNIT_EXPECT_EQ(test, rig->conn->sq_size,
			atomic_read(&rig->conn->sq_avail));
	rig_login(rig, "SessionType=Normal");
	rig_start(rig);
}

/* A fast target sends its first PDU right behind the login response */
static void receives_come_before_the_last_request(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);

	KUNIT_EXPECT_EQ(test, ISER_LOGIN_RX, fake_recvs_left(rig->fake));
	KUNIT_ASSERT_EQ(test, 0,
			send_login(rig, ISCSI_FLAG_LOGIN_TRANSIT |
				   ISCSI_FULL_FEATURE_PHASE,
				   "SessionType=Normal"));
	KUNIT_EXPECT_TRUE(test, rig->conn->rx_posted);
	KUNIT_EXPECT_EQ(test, ISER_LOGIN_RX + rig->conn->nr_rx,
			fake_recvs_left(rig->fake));
}

static void no_receives_no_request(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);

	rig->fake->recv_fails_at = 10;
	send_login(rig, ISCSI_FLAG_LOGIN_TRANSIT | ISCSI_FULL_FEATURE_PHASE,
		   "SessionType=Normal");
	KUNIT_EXPECT_EQ(test, 0, rig->fake->nr_sends);
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
	KUNIT_EXPECT_EQ(test, -ENOMEM, rig->conn->error);
}

/* Discovery goes on with large receives, and moves no data */
static void discovery(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);
	struct rig_pdu response = {
		.opcode = ISCSI_OP_TEXT_RSP,
		.data = kunit_kzalloc(test, ISCSI_DEF_MAX_RECV_SEG_LEN,
				      GFP_KERNEL),
		.len = ISCSI_DEF_MAX_RECV_SEG_LEN,
	};
	int i;

	KUNIT_ASSERT_NOT_NULL(test, response.data);
	rig_login(rig, "SessionType=Discovery");
	KUNIT_EXPECT_TRUE(test, rig->conn->discovery);
	KUNIT_EXPECT_FALSE(test, rig->conn->rx_posted);
	rig_start(rig);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mrs);

	for (i = 0; i < 5; i++) {
		KUNIT_ASSERT_EQ(test, 0,
				rig_send_pdu(rig, ISCSI_OP_TEXT |
					     ISCSI_OP_IMMEDIATE,
					     ISCSI_FLAG_CMD_FINAL, 0,
					     "SendTargets=All", 16));
		response.itt = sent_req(last_send(rig))->itt;
		rig_receive(rig, &response);
		KUNIT_ASSERT_TRUE(test, iser_conn_is_up(rig->conn));
		fake_complete_sends(rig->fake);
		KUNIT_EXPECT_EQ(test, ISER_LOGIN_RX,
				fake_recvs_left(rig->fake));
	}
}

/* A value that only looks like it leaves the session a normal one */
static void not_quite_discovery(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);

	rig_login(rig, "XSessionType=Discovery");
	KUNIT_EXPECT_FALSE(test, rig->conn->discovery);
	KUNIT_EXPECT_TRUE(test, rig->conn->rx_posted);
}

static void start_needs_a_login(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);

	KUNIT_EXPECT_EQ(test, -EINVAL,
			reach_transport()->start_conn(rig->iscsi->cls_conn));
}

static void start_needs_a_segment_length(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_LOGGED_IN);

	rig->iscsi->max_xmit_dlength = 0;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			reach_transport()->start_conn(rig->iscsi->cls_conn));
}

static const struct {
	const char *name;
	enum iscsi_param param;
	char *value;
	int err;
} negotiated[] = {
	{ "no header digest", ISCSI_PARAM_HDRDGST_EN, "0", 0 },
	{ "a header digest", ISCSI_PARAM_HDRDGST_EN, "1", -EPROTO },
	{ "no data digest", ISCSI_PARAM_DATADGST_EN, "0", 0 },
	{ "a data digest", ISCSI_PARAM_DATADGST_EN, "1", -EPROTO },
	{ "digests by name", ISCSI_PARAM_DATADGST_EN, "CRC32C", -EPROTO },
	{ "markers", ISCSI_PARAM_IFMARKER_EN, "1", -EPROTO },
	{ "markers the other way", ISCSI_PARAM_OFMARKER_EN, "1", -EPROTO },
	{ "a segment length", ISCSI_PARAM_MAX_XMIT_DLENGTH, "512", 0 },
	{ "a segment length of 0", ISCSI_PARAM_MAX_XMIT_DLENGTH, "0", -EINVAL },
	{ "a negative one", ISCSI_PARAM_MAX_XMIT_DLENGTH, "-512", -EINVAL },
	{ "one beyond all bounds", ISCSI_PARAM_MAX_XMIT_DLENGTH, "4294967808",
	  -EINVAL },
	{ "none at all", ISCSI_PARAM_MAX_XMIT_DLENGTH, "", -EINVAL },
	{ "one that libiscsi reads as 0", ISCSI_PARAM_MAX_XMIT_DLENGTH, "0x1000",
	  -EINVAL },
	{ "a receive length of 0", ISCSI_PARAM_MAX_RECV_DLENGTH, "0", -EINVAL },
	{ "a first burst", ISCSI_PARAM_FIRST_BURST, "65536", 0 },
	{ "a first burst of 0", ISCSI_PARAM_FIRST_BURST, "0", -EINVAL },
	{ "a burst of 0", ISCSI_PARAM_MAX_BURST, "0", -EINVAL },
	{ "what is none of its business", ISCSI_PARAM_TPGT, "1", 0 },
};

KUNIT_ARRAY_PARAM_DESC(negotiated, negotiated, name);

static void set_param(struct kunit *test)
{
	const typeof(negotiated[0]) *c = test->param_value;
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);
	int first = rig->session->first_burst, max = rig->session->max_burst;

	KUNIT_EXPECT_EQ(test, c->err,
			reach_transport()->set_param(rig->iscsi->cls_conn,
						     c->param, c->value,
						     strlen(c->value)));
	if (!c->err)
		return;
	KUNIT_EXPECT_EQ(test, 8192, rig->iscsi->max_xmit_dlength);
	KUNIT_EXPECT_EQ(test, first, rig->session->first_burst);
	KUNIT_EXPECT_EQ(test, max, rig->session->max_burst);
	KUNIT_EXPECT_EQ(test, 0, rig->iscsi->datadgst_en);
}

static struct kunit_case control_cases[] = {
	KUNIT_CASE_PARAM(control_pdu, pdu_gen_params),
	KUNIT_CASE(unanswered_pdu_frees_its_task),
	KUNIT_CASE(ping_frees_its_task),
	KUNIT_CASE_PARAM(hung_up_at_logout, hang_up_gen_params),
	KUNIT_CASE(targets_ping_is_answered),
	KUNIT_CASE(login_is_copied),
	KUNIT_CASE(discovery_waits_for_its_caller),
	KUNIT_CASE(login_does_not_wait),
	KUNIT_CASE(discovery_that_still_waits),
	KUNIT_CASE(longest_login),
	KUNIT_CASE(login_in_steps),
	KUNIT_CASE(receives_come_before_the_last_request),
	KUNIT_CASE(no_receives_no_request),
	KUNIT_CASE(discovery),
	KUNIT_CASE(not_quite_discovery),
	KUNIT_CASE(start_needs_a_login),
	KUNIT_CASE(start_needs_a_segment_length),
	KUNIT_CASE_PARAM(set_param, negotiated_gen_params),
	{}
};

static struct kunit_suite control_suite = {
	.name = "iser_control",
	.suite_init = rig_suite_init,
	.suite_exit = rig_suite_exit,
	.exit = rig_exit,
	.test_cases = control_cases,
};

kunit_test_suite(control_suite);
