// SPDX-License-Identifier: GPL-2.0-only
/*
 * Task tags: a new generation for each use of a task, one tag for all of a
 * login; and the buffer that libiscsi is told to build a PDU in.
 */
#include "rig.h"

/* libiscsi takes a task for a command, and gives it back */
static u32 next_tag(struct rig *rig)
{
	struct scsi_cmnd *sc = rig_send(rig, DMA_NONE, 0);
	u32 tag = (__force u32)rig_task(sc)->hdr->itt;

	KUNIT_ASSERT_EQ(rig->test, iser_itt_index(tag),
			(u32)rig_task(sc)->itt);
	rig_answer(rig, sc, NULL);
	KUNIT_ASSERT_TRUE(rig->test, iser_conn_is_up(rig->conn));
	return tag;
}

static void tag_is_never_the_last_one(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	u32 *last = kunit_kcalloc(test, 32, sizeof(*last), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, last);
	for (i = 0; i < 100; i++) {
		u32 tag = next_tag(rig);
		u32 *before = &last[iser_itt_index(tag)];

		KUNIT_ASSERT_LT(test, iser_itt_index(tag), 32);
		KUNIT_EXPECT_NE(test, *before, tag);
		*before = tag;
		fake_complete_sends(rig->fake);
	}
}

static int alloc_pdu(struct rig *rig, struct iscsi_task *task, u8 opcode)
{
	int err;

	task->conn = rig->iscsi;
	spin_lock_bh(&rig->session->frwd_lock);
	err = iser_alloc_pdu(task, opcode);
	spin_unlock_bh(&rig->session->frwd_lock);
	return err;
}

/* The next tag of a task, without index and age */
static u32 next_generation(struct rig *rig, struct iscsi_task *task)
{
	alloc_pdu(rig, task, ISCSI_OP_SCSI_CMD);
	return (__force u32)task->hdr->itt >> ISER_ITT_INDEX_BITS &
	       ISER_ITT_GEN_MASK;
}

/*
 * Never the one before, and any other just as well: of 4096 steps between
 * 32767 values, about 3850 are different. A target that knows all tags there
 * were knows nothing of the next one.
 */
static void generation_is_not_foreseen(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct iscsi_task *task = rig->session->cmds[7];
	unsigned long *steps = bitmap_zalloc(1 << ISER_ITT_GEN_BITS, GFP_KERNEL);
	u32 before, now;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, steps);
	before = next_generation(rig, task);
	for (i = 0; i < 4096; i++) {
		now = next_generation(rig, task);
		set_bit((now - before) & ISER_ITT_GEN_MASK, steps);
		before = now;
	}
	KUNIT_EXPECT_FALSE(test, test_bit(0, steps));
	KUNIT_EXPECT_GT(test, bitmap_weight(steps, 1 << ISER_ITT_GEN_BITS),
			3600u);
	bitmap_free(steps);
}

/* RFC 7143, section 11.12.3 */
static void login_keeps_its_tag(struct kunit *test)
{
	static const u8 opcodes[] = { ISCSI_OP_LOGIN, ISCSI_OP_TEXT };
	struct rig *rig = rig_make(test, .stop_at = RIG_BOUND);
	struct iscsi_task *task = rig->iscsi->login_task;
	unsigned int i;
	itt_t tag;

	for (i = 0; i < ARRAY_SIZE(opcodes); i++) {
		u8 opcode = opcodes[i] | ISCSI_OP_IMMEDIATE;

		KUNIT_ASSERT_EQ(test, 0, alloc_pdu(rig, task, opcode));
		tag = task->hdr->itt;
		KUNIT_ASSERT_EQ(test, 0, alloc_pdu(rig, task, opcode));
		KUNIT_EXPECT_EQ(test, (__force u32)tag,
				(__force u32)task->hdr->itt);
	}
}

static void age_is_the_sessions(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct iscsi_task *task = rig->session->cmds[3];
	int age, index, last = -1;

	for (age = 0; age < 16; age++) {
		int parsed = -1;

		rig->session->age = age;
		alloc_pdu(rig, task, ISCSI_OP_SCSI_CMD);
		iser_parse_pdu_itt(rig->iscsi, task->hdr->itt, &index, &parsed);
		KUNIT_EXPECT_EQ(test, 3, index);
		KUNIT_EXPECT_EQ(test, age, parsed);
		KUNIT_EXPECT_NE(test, last, parsed);
		last = parsed;
	}
	rig->session->age = 0;
	/* libiscsi does not always want to know the age */
	iser_parse_pdu_itt(rig->iscsi, task->hdr->itt, &index, NULL);
	KUNIT_EXPECT_EQ(test, 3, index);
}

/* The buffer is the slot's, clean, and libiscsi is told how large it is */
static void pdu_is_built_in_its_slot(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct iscsi_task *task = rig->session->cmds[9];
	struct iser_slot *slot = &rig->conn->slots[9];
	struct iser_ctrl clean;

	memset(&slot->headers, 0xee, sizeof(slot->headers));
	KUNIT_ASSERT_EQ(test, 0, alloc_pdu(rig, task, ISCSI_OP_SCSI_CMD));
	iser_ctrl_init(&clean);
	KUNIT_EXPECT_MEMEQ(test, &slot->headers.ctrl, &clean, sizeof(clean));
	KUNIT_EXPECT_PTR_EQ(test, (void *)&slot->headers + sizeof(clean),
			    (void *)task->hdr);
	KUNIT_EXPECT_EQ(test, ISER_TX_LEN, sizeof(clean) + task->hdr_max);
}

static void no_pdu_without_a_connection(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct iscsi_task *task = rig->session->cmds[1];

	iser_conn_fail(rig->conn, -EIO);
	rig_settle();
	KUNIT_EXPECT_EQ(test, -ENOMEM, alloc_pdu(rig, task, ISCSI_OP_SCSI_CMD));
	rig_disconnect(rig);
	KUNIT_EXPECT_EQ(test, -ENOMEM, alloc_pdu(rig, task, ISCSI_OP_SCSI_CMD));
}

static struct kunit_case tags_cases[] = {
	KUNIT_CASE(tag_is_never_the_last_one),
	KUNIT_CASE(generation_is_not_foreseen),
	KUNIT_CASE(login_keeps_its_tag),
	KUNIT_CASE(age_is_the_sessions),
	KUNIT_CASE(pdu_is_built_in_its_slot),
	KUNIT_CASE(no_pdu_without_a_connection),
	{}
};

static struct kunit_suite tags_suite = {
	.name = "iser_tags",
	.suite_init = rig_suite_init,
	.suite_exit = rig_suite_exit,
	.exit = rig_exit,
	.test_cases = tags_cases,
};

kunit_test_suite(tags_suite);
