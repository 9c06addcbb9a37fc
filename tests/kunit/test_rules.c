// SPDX-License-Identifier: GPL-2.0-only
/*
 * The completion rules that keep memory safe, as assertions on what happened
 * before a command was finished.
 *
 * A command's pages stay mapped until its response came, its key is dead, and
 * every Send that carries its pages has completed, in whatever order that
 * comes to pass: each case is one such order. After an abort the error handler
 * waits for the same, and after the connection went down, the teardown sees
 * to it.
 */
#include <linux/kthread.h>
#include "rig.h"

/*
 * What happens to a WRITE of 32k with two Data-Outs, registered beyond:
 * Response; Response that invalidates; local Invalidate completes; the Send,
 * and the two Data-Outs, complete.
 */
static const char * const orders[] = {
	/* the Sends first */
	"S12RI", "S12V", "12SRI", "21SV",
	/* the response first */
	"RIS12", "RS12I", "RSI12", "VS12", "V2S1", "R12IS",
	/* in between */
	"SR1I2", "S1R2I", "SV12", "1VS2",
};

static void order_desc(const char * const *order, char *desc)
{
	strscpy(desc, *order, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(order, orders, order_desc);

/* Work requests in the order of posting */
enum { REG, CMD, OUT1, OUT2, INV };

static void happen(struct rig *rig, struct scsi_cmnd *sc, char what)
{
	struct fake_adapter *fake = rig->fake;

	switch (what) {
	case 'R':
		rig_answer(rig, sc, NULL);
		break;
	case 'V':
		rig_answer(rig, sc, &fake->sends[REG].key);
		break;
	case 'I':
		fake_complete(fake, INV, IB_WC_SUCCESS);
		break;
	case 'S':
		fake_complete(fake, CMD, IB_WC_SUCCESS);
		break;
	default:
		fake_complete(fake, OUT1 + what - '1', IB_WC_SUCCESS);
		break;
	}
}

static unsigned int free_mrs(struct rig *rig)
{
	struct iser_mr *imr;
	unsigned int n = 0;

	llist_for_each_entry(imr, rig->conn->mr_free.first, free)
		n++;
	return n;
}

static void finished_by_the_last(struct kunit *test)
{
	const char *order = *(const char * const *)test->param_value;
	struct rig *rig = rig_make(test, .unsolicited = true,
				   .first_burst = 24576);
	unsigned int mrs = free_mrs(rig);
	struct scsi_cmnd *sc;

	sc = rig_send(rig, DMA_TO_DEVICE, 32768);
	KUNIT_ASSERT_EQ(test, INV, rig->fake->nr_sends);
	for (; *order; order++) {
		KUNIT_EXPECT_FALSE_MSG(test, finished(sc), "before %s", order);
		KUNIT_EXPECT_EQ(test, 1, rig->fake->mapped);
		KUNIT_EXPECT_EQ(test, mrs - 1, free_mrs(rig));
		happen(rig, sc, *order);
	}
	KUNIT_EXPECT_TRUE(test, finished(sc));
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
	KUNIT_EXPECT_EQ(test, mrs, free_mrs(rig));
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
}

/* The key was invalidated by a work request of ours, and that is the one */
static void key_is_killed(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_send(rig, DMA_FROM_DEVICE, 4096);
	struct fake_adapter *fake = rig->fake;
	u32 key = fake->sends[0].key;

	rig_answer(rig, sc, NULL);
	KUNIT_ASSERT_EQ(test, 3, fake->nr_sends);
	KUNIT_EXPECT_EQ(test, IB_WR_LOCAL_INV, fake->sends[2].wr.opcode);
	KUNIT_EXPECT_EQ(test, key, fake->sends[2].wr.ex.invalidate_rkey);
	KUNIT_EXPECT_TRUE(test, signalled(&fake->sends[2]));
	KUNIT_EXPECT_TRUE(test, fake_key_live(fake, key));
	KUNIT_EXPECT_FALSE(test, finished(sc));
	fake_complete(fake, 2, IB_WC_SUCCESS);
	KUNIT_EXPECT_FALSE(test, fake_key_live(fake, key));
	KUNIT_EXPECT_TRUE(test, finished(sc));
	KUNIT_EXPECT_EQ(test, 1, rig->conn->stats.inv_local);
}

/* Rule 2: a header is the driver's own, so the task does not wait for its Send */
static void response_is_enough_for_a_header(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_send(rig, DMA_NONE, 0);

	KUNIT_EXPECT_FALSE(test, signalled(&rig->fake->sends[0]));
	KUNIT_EXPECT_EQ(test, 1, refcount_read(&rig_task(sc)->refcount));
	rig_answer(rig, sc, NULL);
	KUNIT_EXPECT_TRUE(test, finished(sc));
}

/* Unless it is the one that is signalled: then its slot is not used again */
static void signalled_header_holds_its_task(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct fake_adapter *fake = rig->fake;
	struct scsi_cmnd *sc;

	do {
		sc = rig_send(rig, DMA_NONE, 0);
		if (signalled(&fake->sends[fake->nr_sends - 1]))
			break;
		rig_answer(rig, sc, NULL);
		KUNIT_ASSERT_TRUE(test, finished(sc));
	} while (fake->nr_sends < 100);
	KUNIT_ASSERT_EQ(test, rig->conn->signal_every, fake->nr_sends);

	rig_answer(rig, sc, NULL);
	KUNIT_EXPECT_FALSE(test, finished(sc));
	fake_complete_sends(fake);
	KUNIT_EXPECT_TRUE(test, finished(sc));
}

/* How many references there are, from the first to the last */
static void references(struct kunit *test)
{
	struct rig *rig = rig_make(test, .unsolicited = true,
				   .first_burst = 24576);
	struct fake_adapter *fake = rig->fake;
	struct scsi_cmnd *sc = rig_send(rig, DMA_TO_DEVICE, 32768);
	struct iscsi_task *task = rig_task(sc);

	/* libiscsi's, the key's, the Send's, two Data-Outs' */
	KUNIT_EXPECT_EQ(test, 5, refcount_read(&task->refcount));
	fake_complete(fake, OUT1, IB_WC_SUCCESS);
	KUNIT_EXPECT_EQ(test, 4, refcount_read(&task->refcount));
	fake_complete(fake, CMD, IB_WC_SUCCESS);
	KUNIT_EXPECT_EQ(test, 3, refcount_read(&task->refcount));
	rig_answer(rig, sc, NULL);
	KUNIT_EXPECT_EQ(test, 2, refcount_read(&task->refcount));
	fake_complete(fake, INV, IB_WC_SUCCESS);
	KUNIT_EXPECT_EQ(test, 1, refcount_read(&task->refcount));
	KUNIT_EXPECT_EQ(test, 1, fake->mapped);
	fake_complete(fake, OUT2, IB_WC_SUCCESS);
	KUNIT_EXPECT_TRUE(test, finished(sc));
}

/*
 * The adapter is through with everything before anything is given back; or it
 * never will be, as it does not flush, and then it has lost its queue pair.
 */
static void takes_all_back(struct kunit *test, bool deaf)
{
	struct rig *rig = rig_make(test, .unsolicited = true,
				   .first_burst = 24576);
	struct scsi_cmnd *sc[5];
	int i;

	rig->fake->deaf = deaf;
	sc[0] = rig_send(rig, DMA_FROM_DEVICE, 4096);
	sc[1] = rig_send(rig, DMA_TO_DEVICE, 4096);
	sc[2] = rig_send(rig, DMA_TO_DEVICE, 32768);
	sc[3] = rig_send(rig, DMA_NONE, 0);
	sc[4] = rig_send(rig, DMA_FROM_DEVICE, 4096);
	/* One of them was answered, and its key is being killed */
	rig_answer(rig, sc[4], NULL);
	KUNIT_EXPECT_EQ(test, 4, rig->fake->mapped);

	rig_disconnect(rig);
	KUNIT_EXPECT_EQ(test, 2, rig->fake->drains);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->qps);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
	KUNIT_EXPECT_TRUE(test, finished(sc[4]));
	for (i = 0; i < 4; i++) {
		KUNIT_ASSERT_FALSE(test, finished(sc[i]));
		KUNIT_EXPECT_EQ(test, 1,
				refcount_read(&rig_task(sc[i])->refcount));
	}
}

static void teardown_takes_all_back(struct kunit *test)
{
	takes_all_back(test, false);
}

static void teardown_without_a_drain(struct kunit *test)
{
	takes_all_back(test, true);
}

struct aborter {
	struct scsi_cmnd *sc;
	struct completion started;
	struct completion returned;
	int (*handler)(struct scsi_cmnd *sc);
	int rc;
};

static int abort_thread(void *data)
{
	struct aborter *a = data;

	complete(&a->started);
	a->rc = a->handler(a->sc);
	complete(&a->returned);
	return 0;
}

/* Run an error handler until it has sent its task management request */
static void abort_begins(struct rig *rig, struct aborter *a)
{
	unsigned int sends = rig->fake->nr_sends, i;
	struct task_struct *thread;

	init_completion(&a->started);
	init_completion(&a->returned);
	thread = kthread_run(abort_thread, a, "iser_kunit_eh");
	KUNIT_ASSERT_FALSE(rig->test, IS_ERR(thread));
	wait_for_completion(&a->started);
	for (i = 0; i < 500 && rig->fake->nr_sends == sends; i++)
		msleep(20);
	KUNIT_ASSERT_EQ(rig->test, sends + 1, rig->fake->nr_sends);
}

/* The target has done what the request wants */
static void abort_is_answered(struct rig *rig)
{
	struct fake_send *tmf = &rig->fake->sends[rig->fake->nr_sends - 1];
	const struct rig_pdu pdu = {
		.opcode = ISCSI_OP_SCSI_TMFUNC_RSP,
		.itt = sent_req(tmf)->itt,
	};

	KUNIT_ASSERT_EQ(rig->test, ISCSI_OP_SCSI_TMFUNC | ISCSI_OP_IMMEDIATE,
			sent_req(tmf)->opcode);
	rig_receive(rig, &pdu);
}

static struct fake_send *await_invalidate(struct rig *rig, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < 500 && rig->fake->nr_sends < n; i++)
		msleep(20);
	KUNIT_ASSERT_EQ(rig->test, n, rig->fake->nr_sends);
	KUNIT_ASSERT_EQ(rig->test, IB_WR_LOCAL_INV,
			rig->fake->sends[n - 1].wr.opcode);
	return &rig->fake->sends[n - 1];
}

