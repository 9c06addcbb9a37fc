// SPDX-License-Identifier: GPL-2.0-only
/*
 * What goes over the wire: the pure functions of <iser/wire.h>.
 *
 * No rig. Messages lie in buffers that end where the message ends, so KASAN
 * reports a function that looks beyond.
 */
#include <kunit/test.h>
#include <scsi/libiscsi.h>
#include <iser/wire.h>
#include "opcodes.h"

struct check_case {
	const char *name;
	u8 type;
	u8 hlength;
	u32 dlength;
	u32 len;
	enum iser_fault fault;
};

#define H ISER_HEADERS_LEN

static const struct check_case check_cases[] = {
	{ "nothing", 0, 0, 0, 0, ISER_FAULT_SHORT },
	{ "one byte", 0x10, 0, 0, 1, ISER_FAULT_SHORT },
	{ "iSER header only", 0x10, 0, 0, 28, ISER_FAULT_SHORT },
	{ "one byte short", 0x10, 0, 0, H - 1, ISER_FAULT_SHORT },
	{ "headers only", 0x10, 0, 0, H, ISER_FAULT_NONE },
	{ "STag bits set", 0x1c, 0, 0, H, ISER_FAULT_NONE },
	{ "reserved bits set", 0x1f, 0, 0, H, ISER_FAULT_NONE },
	{ "Hello", 0x20, 0, 0, H, ISER_FAULT_HELLO },
	{ "HelloReply", 0x30, 0, 0, H, ISER_FAULT_HELLO },
	{ "type 0", 0x00, 0, 0, H, ISER_FAULT_TYPE },
	{ "type 4", 0x40, 0, 0, H, ISER_FAULT_TYPE },
	{ "type 15", 0xf0, 0, 0, H, ISER_FAULT_TYPE },
	{ "type 0, low bits set", 0x0f, 0, 0, H, ISER_FAULT_TYPE },
	{ "no data, 3 bytes behind", 0x10, 0, 0, H + 3, ISER_FAULT_NONE },
	{ "no data, 4 bytes behind", 0x10, 0, 0, H + 4, ISER_FAULT_TRAILING },
	{ "1 byte missing", 0x10, 0, 1, H, ISER_FAULT_LENGTH },
	{ "1 byte, no padding", 0x10, 0, 1, H + 1, ISER_FAULT_NONE },
	{ "1 byte, padded", 0x10, 0, 1, H + 4, ISER_FAULT_NONE },
	{ "1 byte, too much behind", 0x10, 0, 1, H + 5, ISER_FAULT_TRAILING },
	{ "8 bytes, 1 missing", 0x10, 0, 8, H + 7, ISER_FAULT_LENGTH },
	{ "8 bytes", 0x10, 0, 8, H + 8, ISER_FAULT_NONE },
	{ "AHS, 1 byte missing", 0x10, 1, 0, H + 3, ISER_FAULT_LENGTH },
	{ "AHS", 0x10, 1, 0, H + 4, ISER_FAULT_NONE },
	{ "AHS and data", 0x10, 2, 5, H + 13, ISER_FAULT_NONE },
	{ "AHS, data missing", 0x10, 2, 5, H + 12, ISER_FAULT_LENGTH },
	{ "longest AHS", 0x10, 255, 0, H + 1020, ISER_FAULT_NONE },
	{ "longest AHS missing", 0x10, 255, 0, H, ISER_FAULT_LENGTH },
	{ "longest segment missing", 0x10, 0, 0xffffff, H, ISER_FAULT_LENGTH },
	{ "all lengths at most", 0x10, 255, 0xffffff, H, ISER_FAULT_LENGTH },
	{ "default segment", 0x10, 0, 8192, H + 8192, ISER_FAULT_NONE },
};

KUNIT_ARRAY_PARAM_DESC(check, check_cases, name);

/* A message in a buffer of just its size */
static void *message(struct kunit *test, const struct check_case *c, u8 opcode)
{
	struct {
		struct iser_ctrl ctrl;
		struct iscsi_hdr hdr;
	} __packed head = {
		.ctrl.flags = c->type,
		.hdr.opcode = opcode,
		.hdr.hlength = c->hlength,
	};
	void *buf = kunit_kzalloc(test, max(c->len, 1u), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, buf);
	hton24(head.hdr.dlength, c->dlength);
	memcpy(buf, &head, min_t(u32, c->len, sizeof(head)));
	return buf;
}

