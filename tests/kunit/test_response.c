// SPDX-License-Identifier: GPL-2.0-only
/*
 * Responses: the right one completes the command, with status, residual and
 * sense; whatever else a target may think of drops the connection, once, with
 * -EPROTO, and completes nothing.
 */
#include <linux/delay.h>
#include <linux/unaligned.h>
#include "rig.h"

static void expect_dropped(struct kunit *test, struct rig *rig)
{
	KUNIT_EXPECT_FALSE(test, iser_conn_is_up(rig->conn));
	KUNIT_EXPECT_EQ(test, -EPROTO, rig->conn->error);
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
}

static void right_response(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_send(rig, DMA_FROM_DEVICE, 4096);

	rig_answer(rig, sc, &rig->fake->sends[0].key);
	KUNIT_EXPECT_TRUE(test, finished(sc));
	KUNIT_EXPECT_EQ(test, 0, sc->result);
	KUNIT_EXPECT_EQ(test, 0, scsi_get_resid(sc));
	KUNIT_EXPECT_EQ(test, 4096, rig->iscsi->rxdata_octets);
	KUNIT_EXPECT_EQ(test, 1, rig->conn->stats.inv_remote);
	KUNIT_EXPECT_EQ(test, 0, rig->conn->stats.inv_local);
	KUNIT_EXPECT_EQ(test, 2, rig->fake->nr_sends);
}

/* Neither answered in order nor one at a time */
static void responses_out_of_order(struct kunit *test)
{
	static const int order[] = { 3, 0, 4, 1, 2 };
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc[5];
	u32 key[5];
	int i;

	for (i = 0; i < 5; i++) {
		sc[i] = rig_send(rig, DMA_FROM_DEVICE, 4096);
		key[i] = rig->fake->sends[2 * i].key;
	}
	for (i = 0; i < 5; i++) {
		rig_answer(rig, sc[order[i]], &key[order[i]]);
		KUNIT_EXPECT_TRUE(test, finished(sc[order[i]]));
		KUNIT_EXPECT_EQ(test, 4 - i, rig->fake->mapped);
	}
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
}

struct status_case {
	const char *name;
	u8 reason;
	u8 flags;
	u8 status;
	u32 residual;
	/* bytes of the sense data above */
	unsigned int len;
	/* expected */
	int result;
	unsigned int resid;
};

/* The length of the sense data, and sense data: invalid field in CDB */
static const u8 sense[] = {
	0x00, 0x12, 0x70, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x0a,
	0x00, 0x00, 0x00, 0x00, 0x24, 0x00, 0x00, 0x00, 0x00, 0x00,
};

static const struct status_case status_cases[] = {
	{ "good", 0, 0, 0, 0, 0, 0, 0 },
	{ "busy", 0, 0, SAM_STAT_BUSY, 0, 0, SAM_STAT_BUSY, 0 },
	{ "queue full", 0, 0, SAM_STAT_TASK_SET_FULL, 0, 0,
	  SAM_STAT_TASK_SET_FULL, 0 },
	{ "target failure", 1, 0, 0, 0, 0, DID_ERROR << 16, 0 },
	{ "underflow", 0, ISCSI_FLAG_CMD_UNDERFLOW, 0, 512, 0, 0, 512 },
	{ "underflow of all", 0, ISCSI_FLAG_CMD_UNDERFLOW, 0, 4096, 0, 0,
	  4096 },
	{ "underflow of more than there is", 0, ISCSI_FLAG_CMD_UNDERFLOW, 0,
	  4097, 0, DID_BAD_TARGET << 16, 0 },
	{ "overflow", 0, ISCSI_FLAG_CMD_OVERFLOW, 0, 512, 0, 0, 0 },
	{ "overflow of more than there is", 0, ISCSI_FLAG_CMD_OVERFLOW, 0,
	  1 << 20, 0, 0, 0 },
	{ "overflow by a negative number", 0, ISCSI_FLAG_CMD_OVERFLOW, 0,
	  0x80000000, 0, 0, 0 },
	{ "underflow the other way", 0, ISCSI_FLAG_CMD_BIDI_UNDERFLOW, 0, 0, 0,
	  DID_BAD_TARGET << 16, 0 },
	{ "overflow the other way", 0, ISCSI_FLAG_CMD_BIDI_OVERFLOW, 0, 0, 0,
	  DID_BAD_TARGET << 16, 0 },
	{ "good with data", 0, 0, 0, 0, sizeof(sense), 0, 0 },
	{ "sense", 0, 0, SAM_STAT_CHECK_CONDITION, 0, sizeof(sense),
	  SAM_STAT_CHECK_CONDITION, 0 },
	{ "sense missing", 0, 0, SAM_STAT_CHECK_CONDITION, 0, 0,
	  DID_BAD_TARGET << 16, 0 },
	{ "sense shorter than it says", 0, 0, SAM_STAT_CHECK_CONDITION, 0,
	  sizeof(sense) - 1, DID_BAD_TARGET << 16, 0 },
};

