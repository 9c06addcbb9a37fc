// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory regions: how many there are, what happens when there are none, keys
 * that change, rights, and which bytes a target is given.
 */
#include "rig.h"
#include "seam.h"

static struct iser_mr *get(struct iser_conn *conn)
{
	struct iser_mr *imr;

	local_bh_disable();
	imr = iser_mr_get(conn);
	local_bh_enable();
	return imr;
}

static void put(struct iser_conn *conn, struct iser_mr *imr)
{
	local_bh_disable();
	iser_mr_put(conn, imr);
	local_bh_enable();
}

static void session_starts_small(struct kunit *test)
{
	struct rig *rig = rig_make(test, .tasks = 128);

	KUNIT_EXPECT_EQ(test, ISER_MR_FIRST, rig->conn->nr_mrs);
	KUNIT_EXPECT_EQ(test, ISER_MR_FIRST, rig->fake->mrs);
}

/* Doubled when the last one goes, up to one for each task */
static void pool_grows_with_the_load(struct kunit *test)
{
	static const unsigned int sizes[] = { 8, 16, 32, 32 };
	struct rig *rig = rig_make(test, .tasks = 32);
	struct iser_conn *conn = rig->conn;
	struct iser_mr *imr[33] = {};
	unsigned int i, n = 0;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		KUNIT_ASSERT_EQ(test, sizes[i], conn->nr_mrs);
		while (n < sizes[i]) {
			imr[n] = get(conn);
			KUNIT_ASSERT_NOT_NULL(test, imr[n]);
			n++;
		}
		rig_settle();
	}
	KUNIT_EXPECT_NULL(test, get(conn));
	rig_settle();
	KUNIT_EXPECT_EQ(test, 32, conn->nr_mrs);
	while (n)
		put(conn, imr[--n]);
}

/* Without a load it stays as it is */
static void pool_does_not_grow_for_nothing(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	int i;

	for (i = 0; i < 100; i++)
		put(rig->conn, get(rig->conn));
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_MR_FIRST, rig->conn->nr_mrs);
}

/* Who takes the last one has more made, for the command that comes then */
static void the_last_makes_more(struct kunit *test)
{
	struct rig *rig = rig_make(test, .tasks = 32);
	struct iser_conn *conn = rig->conn;
	struct iser_mr *imr[ISER_MR_FIRST];
	struct scsi_cmnd *sc = rig_pages(rig, DMA_FROM_DEVICE, 4096);
	int i;

	mutex_lock(&conn->mutex);
	for (i = 0; i < ISER_MR_FIRST; i++)
		imr[i] = get(conn);
	mutex_unlock(&conn->mutex);
	rig_settle();
	KUNIT_EXPECT_EQ(test, 2 * ISER_MR_FIRST, conn->nr_mrs);
	KUNIT_EXPECT_EQ(test, 0, rig_queue(rig, sc));
	for (i = 0; i < ISER_MR_FIRST; i++)
		put(conn, imr[i]);
}

static void exhausted_is_busy(struct kunit *test)
{
	struct rig *rig = rig_make(test, .tasks = 16);
	struct iser_conn *conn = rig->conn;
	struct iser_mr *imr[16];
	struct scsi_cmnd *sc;
	int i;

	KUNIT_ASSERT_EQ(test, 0, iser_mr_grow(conn, 16));
	for (i = 0; i < 16; i++)
		imr[i] = get(conn);
	sc = rig_pages(rig, DMA_FROM_DEVICE, 4096);
	KUNIT_EXPECT_EQ(test, SCSI_MLQUEUE_TARGET_BUSY, rig_queue(rig, sc));
	KUNIT_EXPECT_EQ(test, 1, conn->stats.mr_busy);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->nr_sends);
	KUNIT_EXPECT_EQ(test, conn->sq_size, atomic_read(&conn->sq_avail));

	/* What needs no registration goes on */
	rig_answer(rig, rig_send(rig, DMA_NONE, 0), NULL);

	for (i = 0; i < 16; i++)
		put(conn, imr[i]);
	KUNIT_EXPECT_EQ(test, 0, rig_queue(rig, sc));
}