static void pdu_check(struct kunit *test)
{
	const struct check_case *c = test->param_value;
	void *buf = message(test, c, ISCSI_OP_SCSI_CMD_RSP);
	struct iser_pdu pdu = {};

	KUNIT_ASSERT_EQ(test, c->fault, iser_pdu_check(buf, c->len, &pdu));
	if (c->fault) {
		KUNIT_EXPECT_NULL(test, pdu.hdr);
		return;
	}
	KUNIT_EXPECT_PTR_EQ(test, buf + sizeof(struct iser_ctrl),
			    (void *)pdu.hdr);
	KUNIT_EXPECT_PTR_EQ(test, buf + H + c->hlength * 4, pdu.data);
	KUNIT_EXPECT_EQ(test, c->dlength, pdu.datalen);
	KUNIT_EXPECT_EQ(test, ISCSI_OP_SCSI_CMD_RSP, pdu.opcode);
}

/* RFC 7143, section 11.1.1.2, by numbers */
static void every_opcode(struct kunit *test)
{
	static const struct check_case sound = { "", 0x10, 0, 0, H, 0 };
	unsigned int octet;

	for (octet = 0; octet <= 0xff; octet++) {
		void *buf = message(test, &sound, octet);
		struct iser_pdu pdu = {};

		KUNIT_EXPECT_EQ_MSG(test, opcode_fault(octet & 0x3f),
				    iser_pdu_check(buf, H, &pdu),
				    "octet %#x", octet);
		KUNIT_EXPECT_EQ(test, pdu.hdr ? octet & 0x3f : 0, pdu.opcode);
		kunit_kfree(test, buf);
	}
}

static void every_fault_has_a_text(struct kunit *test)
{
	int i, j;

	for (i = 0; i < ISER_FAULT_COUNT; i++) {
		KUNIT_ASSERT_NOT_NULL(test, iser_fault_text(i));
		for (j = 0; j < i; j++)
			KUNIT_EXPECT_STRNEQ(test, iser_fault_text(i),
					    iser_fault_text(j));
	}
}

/* RFC 7145, section 9.3, byte by byte */
static void header_advertises(struct kunit *test)
{
	static const u8 none[28] = { 0x10 };
	static const u8 read[28] = { 0x14, [16] = 0x12, 0x34, 0x56, 0x78,
		0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08 };
	static const u8 write[28] = { 0x18, [4] = 0x9a, 0xbc, 0xde, 0xf0,
		0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 0xf9, 0xf8 };
	struct iser_ctrl ctrl;

	KUNIT_ASSERT_EQ(test, 28, sizeof(ctrl));
	memset(&ctrl, 0xff, sizeof(ctrl));
	iser_ctrl_init(&ctrl);
	KUNIT_EXPECT_MEMEQ(test, &ctrl, none, sizeof(ctrl));

	iser_ctrl_read(&ctrl, 0x12345678, 0x0102030405060708);
	KUNIT_EXPECT_MEMEQ(test, &ctrl, read, sizeof(ctrl));

	iser_ctrl_init(&ctrl);
	iser_ctrl_write(&ctrl, 0x9abcdef0, 0xfffefdfcfbfaf9f8);
	KUNIT_EXPECT_MEMEQ(test, &ctrl, write, sizeof(ctrl));

	iser_ctrl_read(&ctrl, 1, 2);
	KUNIT_EXPECT_EQ(test, 0x1c, ctrl.flags);
}

static void responses_answer_requests(struct kunit *test)
{
	static const u8 pairs[][2] = {
		{ ISCSI_OP_NOOP_OUT, ISCSI_OP_NOOP_IN },
		{ ISCSI_OP_SCSI_CMD, ISCSI_OP_SCSI_CMD_RSP },
		{ ISCSI_OP_SCSI_TMFUNC, ISCSI_OP_SCSI_TMFUNC_RSP },
		{ ISCSI_OP_LOGIN, ISCSI_OP_LOGIN_RSP },
		{ ISCSI_OP_TEXT, ISCSI_OP_TEXT_RSP },
		{ ISCSI_OP_LOGOUT, ISCSI_OP_LOGOUT_RSP },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pairs); i++) {
		u8 request = pairs[i][0], response = pairs[i][1];

		KUNIT_EXPECT_EQ(test, response, iser_response_opcode(request));
		KUNIT_EXPECT_EQ(test, response,
				iser_response_opcode(request |
						     ISCSI_OP_IMMEDIATE));
	}
}