KUNIT_ARRAY_PARAM_DESC(status, status_cases, name);

/* Whatever it says, each response is counted, and moves the windows */
static void expect_counted(struct kunit *test, struct rig *rig)
{
	KUNIT_EXPECT_EQ(test, 1, rig->iscsi->scsirsp_pdus_cnt);
	KUNIT_EXPECT_EQ(test, rig->statsn + 1, rig->iscsi->exp_statsn);
	KUNIT_EXPECT_EQ(test, rig->session->cmdsn, rig->session->exp_cmdsn);
	KUNIT_EXPECT_EQ(test, rig->session->cmdsn + 1024,
			rig->session->max_cmdsn);
	KUNIT_EXPECT_NE(test, 0ul, rig->iscsi->last_recv);
}

/* Receives are the adapter's: nobody else writes to them */
static void expect_untouched(struct kunit *test, struct rig *rig, u32 residual)
{
	const struct iscsi_scsi_rsp *rsp = rig->fake->received +
					   sizeof(struct iser_ctrl);

	KUNIT_EXPECT_EQ(test, residual, be32_to_cpu(rsp->residual_count));
}

/* Use the large ones up, which are freed with the last */
static struct rig *rig_without_login_receives(struct kunit *test)
{
	const struct rig_pdu nop = {
		.opcode = ISCSI_OP_NOOP_IN, .itt = RESERVED_ITT,
	};
	struct rig *rig = rig_make(test);

	while (rig->conn->nr_login_rx)
		rig_receive(rig, &nop);
	return rig;
}

static void status(struct kunit *test)
{
	const struct status_case *c = test->param_value;
	struct rig *rig = rig_without_login_receives(test);
	struct scsi_cmnd *sc = rig_send(rig, DMA_FROM_DEVICE, 4096);
	const struct rig_pdu pdu = {
		.opcode = ISCSI_OP_SCSI_CMD_RSP,
		.itt = rig_task(sc)->hdr->itt,
		.reason = c->reason,
		.flags = c->flags,
		.status = c->status,
		.residual = c->residual,
		.data = sense,
		.len = c->len,
		.invalidates = &rig->fake->sends[0].key,
	};

	rig->iscsi->last_recv = 0;
	rig_receive(rig, &pdu);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
	KUNIT_EXPECT_TRUE(test, finished(sc));
	expect_counted(test, rig);
	expect_untouched(test, rig, c->residual);
	KUNIT_EXPECT_EQ(test, c->result, sc->result);
	KUNIT_EXPECT_EQ(test, c->resid, (unsigned int)scsi_get_resid(sc));
	if (c->result == SAM_STAT_CHECK_CONDITION)
		KUNIT_EXPECT_MEMEQ(test, sc->sense_buffer, sense + 2,
				   c->len - 2);
}