static const struct {
	const char *name;
	int (*handler)(struct scsi_cmnd *sc);
} handlers[] = {
	{ "abort", iser_eh_abort },
	{ "logical unit reset", iser_eh_device_reset },
	{ "target reset", iser_eh_target_reset },
};

KUNIT_ARRAY_PARAM_DESC(handler, handlers, name);

/* The SCSI layer uses the command again as soon as the handler returns */
static void handler_waits_for_the_key(struct kunit *test)
{
	const typeof(handlers[0]) *c = test->param_value;
	struct rig *rig = rig_make(test);
	struct aborter a = { .handler = c->handler };

	rig->session->tgt_reset_timeout = 10;
	a.sc = rig_send(rig, DMA_FROM_DEVICE, 4096);
	abort_begins(rig, &a);
	abort_is_answered(rig);
	await_invalidate(rig, 4);
	msleep(200);
	KUNIT_EXPECT_FALSE(test, completion_done(&a.returned));
	KUNIT_EXPECT_FALSE(test, finished(a.sc));
	KUNIT_EXPECT_EQ(test, 1, rig->fake->mapped);

	fake_complete(rig->fake, 3, IB_WC_SUCCESS);
	wait_for_completion(&a.returned);
	KUNIT_EXPECT_EQ(test, SUCCESS, a.rc);
	KUNIT_EXPECT_TRUE(test, finished(a.sc));
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(rig->conn));
}