static void tag_fields(struct kunit *test)
{
	static const u32 values[] = { 0, 1, 2, 255, 511, 4096, 8191 };
	unsigned int i, age;

	for (i = 0; i < ARRAY_SIZE(values); i++) {
		for (age = 0; age < 16; age++) {
			u32 tag = iser_itt_make(values[i], 0x5555, age);

			KUNIT_EXPECT_EQ(test, values[i], iser_itt_index(tag));
			KUNIT_EXPECT_EQ(test, age, iser_itt_age(tag));
			KUNIT_EXPECT_NE(test, tag,
					iser_itt_make(values[i], 0x5556, age));
		}
	}
	/* What is too large for its field must not reach into the next one */
	KUNIT_EXPECT_EQ(test, iser_itt_make(0, 0, 0),
			iser_itt_make(8192, 32768, 16));
}

/* libiscsi looks for index and age at places of its own */
static void tag_is_what_libiscsi_expects(struct kunit *test)
{
	u32 tag = iser_itt_make(ISCSI_ITT_MASK, 0, 0);

	KUNIT_EXPECT_EQ(test, ISCSI_ITT_MASK, tag);
	KUNIT_EXPECT_EQ(test, ISCSI_AGE_SHIFT, ISER_ITT_AGE_SHIFT);
	KUNIT_EXPECT_EQ(test, ISCSI_AGE_MASK, ISER_ITT_AGE_MASK);
}

/* 512 tasks at most, so all ones is free to mean "no tag" */
static void tag_is_never_reserved(struct kunit *test)
{
	KUNIT_EXPECT_NE(test, (__force u32)RESERVED_ITT,
			iser_itt_make(511, ~0u, ~0u));
}

struct text_case {
	const char *name;
	const char *text;
	u32 len;
	bool has;
};

static const struct text_case text_cases[] = {
	{ "alone", "Key=Yes\0", 8, true },
	{ "first", "Key=Yes\0Other=1\0", 16, true },
	{ "last", "Other=1\0Key=Yes\0", 16, true },
	{ "in the middle", "A=1\0Key=Yes\0B=2\0", 16, true },
	{ "behind an empty pair", "\0\0Key=Yes\0", 10, true },
	{ "not ended", "Key=Yes", 7, false },
	{ "last, not ended", "Other=1\0Key=Yes", 15, false },
	{ "empty", "", 0, false },
	{ "zeros", "\0\0\0\0", 4, false },
	{ "other value", "Key=No\0", 7, false },
	{ "longer value", "Key=YesNo\0", 10, false },
	{ "shorter value", "Key=Ye\0", 7, false },
	{ "longer key", "XKey=Yes\0", 9, false },
	{ "other case", "key=yes\0", 8, false },
	{ "as part of a value", "A=Key=Yes\0", 10, false },
};

KUNIT_ARRAY_PARAM_DESC(text, text_cases, name);

static void text_has(struct kunit *test)
{
	const struct text_case *c = test->param_value;
	char *text = kunit_kmalloc(test, max(c->len, 1u), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, text);
	memcpy(text, c->text, c->len);
	KUNIT_EXPECT_EQ(test, c->has, iser_text_has(text, c->len, "Key=Yes"));
}

/* RFC 7143, section 11.12: octet 1 is T, C, -, -, CSG (2 bits), NSG (2 bits) */
static void login_ends(struct kunit *test)
{
	struct iscsi_hdr hdr = {};
	unsigned int opcode, flags;

	for (opcode = 0; opcode <= 0x7f; opcode++) {
		for (flags = 0; flags <= 0xff; flags++) {
			bool ends = (opcode & 0x3f) == 0x03 &&
				    (flags & 0x80) && (flags & 3) == 3;

			hdr.opcode = opcode;
			hdr.flags = flags;
			if (iser_login_ends(&hdr) != ends)
				KUNIT_FAIL(test, "opcode %#x flags %#x: %d",
					   opcode, flags, !ends);
		}
	}
}

static struct kunit_case wire_cases[] = {
	KUNIT_CASE_PARAM(pdu_check, check_gen_params),
	KUNIT_CASE(every_opcode),
	KUNIT_CASE(every_fault_has_a_text),
	KUNIT_CASE(header_advertises),
	KUNIT_CASE(responses_answer_requests),
	KUNIT_CASE(tag_fields),
	KUNIT_CASE(tag_is_what_libiscsi_expects),
	KUNIT_CASE(tag_is_never_reserved),
	KUNIT_CASE_PARAM(text_has, text_gen_params),
	KUNIT_CASE(login_ends),
	{}
};

static struct kunit_suite wire_suite = {
	.name = "iser_wire",
	.test_cases = wire_cases,
};

kunit_test_suite(wire_suite);