/* As much sense data as SPC-4 has, and its length, fits in any receive */
static void longest_sense(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	u8 *data = kunit_kzalloc(test, 254, GFP_KERNEL);
	struct rig_pdu pdu = {
		.opcode = ISCSI_OP_SCSI_CMD_RSP,
		.status = SAM_STAT_CHECK_CONDITION,
		.data = data,
		.len = 254,
	};
	int i;

	KUNIT_ASSERT_NOT_NULL(test, data);
	put_unaligned_be16(252, data);
	memset(data + 2, 0x72, 252);
	/* The first ones arrive in receives that the login has left */
	for (i = 0; i < ISER_LOGIN_RX + 2; i++) {
		struct scsi_cmnd *sc = rig_send(rig, DMA_NONE, 0);

		pdu.itt = rig_task(sc)->hdr->itt;
		rig_receive(rig, &pdu);
		KUNIT_EXPECT_TRUE(test, finished(sc));
		KUNIT_EXPECT_EQ(test, SAM_STAT_CHECK_CONDITION, sc->result);
		KUNIT_EXPECT_EQ(test, 0x72,
				sc->sense_buffer[SCSI_SENSE_BUFFERSIZE - 1]);
	}
}

/* A PDU that is not what the command waits for */
struct wrong_case {
	const char *name;
	u8 opcode;
	u32 tag_xor;
	bool reserved_tag;
	unsigned int len;
	bool invalidates;
	u32 key_xor;
};

#define GEN(n) ((n) << ISER_ITT_INDEX_BITS)
#define AGE(n) ((u32)(n) << ISER_ITT_AGE_SHIFT)

static const struct wrong_case wrong_cases[] = {
	{ "ping response", ISCSI_OP_NOOP_IN },
	{ "task management response", ISCSI_OP_SCSI_TMFUNC_RSP },
	{ "login response", ISCSI_OP_LOGIN_RSP },
	{ "text response", ISCSI_OP_TEXT_RSP },
	{ "logout response", ISCSI_OP_LOGOUT_RSP },
	{ "Data-In", ISCSI_OP_SCSI_DATA_IN },
	{ "R2T", ISCSI_OP_R2T },
	{ "vendor's opcode", 0x3c },
	{ "an initiator's opcode", ISCSI_OP_SCSI_CMD },
	{ "generation before", ISCSI_OP_SCSI_CMD_RSP, GEN(1) },
	{ "generation far away", ISCSI_OP_SCSI_CMD_RSP, GEN(0x4000) },
	{ "another age", ISCSI_OP_SCSI_CMD_RSP, AGE(1) },
	{ "another task", ISCSI_OP_SCSI_CMD_RSP, 1 },
	{ "a task that there is not", ISCSI_OP_SCSI_CMD_RSP, 0x1000 },
	{ "no tag", ISCSI_OP_SCSI_CMD_RSP, 0, true },
	{ "another key", ISCSI_OP_SCSI_CMD_RSP, 0, false, 0, true, 1 },
	{ "a key of another region", ISCSI_OP_SCSI_CMD_RSP, 0, false, 0, true,
	  0x300 },
	{ "key 0", ISCSI_OP_SCSI_CMD_RSP, 0, false, 0, true, ~0 },
	{ "async message that invalidates", ISCSI_OP_ASYNC_EVENT, 0, true, 0,
	  true },
	{ "ping that invalidates", ISCSI_OP_NOOP_IN, 0, true, 0, true },
	{ "ping with data", ISCSI_OP_NOOP_IN, 0, true, 4 },
	{ "reject that invalidates", ISCSI_OP_REJECT, 0, true, 48, true },
	{ "reject without a header", ISCSI_OP_REJECT, 0, true, 0 },
	{ "reject of part of a header", ISCSI_OP_REJECT, 0, true, 47 },
};

KUNIT_ARRAY_PARAM_DESC(wrong, wrong_cases, name);

