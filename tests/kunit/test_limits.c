// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a device can do for a connection: iser_limits_derive().
 *
 * Each case says in what the adapter differs from an ordinary one, and what is
 * to come of it. What an adapter does that promised too much is in
 * test_queue.c.
 */
#include <kunit/test.h>
#include "adapter.h"

struct limits_case {
	const char *name;
	int wrs;
	int sges;
	unsigned int pages;
	unsigned int max_sectors;
	unsigned int cqes;		/* 0: many */
	bool gaps;
	bool no_fast_reg;
	int err;
	/* expected */
	unsigned int cmds;
	unsigned int data_sge;
	unsigned int mr_pages;
	unsigned int sectors;
};

#define USUAL .wrs = 8192, .sges = 16, .pages = 512, .max_sectors = 2048
#define NEVER .err = -EOPNOTSUPP
#define EXPECT(c, d, p, s) .cmds = (c), .data_sge = (d), .mr_pages = (p), \
	.sectors = (s)

static const struct limits_case limits_cases[] = {
	{ "an ordinary adapter", USUAL, EXPECT(512, 4, 257, 2048) },
	{ "no fast registration", USUAL, .no_fast_reg = true, NEVER },
	{ "takes any scatter list", USUAL, .gaps = true,
	  EXPECT(512, 4, 257, 2048) },

	{ "no work requests", 0, 16, 512, 2048, NEVER },
	{ "queues one too small", 75, 16, 512, 2048, NEVER },
	{ "queues just large enough", 76, 16, 512, 2048,
	  EXPECT(34, 4, 257, 2048) },
	{ "send queue is the limit", 256, 16, 512, 2048,
	  EXPECT(124, 4, 257, 2048) },
	{ "send queue just enough for 128", 264, 16, 512, 2048,
	  EXPECT(128, 4, 257, 2048) },
	{ "send queue of one entry more", 265, 16, 512, 2048,
	  EXPECT(129, 4, 257, 2048) },
	{ "one less than for 512", 647, 16, 512, 2048,
	  EXPECT(511, 4, 257, 2048) },
	{ "just enough for 512", 648, 16, 512, 2048,
	  EXPECT(512, 4, 257, 2048) },

	{ "completion queue one too short", USUAL, .cqes = 91, NEVER },
	{ "completion queue just long enough", USUAL, .cqes = 92,
	  EXPECT(16, 4, 257, 2048) },
	{ "completion queue one short of 512", USUAL, .cqes = 1195,
	  EXPECT(511, 4, 257, 2048) },
	{ "completion queue enough for 512", USUAL, .cqes = 1196,
	  EXPECT(512, 4, 257, 2048) },

	{ "no gather elements", 8192, 0, 512, 2048, NEVER },
	{ "one gather element", 8192, 1, 512, 2048, EXPECT(512, 0, 257, 2048) },
	{ "two gather elements", 8192, 2, 512, 2048,
	  EXPECT(512, 1, 257, 2048) },
	{ "five gather elements", 8192, 5, 512, 2048,
	  EXPECT(512, 4, 257, 2048) },

	{ "no page list", 8192, 16, 0, 2048, NEVER },
	{ "page list of 1", 8192, 16, 1, 2048, NEVER },
	{ "page list of 2", 8192, 16, 2, 2048, EXPECT(512, 4, 2, 8) },
	{ "page list of 256", 8192, 16, 256, 2048, EXPECT(512, 4, 256, 2040) },
	{ "page list of 257", 8192, 16, 257, 2048, EXPECT(512, 4, 257, 2048) },
	{ "page list without end", 8192, 16, UINT_MAX, 2048,
	  EXPECT(512, 4, 257, 2048) },

	{ "smallest max_sectors", 8192, 16, 512, 8, EXPECT(512, 4, 2, 8) },
	{ "odd max_sectors", 8192, 16, 512, 2047, EXPECT(512, 4, 256, 2040) },
	{ "largest max_sectors, 512 pages", 8192, 16, 512, 32768,
	  EXPECT(512, 4, 512, 4088) },
	{ "largest max_sectors", 8192, 16, 8192, 32768,
	  EXPECT(512, 4, 4097, 32768) },
};

KUNIT_ARRAY_PARAM_DESC(limits, limits_cases, name);

static void expect_limits(struct kunit *test, const struct limits_case *c,
			  const struct iser_limits *lim)
{
	KUNIT_EXPECT_EQ(test, c->cmds, lim->cmds);
	KUNIT_EXPECT_EQ(test, c->data_sge, lim->data_sge);
	KUNIT_EXPECT_EQ(test, c->mr_pages, lim->mr_pages);
	KUNIT_EXPECT_EQ(test, c->sectors, lim->sectors);
	KUNIT_EXPECT_EQ(test, c->gaps ? IB_MR_TYPE_SG_GAPS : IB_MR_TYPE_MEM_REG,
			lim->mr_type);
	KUNIT_EXPECT_EQ(test, c->gaps ? 0 : 4095, lim->virt_boundary);

	/* Whatever the numbers are: */
	KUNIT_EXPECT_LE(test, lim->sq, (unsigned int)c->wrs);
	KUNIT_EXPECT_LE(test, lim->rq, (unsigned int)c->wrs);
	KUNIT_EXPECT_GE(test, lim->sq, lim->cmds + ISER_SQ_SPARE +
			min(lim->cmds, ISER_SQ_AHEAD));
	KUNIT_EXPECT_LE(test, lim->sq + lim->rq, c->cqes ?: UINT_MAX);
	/* One receive more for the drain's own */
	KUNIT_EXPECT_GT(test, lim->rq, lim->cmds + ISER_RX_UNEXPECTED +
			ISER_RX_BATCH + ISER_LOGIN_RX);
	KUNIT_EXPECT_LE(test, lim->mr_pages, c->pages);
	KUNIT_EXPECT_EQ(test, c->pages, lim->mr_pages_max);
	KUNIT_EXPECT_LE(test, 1 + lim->data_sge, (unsigned int)c->sges);
	/* The largest command fits, wherever in a page it begins */
	KUNIT_EXPECT_LE(test, lim->sectors * 512 + 4095, lim->mr_pages * 4096);
}

static void limits(struct kunit *test)
{
	const struct limits_case *c = test->param_value;
	unsigned int max_sectors = iser_max_sectors;
	struct ib_device *ib = kunit_kzalloc(test, sizeof(*ib), GFP_KERNEL);
	struct iser_limits lim;
	int err;

	KUNIT_ASSERT_NOT_NULL(test, ib);
	fake_adapter_attrs(&ib->attrs);
	ib->attrs.max_qp_wr = c->wrs;
	if (c->cqes)
		ib->attrs.max_cqe = c->cqes;
	ib->attrs.max_send_sge = c->sges;
	ib->attrs.max_fast_reg_page_list_len = c->pages;
	if (c->gaps)
		ib->attrs.kernel_cap_flags |= IBK_SG_GAPS_REG;
	if (c->no_fast_reg)
		ib->attrs.device_cap_flags = 0;

	memset(&lim, 0xa5, sizeof(lim));
	iser_max_sectors = c->max_sectors;
	err = iser_limits_derive(ib, &lim);
	iser_max_sectors = max_sectors;
	KUNIT_ASSERT_EQ(test, c->err, err);
	if (!err)
		expect_limits(test, c, &lim);
}

static struct kunit_case limits_kunit_cases[] = {
	KUNIT_CASE_PARAM(limits, limits_gen_params),
	{}
};

static struct kunit_suite limits_suite = {
	.name = "iser_limits",
	.test_cases = limits_kunit_cases,
};

kunit_test_suite(limits_suite);