/* The adapter has no more: what there is will do, and it is tried again */
static void growth_fails(struct kunit *test)
{
	struct rig *rig = rig_make(test, .tasks = 32);
	struct iser_conn *conn = rig->conn;

	rig->fake->mr_fails_at = 2;
	KUNIT_EXPECT_EQ(test, -ENOMEM, iser_mr_grow(conn, 16));
	KUNIT_EXPECT_EQ(test, ISER_MR_FIRST + 2, conn->nr_mrs);
	KUNIT_EXPECT_TRUE(test, iser_conn_is_up(conn));
	KUNIT_EXPECT_EQ(test, 0, iser_mr_grow(conn, 16));
	KUNIT_EXPECT_EQ(test, 16, conn->nr_mrs);
	KUNIT_EXPECT_EQ(test, 0, iser_mr_grow(conn, 4));
	KUNIT_EXPECT_EQ(test, 16, conn->nr_mrs);
}

/* A device that had no more is not asked again with every command */
static void growth_pauses(struct kunit *test)
{
	struct rig *rig = rig_make(test, .tasks = 32);
	struct iser_conn *conn = rig->conn;
	struct iser_mr *imr[ISER_MR_FIRST];
	int i;

	rig->fake->mr_fails_at = 0;
	mutex_lock(&conn->mutex);
	KUNIT_EXPECT_EQ(test, -ENOMEM, iser_mr_grow(conn, 16));
	for (i = 0; i < ISER_MR_FIRST; i++)
		imr[i] = get(conn);
	mutex_unlock(&conn->mutex);
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_MR_FIRST, conn->nr_mrs);
	KUNIT_EXPECT_TRUE(test, delayed_work_pending(&conn->mr_grow));
	flush_delayed_work(&conn->mr_grow);
	KUNIT_EXPECT_EQ(test, 2 * ISER_MR_FIRST, conn->nr_mrs);
	/* Then it is as before */
	KUNIT_EXPECT_FALSE(test, conn->mr_short);
	for (i = 0; i < ISER_MR_FIRST; i++)
		put(conn, imr[i]);
}

static void start_needs_one(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_LOGGED_IN);
	struct iscsi_cls_conn *cls_conn = rig->iscsi->cls_conn;

	rig->fake->mr_fails_at = 0;
	KUNIT_EXPECT_EQ(test, -ENOMEM, reach_transport()->start_conn(cls_conn));
	KUNIT_EXPECT_EQ(test, 0, rig->conn->nr_mrs);
	rig->fake->mr_fails_at = 1;
	KUNIT_EXPECT_EQ(test, 0, reach_transport()->start_conn(cls_conn));
	KUNIT_EXPECT_EQ(test, 1, rig->conn->nr_mrs);
}

static void no_growth_when_down(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct iser_conn *conn = rig->conn;

	mutex_lock(&conn->mutex);
	iser_conn_fail(conn, -EIO);
	iser_mr_grow_work(&conn->mr_grow.work);
	KUNIT_EXPECT_EQ(test, ISER_MR_FIRST, conn->nr_mrs);
	mutex_unlock(&conn->mutex);
	rig_settle();
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mrs);
}