static void wrong_response(struct kunit *test)
{
	static const u8 zeros[48];
	const struct wrong_case *c = test->param_value;
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_send(rig, DMA_FROM_DEVICE, 4096);
	u32 key = rig->fake->sends[0].key;
	u32 bad_key = c->key_xor == ~0 ? 0 : key ^ c->key_xor;
	u32 tag = (__force u32)rig_task(sc)->hdr->itt ^ c->tag_xor;
	const struct rig_pdu pdu = {
		.opcode = c->opcode,
		.itt = c->reserved_tag ? RESERVED_ITT : (__force itt_t)tag,
		.data = zeros,
		.len = c->len,
		.invalidates = c->invalidates ? &bad_key : NULL,
	};

	rig_receive(rig, &pdu);
	KUNIT_ASSERT_FALSE(test, finished(sc));
	expect_dropped(test, rig);
	KUNIT_EXPECT_EQ(test, 0, rig->conn->stats.inv_remote);
	/* The command is tried again, if libiscsi says so; here it does not */
	KUNIT_ASSERT_FALSE(test, finished(sc));
	KUNIT_EXPECT_EQ(test, 1, refcount_read(&rig_task(sc)->refcount));
}

/* The raw message, for what rig_receive() would not send */
static void *raw(struct kunit *test, struct scsi_cmnd *sc, u32 len)
{
	struct iser_ctrl *ctrl = kunit_kzalloc(test, max_t(u32, len, 76),
					       GFP_KERNEL);
	struct iscsi_hdr *hdr = (struct iscsi_hdr *)(ctrl + 1);

	KUNIT_ASSERT_NOT_NULL(test, ctrl);
	iser_ctrl_init(ctrl);
	hdr->opcode = ISCSI_OP_SCSI_CMD_RSP;
	hdr->flags = ISCSI_FLAG_CMD_FINAL;
	hdr->itt = rig_task(sc)->hdr->itt;
	return ctrl;
}

static const struct {
	const char *name;
	u32 len;
	u32 dlength;
	u8 type;
} malformed_cases[] = {
	{ "empty", 0, 0, ISCSI_CTRL },
	{ "short", ISER_HEADERS_LEN - 1, 0, ISCSI_CTRL },
	{ "long", ISER_HEADERS_LEN + 4, 0, ISCSI_CTRL },
	{ "data missing", ISER_HEADERS_LEN + 4, 5, ISCSI_CTRL },
	{ "Hello", ISER_HEADERS_LEN, 0, ISER_HELLO },
	{ "HelloReply", ISER_HEADERS_LEN, 0, ISER_HELLORPLY },
	{ "unknown type", ISER_HEADERS_LEN, 0, 0x70 },
};

KUNIT_ARRAY_PARAM_DESC(malformed, malformed_cases, name);

static void malformed(struct kunit *test)
{
	const typeof(malformed_cases[0]) *c = test->param_value;
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_send(rig, DMA_FROM_DEVICE, 4096);
	struct iser_ctrl *ctrl = raw(test, sc, c->len);

	ctrl->flags = c->type;
	hton24(((struct iscsi_hdr *)(ctrl + 1))->dlength, c->dlength);
	KUNIT_ASSERT_TRUE(test, fake_receive(rig->fake, ctrl, c->len, NULL));
	KUNIT_EXPECT_FALSE(test, finished(sc));
	expect_dropped(test, rig);
}

/* RDMA Write with Immediate: the buffer is what it was before */
static void not_a_send(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_send(rig, DMA_FROM_DEVICE, 4096);
	struct fake_recv *recv = fake_next_recv(rig->fake);
	struct ib_wc wc = {
		.status = IB_WC_SUCCESS,
		.opcode = IB_WC_RECV_RDMA_WITH_IMM,
		.wc_flags = IB_WC_WITH_IMM,
		.byte_len = ISER_HEADERS_LEN,
	};

	memcpy((void *)(uintptr_t)recv->sge.addr,
	       raw(test, sc, ISER_HEADERS_LEN), ISER_HEADERS_LEN);
	fake_complete_recv(rig->fake, &wc);
	KUNIT_EXPECT_FALSE(test, finished(sc));
	expect_dropped(test, rig);
}

static void answered_twice(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_send(rig, DMA_FROM_DEVICE, 4096);
	struct rig_pdu pdu = {
		.opcode = ISCSI_OP_SCSI_CMD_RSP,
		.itt = rig_task(sc)->hdr->itt,
	};

	rig_answer(rig, sc, &rig->fake->sends[0].key);
	KUNIT_EXPECT_TRUE(test, finished(sc));
	rig_receive(rig, &pdu);
	expect_dropped(test, rig);
}