static void abort_waits_for_the_send(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct aborter a = { .handler = iser_eh_abort };

	a.sc = rig_send(rig, DMA_TO_DEVICE, 4096);
	abort_begins(rig, &a);
	abort_is_answered(rig);
	msleep(200);
	KUNIT_EXPECT_FALSE(test, completion_done(&a.returned));
	KUNIT_EXPECT_FALSE(test, finished(a.sc));
	fake_complete(rig->fake, 0, IB_WC_SUCCESS);
	wait_for_completion(&a.returned);
	KUNIT_EXPECT_EQ(test, SUCCESS, a.rc);
	KUNIT_EXPECT_TRUE(test, finished(a.sc));
}

/* It waits for its own command, not for its neighbours */
static void abort_leaves_others_alone(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct aborter a = { .handler = iser_eh_abort };
	struct scsi_cmnd *other = rig_send(rig, DMA_FROM_DEVICE, 4096);

	a.sc = rig_send(rig, DMA_FROM_DEVICE, 4096);
	abort_begins(rig, &a);
	abort_is_answered(rig);
	await_invalidate(rig, 6);
	fake_complete(rig->fake, 5, IB_WC_SUCCESS);
	wait_for_completion(&a.returned);
	KUNIT_EXPECT_EQ(test, SUCCESS, a.rc);
	KUNIT_EXPECT_FALSE(test, finished(other));
	rig_answer(rig, other, &rig->fake->sends[0].key);
	KUNIT_EXPECT_TRUE(test, finished(other));
}

/* The target answers the abort, but no longer acknowledges anything */
static void abort_gives_up_the_connection(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct aborter a = { .handler = iser_eh_abort };

	a.sc = rig_send(rig, DMA_FROM_DEVICE, 4096);
	abort_begins(rig, &a);
	abort_is_answered(rig);
	wait_for_completion(&a.returned);
	KUNIT_EXPECT_TRUE(test, finished(a.sc));
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
	KUNIT_EXPECT_EQ(test, -ETIMEDOUT, rig->conn->error);
}

static struct kunit_case rules_cases[] = {
	KUNIT_CASE_PARAM(finished_by_the_last, order_gen_params),
	KUNIT_CASE(key_is_killed),
	KUNIT_CASE(response_is_enough_for_a_header),
	KUNIT_CASE(signalled_header_holds_its_task),
	KUNIT_CASE(references),
	KUNIT_CASE(teardown_takes_all_back),
	KUNIT_CASE(teardown_without_a_drain),
	KUNIT_CASE_PARAM(handler_waits_for_the_key, handler_gen_params),
	KUNIT_CASE(abort_waits_for_the_send),
	KUNIT_CASE(abort_leaves_others_alone),
	KUNIT_CASE_SLOW(abort_gives_up_the_connection),
	{}
};

static struct kunit_suite rules_suite = {
	.name = "iser_rules",
	.suite_init = rig_suite_init,
	.suite_exit = rig_suite_exit,
	.exit = rig_exit,
	.test_cases = rules_cases,
};

kunit_test_suite(rules_suite);