/* What a target kept of an earlier command is worth nothing */
static void key_changes_each_time(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct fake_adapter *fake = rig->fake;
	u32 *keys = kunit_kcalloc(test, 300, sizeof(*keys), GFP_KERNEL);
	struct iser_mr *imr = get(rig->conn);
	struct scatterlist sg;
	void *page = kunit_kmalloc(test, PAGE_SIZE, GFP_KERNEL);
	int i, j;

	KUNIT_ASSERT_NOT_NULL(test, keys);
	KUNIT_ASSERT_NOT_NULL(test, page);
	sg_init_one(&sg, page, PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, 1, fake_map_sg(&fake->ib, &sg, 1,
					     DMA_FROM_DEVICE));
	for (i = 0; i < 300; i++) {
		KUNIT_ASSERT_EQ(test, 0, iser_mr_map(imr, &sg, 1, 0,
						     DMA_FROM_DEVICE));
		keys[i] = imr->reg.key;
		KUNIT_EXPECT_EQ(test, keys[i], imr->mr->rkey);
		KUNIT_EXPECT_EQ(test, keys[i], imr->inv.ex.invalidate_rkey);
		/* The upper 24 bits are the region's */
		KUNIT_EXPECT_EQ(test, keys[0] >> 8, keys[i] >> 8);
		for (j = max(i - 255, 0); j < i; j++)
			KUNIT_EXPECT_NE(test, keys[j], keys[i]);
	}
	KUNIT_EXPECT_EQ(test, keys[0], keys[256]);
	fake_unmap_sg(&fake->ib, &sg, 1, DMA_FROM_DEVICE);
	put(rig->conn, imr);
}

/* One command after the other, over the wire */
static void commands_get_other_keys(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct fake_adapter *fake = rig->fake;
	u32 last = 0;
	int i;

	for (i = 0; i < 20; i++) {
		struct scsi_cmnd *sc = rig_send(rig, DMA_FROM_DEVICE, 4096);
		struct fake_send *send = &fake->sends[fake->nr_sends - 1];
		u32 key = send[-1].key;

		KUNIT_EXPECT_NE(test, last, key);
		KUNIT_EXPECT_EQ(test, key,
				be32_to_cpu(sent_ctrl(send)->read_stag));
		last = key;
		rig_answer(rig, sc, &key);
		fake_complete_sends(fake);
	}
}

struct map_case {
	const char *name;
	bool gaps;
	bool merge;
	struct rig_seg segs[4];
	unsigned int skip;
	/* expected: element and offset in it that the region begins at */
	int err;
	unsigned int first;
	unsigned int offset;
	unsigned int length;
};

static const struct map_case map_cases[] = {
	{ "one page", .segs = { { 0, 4096 } }, .length = 4096 },
	{ "part of a page", .segs = { { 1024, 512 } }, .length = 512 },
	{ "three pages", .segs = { { 0, 4096 }, { 0, 4096 }, { 0, 4096 } },
	  .length = 12288 },
	{ "within pages at both ends",
	  .segs = { { 512, 3584 }, { 0, 4096 }, { 0, 1024 } }, .length = 8704 },
	{ "hole behind the first", .segs = { { 0, 512 }, { 0, 4096 } },
	  .err = -EIO },
	{ "hole before the last", .segs = { { 0, 4096 }, { 512, 512 } },
	  .err = -EIO },
	{ "holes, if the adapter can", .gaps = true,
	  .segs = { { 512, 512 }, { 1024, 1024 } }, .length = 1536 },
	{ "skip part of the first", .segs = { { 0, 4096 }, { 0, 4096 } },
	  .skip = 512, .offset = 512, .length = 7680 },
	{ "skip all but the last byte of the first",
	  .segs = { { 0, 4096 }, { 0, 4096 } }, .skip = 4095, .offset = 4095,
	  .length = 4097 },
	{ "skip the first", .segs = { { 0, 4096 }, { 0, 4096 } }, .skip = 4096,
	  .first = 1, .length = 4096 },
	{ "skip into the second", .segs = { { 1024, 3072 }, { 0, 4096 } },
	  .skip = 3584, .first = 1, .offset = 512, .length = 3584 },
	{ "skip two and a bit",
	  .segs = { { 0, 4096 }, { 0, 4096 }, { 0, 4096 } }, .skip = 8704,
	  .first = 2, .offset = 512, .length = 3584 },
	{ "skip all but a byte", .segs = { { 0, 4096 } }, .skip = 4095,
	  .offset = 4095, .length = 1 },
	{ "skip, with holes, if the adapter can", .gaps = true,
	  .segs = { { 0, 512 }, { 512, 512 }, { 0, 512 } }, .skip = 768,
	  .first = 1, .offset = 256, .length = 768 },
	{ "skip within merged pages", .merge = true,
	  .segs = { { 0, 4096 }, { 0, 4096 }, { 0, 4096 } }, .skip = 5120,
	  .first = 1, .offset = 1024, .length = 7168 },
};