/* The second response comes while the key of the first is being killed */
static void answered_twice_meanwhile(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_send(rig, DMA_FROM_DEVICE, 4096);

	rig_answer(rig, sc, NULL);
	KUNIT_ASSERT_FALSE(test, finished(sc));
	rig_answer(rig, sc, &rig->fake->sends[0].key);
	KUNIT_EXPECT_EQ(test, 0, rig->conn->stats.inv_remote);
	expect_dropped(test, rig);
	KUNIT_EXPECT_TRUE(test, finished(sc));
}

/* The slot's present user is not completed by its previous one's response */
static void stale_response(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct rig_pdu pdu = { .opcode = ISCSI_OP_SCSI_CMD_RSP };
	struct scsi_cmnd *sc = rig_send(rig, DMA_NONE, 0);
	int slot = rig_task(sc)->itt;

	pdu.itt = rig_task(sc)->hdr->itt;
	rig_answer(rig, sc, NULL);
	/* Tasks are used in turn: go round until it is that one's again */
	for (;;) {
		sc = rig_send(rig, DMA_NONE, 0);
		if (rig_task(sc)->itt == slot)
			break;
		rig_answer(rig, sc, NULL);
		fake_complete_sends(rig->fake);
	}
	rig_receive(rig, &pdu);
	KUNIT_EXPECT_FALSE(test, finished(sc));
	expect_dropped(test, rig);
}

/* A target that guesses a tag before the doorbell has been rung */
static void answered_before_it_was_sent(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_pages(rig, DMA_FROM_DEVICE, 4096);

	sc->flags = 0;
	KUNIT_ASSERT_EQ(test, 0, rig_queue(rig, sc));
	KUNIT_ASSERT_EQ(test, 0, rig->fake->nr_sends);
	rig_answer(rig, sc, NULL);
	KUNIT_EXPECT_EQ(test, 0, rig->conn->stats.inv_local);
	KUNIT_EXPECT_FALSE(test, finished(sc));
	expect_dropped(test, rig);
}

/*
 * A target that is quicker than the doorbell: its PDU is there while the adapter
 * is still being told, and is handled by another processor.
 */
struct quick {
	struct work_struct work;
	struct rig *rig;
	struct iser_ctrl *ctrl;
	u32 len;
	itt_t *tag;
	u32 tag_xor;
	const u32 *invalidates;
	bool begun;
	bool done;
	bool waited;
};

static void quick_work(struct work_struct *work)
{
	struct quick *quick = container_of(work, struct quick, work);

	WRITE_ONCE(quick->begun, true);
	fake_receive(quick->rig->fake, quick->ctrl, quick->len,
		     quick->invalidates);
	WRITE_ONCE(quick->done, true);
}

/* Comes back long after the PDU came, which nobody may have taken by then */
static void quick_post(void *arg)
{
	struct quick *quick = arg;
	struct fake_adapter *fake = quick->rig->fake;
	u32 tag = (__force u32)sent_req(&fake->sends[fake->nr_sends - 1])->itt;

	fake->on_post = NULL;
	*quick->tag = (__force itt_t)(tag ^ quick->tag_xor);
	schedule_work_on(cpumask_any_but(cpu_online_mask, smp_processor_id()),
			 &quick->work);
	while (!READ_ONCE(quick->begun))
		cpu_relax();
	mdelay(100);
	quick->waited = !READ_ONCE(quick->done);
}

/* A PDU that begins with the same headers as a SCSI response */
static void quick_init(struct quick *quick, struct rig *rig, u8 opcode, u32 len)
{
	struct kunit *test = rig->test;
	struct iscsi_hdr *hdr;

	KUNIT_ASSERT_GT_MSG(test, num_online_cpus(), 1u, "takes two processors");
	quick->len = ISER_HEADERS_LEN + len;
	quick->ctrl = kunit_kzalloc(test, quick->len, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, quick->ctrl);
	iser_ctrl_init(quick->ctrl);
	hdr = (struct iscsi_hdr *)(quick->ctrl + 1);
	hdr->opcode = opcode;
	hdr->flags = ISCSI_FLAG_CMD_FINAL;
	hton24(hdr->dlength, len);

	quick->tag = &hdr->itt;
	quick->rig = rig;
	INIT_WORK_ONSTACK(&quick->work, quick_work);
	rig->fake->on_post_arg = quick;
	rig->fake->on_post = quick_post;
}

