// SPDX-License-Identifier: GPL-2.0-only
/*
 * Module parameters: which values are taken, and which refused.
 *
 * The driver's module.c is part of this module, so its parameters are this
 * module's: they are set as modprobe and sysfs set them.
 */
#include <kunit/test.h>
#include <linux/moduleparam.h>
#include "iser.h"

struct param_case {
	const char *name;
	const char *value;
	int err;
	const char *reads;
};

#define OK(n, v, r) { n, v, 0, r "\n" }
#define BAD(n, v) { n, v, -EINVAL, NULL }

static const struct param_case param_cases[] = {
	OK("max_lun", "1", "1"),
	OK("max_lun", "512", "512"),
	OK("max_lun", "0x10", "16"),
	OK("max_lun", "16384", "16384"),
	BAD("max_lun", "0"),
	BAD("max_lun", "16385"),
	BAD("max_lun", "-1"),
	BAD("max_lun", "4294967297"),
	BAD("max_lun", ""),
	BAD("max_lun", "many"),
	BAD("max_lun", "1 2"),
	OK("max_sectors", "8", "8"),
	OK("max_sectors", "2048", "2048"),
	OK("max_sectors", "32768", "32768"),
	BAD("max_sectors", "7"),
	BAD("max_sectors", "32769"),
	BAD("max_sectors", "-2048"),
	BAD("max_sectors", "1M"),
	OK("debug_level", "0", "0"),
	OK("debug_level", "9", "9"),
	OK("debug_level", "-1", "-1"),
	BAD("debug_level", "on"),
	OK("pi_enable", "y", "0"),
	OK("pi_enable", "N", "0"),
	BAD("pi_enable", "perhaps"),
	OK("always_register", "n", "Y"),
	OK("always_register", "1", "Y"),
	BAD("always_register", "perhaps"),
	{ "pi_enable", NULL, 0, "0\n" },
	{ "always_register", NULL, 0, "Y\n" },
};

static void param_desc(const struct param_case *c, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s%s%s", c->name,
		 c->value ? "=" : "", c->value ?: "",
		 c->err ? " is refused" : "");
}

KUNIT_ARRAY_PARAM(param, param_cases, param_desc);

static const struct kernel_param *find(struct kunit *test, const char *name)
{
	unsigned int i;

	for (i = 0; i < THIS_MODULE->num_kp; i++)
		if (!strcmp(THIS_MODULE->kp[i].name, name))
			return &THIS_MODULE->kp[i];
	KUNIT_FAIL_AND_ABORT(test, "no parameter is called %s", name);
	return NULL;
}

static void read_param(struct kunit *test, const struct kernel_param *kp,
		       char *buf)
{
	int len = kp->ops->get(buf, kp);

	KUNIT_ASSERT_GT(test, len, 0);
	buf[len] = '\0';
}

static void param(struct kunit *test)
{
	const struct param_case *c = test->param_value;
	const struct kernel_param *kp = find(test, c->name);
	char *before = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);
	char *after = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);
	int err;

	KUNIT_ASSERT_NOT_NULL(test, before);
	KUNIT_ASSERT_NOT_NULL(test, after);
	read_param(test, kp, before);
	err = kp->ops->set(c->value, kp);
	KUNIT_EXPECT_EQ(test, c->err, err);
	read_param(test, kp, after);
	/* What is refused changes nothing */
	KUNIT_EXPECT_STREQ(test, c->reads ?: before, after);
	KUNIT_EXPECT_TRUE(test, c->value ||
			  (kp->ops->flags & KERNEL_PARAM_OPS_FL_NOARG));
	if (!err && kp->perm & 0200)
		kp->ops->set(strim(before), kp);
}

static struct kunit_case param_kunit_cases[] = {
	KUNIT_CASE_PARAM(param, param_gen_params),
	{}
};

static struct kunit_suite params_suite = {
	.name = "iser_params",
	.test_cases = param_kunit_cases,
};

kunit_test_suite(params_suite);