KUNIT_ARRAY_PARAM_DESC(map, map_cases, name);

static void region(struct kunit *test)
{
	const struct map_case *c = test->param_value;
	struct rig *rig = rig_make(test, .gaps = c->gaps);
	struct iser_mr *imr = get(rig->conn);
	unsigned int nr = 0;
	struct scsi_cmnd *sc;
	int nents;

	while (nr < ARRAY_SIZE(c->segs) && c->segs[nr].len)
		nr++;
	sc = rig_command(rig, DMA_TO_DEVICE, c->segs, nr);
	rig->fake->merge = c->merge;
	nents = fake_map_sg(&rig->fake->ib, scsi_sglist(sc), nr, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, c->err,
			iser_mr_map(imr, scsi_sglist(sc), nents, c->skip,
				    DMA_TO_DEVICE));
	if (!c->err) {
		u64 start = (u64)(uintptr_t)sg_virt(&scsi_sglist(sc)[c->first]);

		start += c->offset;
		KUNIT_EXPECT_EQ(test, start, fake_mr_start(imr->mr));
		KUNIT_EXPECT_EQ(test, fake_told_addr(imr->mr->rkey, start),
				imr->mr->iova);
		KUNIT_EXPECT_EQ(test, c->length, imr->mr->length);
	}
	fake_unmap_sg(&rig->fake->ib, scsi_sglist(sc), nr, DMA_TO_DEVICE);
	put(rig->conn, imr);
}

/* ocrdma's goes by the bus's address, so that it has to stay */
static void region_of_ocrdma(struct kunit *test)
{
	const struct rig_seg seg = { 512, 1024 };
	struct rig *rig = rig_make(test);
	enum rdma_driver_id id = rig->fake->ib.ops.driver_id;
	struct iser_mr *imr = get(rig->conn);
	struct scsi_cmnd *sc = rig_command(rig, DMA_FROM_DEVICE, &seg, 1);
	int nents = fake_map_sg(&rig->fake->ib, scsi_sglist(sc), 1,
				DMA_FROM_DEVICE);

	rig->fake->ib.ops.driver_id = RDMA_DRIVER_OCRDMA;
	KUNIT_EXPECT_EQ(test, 0, iser_mr_map(imr, scsi_sglist(sc), nents, 0,
					     DMA_FROM_DEVICE));
	rig->fake->ib.ops.driver_id = id;
	KUNIT_EXPECT_EQ(test, fake_mr_start(imr->mr), imr->mr->iova);
	fake_unmap_sg(&rig->fake->ib, scsi_sglist(sc), 1, DMA_FROM_DEVICE);
	put(rig->conn, imr);
}

static const struct {
	const char *name;
	enum dma_data_direction dir;
	int access;
} rights_cases[] = {
	{ "read", DMA_FROM_DEVICE,
	  IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE },
	{ "write", DMA_TO_DEVICE, IB_ACCESS_REMOTE_READ },
};

KUNIT_ARRAY_PARAM_DESC(rights, rights_cases, name);