static void quick_exit(struct kunit *test, struct quick *quick)
{
	flush_work(&quick->work);
	destroy_work_on_stack(&quick->work);
	KUNIT_EXPECT_TRUE(test, quick->waited);
}

static void answered_while_it_is_sent(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct quick quick = { .invalidates = &rig->fake->sends[0].key };
	struct scsi_cmnd *sc;

	quick_init(&quick, rig, ISCSI_OP_SCSI_CMD_RSP, 0);
	sc = rig_send(rig, DMA_FROM_DEVICE, 4096);
	quick_exit(test, &quick);
	KUNIT_EXPECT_TRUE(test, finished(sc));
	KUNIT_EXPECT_EQ(test, 1, rig->conn->stats.inv_remote);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
}

/* The second look is as strict as the first */
static void guessed_while_it_is_sent(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct quick quick = { .tag_xor = GEN(1) };
	struct scsi_cmnd *sc;

	quick_init(&quick, rig, ISCSI_OP_SCSI_CMD_RSP, 0);
	sc = rig_send(rig, DMA_FROM_DEVICE, 4096);
	quick_exit(test, &quick);
	KUNIT_EXPECT_FALSE(test, finished(sc));
	expect_dropped(test, rig);
}

static void rejected_while_it_is_sent(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct quick quick = {};
	struct iscsi_hdr *rejected;

	quick_init(&quick, rig, ISCSI_OP_REJECT, sizeof(*rejected));
	*quick.tag = RESERVED_ITT;
	((struct iscsi_reject *)(quick.ctrl + 1))->reason =
		ISCSI_REASON_IMM_CMD_REJECT;
	rejected = (struct iscsi_hdr *)(quick.ctrl + 1) + 1;
	rejected->opcode = ISCSI_OP_NOOP_OUT;
	quick.tag = &rejected->itt;
	KUNIT_ASSERT_EQ(test, 0, rig_send_pdu(rig, ISCSI_OP_NOOP_OUT |
					      ISCSI_OP_IMMEDIATE,
					      ISCSI_FLAG_CMD_FINAL, 0, NULL,
					      0));
	quick_exit(test, &quick);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
}

static void invalidates_without_a_key(struct kunit *test)
{
	static const enum dma_data_direction dirs[] = {
		DMA_NONE, DMA_TO_DEVICE
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		struct rig *rig = rig_make(test);
		unsigned int len = dirs[i] == DMA_NONE ? 0 : 4096;
		struct scsi_cmnd *sc = rig_send(rig, dirs[i], len);
		u32 key = 0x101;

		rig_answer(rig, sc, &key);
		KUNIT_EXPECT_FALSE(test, finished(sc));
		expect_dropped(test, rig);
		rig_exit(test);
	}
}

/* The key of another command, that is alive */
static void invalidates_a_neighbours_key(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *a = rig_send(rig, DMA_FROM_DEVICE, 4096);
	struct scsi_cmnd *b = rig_send(rig, DMA_FROM_DEVICE, 4096);

	rig_answer(rig, a, &rig->fake->sends[2].key);
	KUNIT_EXPECT_FALSE(test, finished(a));
	KUNIT_EXPECT_FALSE(test, finished(b));
	expect_dropped(test, rig);
}

/*
 * The target answers and hangs up, and the CM is quicker than the completion.
 * What it said counts; a key that it left alive is the teardown's to kill.
 */
static void heard_after_it_hung_up(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *a = rig_send(rig, DMA_FROM_DEVICE, 4096);
	struct scsi_cmnd *b = rig_send(rig, DMA_FROM_DEVICE, 4096);
	unsigned int sends = rig->fake->nr_sends;

	mutex_lock(&rig->conn->mutex);
	iser_conn_hung_up(rig->conn);
	KUNIT_EXPECT_FALSE(test, iser_conn_is_up(rig->conn));
	rig_answer(rig, a, &rig->fake->sends[0].key);
	KUNIT_EXPECT_TRUE(test, finished(a));
	rig_answer(rig, b, NULL);
	KUNIT_EXPECT_FALSE(test, finished(b));
	KUNIT_EXPECT_EQ(test, 1, rig->fake->mapped);
	KUNIT_EXPECT_EQ(test, sends, rig->fake->nr_sends);
	mutex_unlock(&rig->conn->mutex);
	rig_settle();
	KUNIT_EXPECT_TRUE(test, finished(b));
	KUNIT_EXPECT_EQ(test, 0, b->result);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
}

/* A target that broke the protocol once is not listened to again */
static void deaf_after_a_protocol_error(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_send(rig, DMA_FROM_DEVICE, 4096);

	mutex_lock(&rig->conn->mutex);
	iser_conn_fail(rig->conn, -EPROTO);
	rig_answer(rig, sc, &rig->fake->sends[0].key);
	KUNIT_EXPECT_FALSE(test, finished(sc));
	KUNIT_EXPECT_EQ(test, 0, rig->conn->stats.inv_remote);
	mutex_unlock(&rig->conn->mutex);
	expect_dropped(test, rig);
}

static const u8 early_opcodes[] = {
	ISCSI_OP_NOOP_IN, ISCSI_OP_SCSI_CMD_RSP, ISCSI_OP_SCSI_TMFUNC_RSP,
	ISCSI_OP_TEXT_RSP, ISCSI_OP_LOGOUT_RSP, ISCSI_OP_ASYNC_EVENT,
};

static void early_desc(const u8 *opcode, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "opcode %#x", *opcode);
}

KUNIT_ARRAY_PARAM(early, early_opcodes, early_desc);

/* Before full-feature phase there is nothing but the login */
static void too_early(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);
	struct rig_pdu pdu = {
		.opcode = *(const u8 *)test->param_value,
		.itt = RESERVED_ITT,
	};

	rig_receive(rig, &pdu);
	expect_dropped(test, rig);
}

static void login_response_to_nothing(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);
	struct rig_pdu pdu = { .opcode = ISCSI_OP_LOGIN_RSP };

	rig_receive(rig, &pdu);
	expect_dropped(test, rig);
}

/* A Reject carries the header of what it rejects */
static void reject(struct kunit *test, struct rig *rig, itt_t itt, u8 opcode)
{
	struct iscsi_hdr rejected = { .opcode = opcode, .itt = itt };
	struct rig_pdu pdu = {
		.opcode = ISCSI_OP_REJECT,
		.itt = RESERVED_ITT,
		.reason = ISCSI_REASON_IMM_CMD_REJECT,
		.data = &rejected,
		.len = sizeof(rejected),
	};

	rig_receive(rig, &pdu);
}

static void rejected_ping(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct iscsi_hdr *hdr;

	KUNIT_ASSERT_EQ(test, 0, rig_send_pdu(rig, ISCSI_OP_NOOP_OUT |
					      ISCSI_OP_IMMEDIATE,
					      ISCSI_FLAG_CMD_FINAL, 0, NULL,
					      0));
	hdr = (struct iscsi_hdr *)sent_req(&rig->fake->sends[0]);
	reject(test, rig, hdr->itt, ISCSI_OP_NOOP_OUT);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
	/* It is gone: a second time nothing waits */
	reject(test, rig, hdr->itt, ISCSI_OP_NOOP_OUT);
	expect_dropped(test, rig);
}

/* It calls a command a ping: that must not complete the command */
static void rejected_command_as_ping(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_send(rig, DMA_FROM_DEVICE, 4096);

	reject(test, rig, rig_task(sc)->hdr->itt, ISCSI_OP_NOOP_OUT);
	KUNIT_EXPECT_FALSE(test, finished(sc));
	expect_dropped(test, rig);
}