static void rights(struct kunit *test)
{
	const typeof(rights_cases[0]) *c = test->param_value;
	static const struct rig_seg page = { 0, 4096 };
	struct rig *rig = rig_make(test);
	struct iser_mr *imr = get(rig->conn);
	struct scsi_cmnd *sc = rig_command(rig, c->dir, &page, 1);

	fake_map_sg(&rig->fake->ib, scsi_sglist(sc), 1, c->dir);
	/* Whatever it was used for before */
	imr->reg.access = ~0;
	KUNIT_ASSERT_EQ(test, 0,
			iser_mr_map(imr, scsi_sglist(sc), 1, 0, c->dir));
	KUNIT_EXPECT_EQ(test, c->access, imr->reg.access);
	KUNIT_EXPECT_EQ(test, IB_WR_REG_MR, imr->reg.wr.opcode);
	KUNIT_EXPECT_FALSE(test, imr->reg.wr.send_flags & IB_SEND_SIGNALED);
	KUNIT_EXPECT_EQ(test, IB_WR_LOCAL_INV, imr->inv.opcode);
	KUNIT_EXPECT_TRUE(test, imr->inv.send_flags & IB_SEND_SIGNALED);
	fake_unmap_sg(&rig->fake->ib, scsi_sglist(sc), 1, c->dir);
	put(rig->conn, imr);
}

static void failed_registration_ends_it(struct kunit *test)
{
	struct rig *rig = rig_make(test);

	rig_send(rig, DMA_FROM_DEVICE, 4096);
	fake_complete(rig->fake, 0, IB_WC_LOC_QP_OP_ERR);
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mrs);
}

static void failed_invalidate_ends_it(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_send(rig, DMA_FROM_DEVICE, 4096);

	rig_answer(rig, sc, NULL);
	KUNIT_ASSERT_EQ(test, 3, rig->fake->nr_sends);
	/* Nobody knows whether the key is dead: it is not finished by this */
	mutex_lock(&rig->conn->mutex);
	fake_complete(rig->fake, 2, IB_WC_LOC_QP_OP_ERR);
	KUNIT_EXPECT_FALSE(test, finished(sc));
	mutex_unlock(&rig->conn->mutex);
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
	KUNIT_EXPECT_EQ(test, 2, rig->fake->drains);
	KUNIT_EXPECT_TRUE(test, finished(sc));
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
}

static void refused_invalidate_ends_it(struct kunit *test)
{
	struct rig *rig = rig_make(test);
	struct scsi_cmnd *sc = rig_send(rig, DMA_FROM_DEVICE, 4096);

	rig->fake->send_fails_at = 0;
	rig_answer(rig, sc, NULL);
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, rig->conn->state);
	KUNIT_EXPECT_TRUE(test, finished(sc));
	KUNIT_EXPECT_EQ(test, 0, rig->fake->mapped);
}

static struct kunit_case mr_cases[] = {
	KUNIT_CASE(session_starts_small),
	KUNIT_CASE(pool_grows_with_the_load),
	KUNIT_CASE(pool_does_not_grow_for_nothing),
	KUNIT_CASE(the_last_makes_more),
	KUNIT_CASE(exhausted_is_busy),
	KUNIT_CASE(growth_fails),
	KUNIT_CASE(growth_pauses),
	KUNIT_CASE(start_needs_one),
	KUNIT_CASE(no_growth_when_down),
	KUNIT_CASE(key_changes_each_time),
	KUNIT_CASE(commands_get_other_keys),
	KUNIT_CASE_PARAM(region, map_gen_params),
	KUNIT_CASE(region_of_ocrdma),
	KUNIT_CASE_PARAM(rights, rights_gen_params),
	KUNIT_CASE(failed_registration_ends_it),
	KUNIT_CASE(failed_invalidate_ends_it),
	KUNIT_CASE(refused_invalidate_ends_it),
	{}
};

static struct kunit_suite mr_suite = {
	.name = "iser_mr",
	.suite_init = rig_suite_init,
	.suite_exit = rig_suite_exit,
	.exit = rig_exit,
	.test_cases = mr_cases,
};

kunit_test_suite(mr_suite);