/* What a target may say without being asked */
static void unexpected_pdus(struct kunit *test)
{
	static const u8 async[4];
	struct rig *rig = rig_make(test);
	struct rig_pdu nop = { .opcode = ISCSI_OP_NOOP_IN, .itt = RESERVED_ITT };
	struct rig_pdu event = {
		.opcode = ISCSI_OP_ASYNC_EVENT,
		.itt = RESERVED_ITT,
		.data = async,
		.len = sizeof(async),
	};

	rig_receive(rig, &nop);
	rig_receive(rig, &event);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->nr_sends);
	/* libiscsi sends the answer to a ping again */
	reject(test, rig, RESERVED_ITT, ISCSI_OP_NOOP_OUT);
	KUNIT_EXPECT_EQ(test, 1, rig->fake->nr_sends);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
}

/* A message that iscsid was to get, and nobody is there to get it */
static void nobody_to_tell(struct kunit *test)
{
	static const u8 async[4];
	struct rig *rig = rig_make(test);
	struct rig_pdu event = {
		.opcode = ISCSI_OP_ASYNC_EVENT,
		.itt = RESERVED_ITT,
		.data = async,
		.len = sizeof(async),
	};

	sock_release(rig->iscsid);
	rig->iscsid = NULL;
	rig_receive(rig, &event);
	expect_dropped(test, rig);
}

/* What a target says unasked has its limit, and is refused beyond it */
static void floods(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct rig_pdu nop = { .opcode = ISCSI_OP_NOOP_IN, .itt = RESERVED_ITT };
	unsigned int i;

	/* However long this takes: it is within the interval */
	rig->conn->unasked.interval = 3600 * HZ;
	for (i = 0; i < ISER_UNASKED_MAX; i++)
		rig_receive(rig, &nop);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
	rig_receive(rig, &nop);
	expect_dropped(test, rig);
}

/* A second later it may go on */
static void speaks_often(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct rig_pdu nop = { .opcode = ISCSI_OP_NOOP_IN, .itt = RESERVED_ITT };
	unsigned int i;

	for (i = 0; i < 2 * ISER_UNASKED_MAX; i++) {
		if (i == ISER_UNASKED_MAX)
			msleep(1100);
		rig_receive(rig, &nop);
	}
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
}

static struct kunit_case response_cases[] = {
	KUNIT_CASE(right_response),
	KUNIT_CASE(responses_out_of_order),
	KUNIT_CASE_PARAM(status, status_gen_params),
	KUNIT_CASE(longest_sense),
	KUNIT_CASE_PARAM(wrong_response, wrong_gen_params),
	KUNIT_CASE_PARAM(malformed, malformed_gen_params),
	KUNIT_CASE(not_a_send),
	KUNIT_CASE(answered_twice),
	KUNIT_CASE(answered_twice_meanwhile),
	KUNIT_CASE(stale_response),
	KUNIT_CASE(answered_before_it_was_sent),
	KUNIT_CASE(answered_while_it_is_sent),
	KUNIT_CASE(guessed_while_it_is_sent),
	KUNIT_CASE(rejected_while_it_is_sent),
	KUNIT_CASE(invalidates_without_a_key),
	KUNIT_CASE(invalidates_a_neighbours_key),
	KUNIT_CASE(heard_after_it_hung_up),
	KUNIT_CASE(deaf_after_a_protocol_error),
	KUNIT_CASE_PARAM(too_early, early_gen_params),
	KUNIT_CASE(login_response_to_nothing),
	KUNIT_CASE(rejected_ping),
	KUNIT_CASE(rejected_command_as_ping),
	KUNIT_CASE(unexpected_pdus),
	KUNIT_CASE(nobody_to_tell),
	KUNIT_CASE(floods),
	KUNIT_CASE(speaks_often),
	{}
};

static struct kunit_suite response_suite = {
	.name = "iser_response",
	.suite_init = rig_suite_init,
	.suite_exit = rig_suite_exit,
	.exit = rig_exit,
	.test_cases = response_cases,
};

kunit_test_suite(response_suite);
