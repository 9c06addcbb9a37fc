// SPDX-License-Identifier: GPL-2.0-only
/*
 * libFuzzer's way into <iser/wire.h>: what the functions must do for any input.
 *
 * The first octet of an input chooses a group of functions, the rest is what
 * they get. Each group states what must hold, from the RFCs by numbers and
 * not from the header's own names, so that a mistake there is not repeated
 * here. Messages and texts lie in buffers of just their size, where ASan
 * notices a function that looks beyond.
 *
 * At the end each outcome is printed with how often it was seen: a run in
 * which no message was accepted has shown nothing. `make fuzz-wire` runs it.
 *
 * Recovery: what does not hold is printed with its place, then abort();
 * libFuzzer keeps the input.
 */
#include <stdio.h>
#include <stdlib.h>
#include <iser/wire.h>
#include "../kunit/opcodes.h"

#define HEADERS		76u	/* RFC 7145, 9.3: 28; RFC 7143, 11.2: 48 */
#define CTRL		28u

#define MUST(what)							\
	do {								\
		if (!(what)) {						\
			fprintf(stderr, "%s:%d: does not hold: %s\n",	\
				__FILE__, __LINE__, #what);		\
			abort();					\
		}							\
	} while (0)

struct input {
	const u8 *at;
	size_t left;
};

enum outcome {
	FAULTS,		/* and one for each of enum iser_fault */
	CTRL_WRITTEN = FAULTS + ISER_FAULT_COUNT,
	TAG_MADE,
	TEXT_HAS,
	TEXT_HAS_NOT,
	LOGIN_ENDS,
	LOGIN_GOES_ON,
	OUTCOMES
};

static unsigned long seen[OUTCOMES];

/* Whatever an input has no more of is zero */
static u64 take(struct input *in, unsigned int octets)
{
	u64 value = 0;

	while (octets--) {
		value = value << 8 | (in->left ? *in->at : 0);
		if (in->left) {
			in->at++;
			in->left--;
		}
	}
	return value;
}

/* Up to @most octets of the input in a buffer of their own, of just the size */
static u8 *rest(struct input *in, size_t most, size_t *len)
{
	u8 *copy;

	*len = in->left < most ? in->left : most;
	copy = malloc(*len);
	MUST(copy);
	memcpy(copy, in->at, *len);
	in->at += *len;
	in->left -= *len;
	return copy;
}

static u64 be(const u8 *at, unsigned int octets)
{
	struct input in = { at, octets };

	return take(&in, octets);
}

/* What a validator that was written after the RFCs would say */
static enum iser_fault message_fault(const u8 *buf, u64 len)
{
	enum iser_fault fault;
	u64 told;

	if (len < HEADERS)
		return ISER_FAULT_SHORT;
	if (buf[0] >> 4 == 2 || buf[0] >> 4 == 3)
		return ISER_FAULT_HELLO;
	if (buf[0] >> 4 != 1)
		return ISER_FAULT_TYPE;
	fault = opcode_fault(buf[CTRL] & 0x3f);
	if (fault)
		return fault;
	told = HEADERS + 4 * buf[CTRL + 4] + be(buf + CTRL + 5, 3);
	if (len < told)
		return ISER_FAULT_LENGTH;
	return len > told + 3 ? ISER_FAULT_TRAILING : ISER_FAULT_NONE;
}

/* All that was accepted can be read, and lies in the message; @copy is one */
static void accepted(const u8 *buf, const u8 *copy, size_t len,
		     const struct iser_pdu *pdu)
{
	const u8 *data = pdu->data;

	MUST((u8 *)pdu->hdr == buf + CTRL);
	MUST(pdu->opcode == (buf[CTRL] & 0x3f));
	MUST(pdu->datalen == be(buf + CTRL + 5, 3));
	MUST(data == buf + HEADERS + 4 * buf[CTRL + 4]);
	MUST(data + pdu->datalen <= buf + len);
	MUST(buf + len - data - pdu->datalen < 4);
	/* ASan looks at all of both */
	MUST(!memcmp(data, copy + (data - buf), pdu->datalen));
}

static void check_message(u8 *buf, size_t len)
{
	struct iser_pdu pdu, before;
	enum iser_fault fault;
	u8 *copy = malloc(len);

	MUST(copy);
	memcpy(copy, buf, len);
	memset(&pdu, 0xa5, sizeof(pdu));
	before = pdu;
	fault = iser_pdu_check(buf, len, &pdu);
	MUST(fault < ISER_FAULT_COUNT);
	seen[FAULTS + fault]++;
	MUST(fault == message_fault(buf, len));
	MUST(strlen(iser_fault_text(fault)));
	MUST(!memcmp(copy, buf, len));
	if (fault)
		MUST(!memcmp(&pdu, &before, sizeof(pdu)));
	else
		accepted(buf, copy, len, &pdu);
	free(copy);
}

/* Octets as they come */
static void any_message(struct input *in)
{
	size_t len;
	u8 *buf = rest(in, in->left, &len);

	check_message(buf, len);
	free(buf);
}

/* A sound message, then with one octet changed, then cut or made longer */
static void sound_message(struct input *in)
{
	static const u8 opcode[] = { 0x20, 0x21, 0x22, 0x23, 0x24, 0x26, 0x32, 0x3f };
	u8 op = opcode[take(in, 1) % 8] | (take(in, 1) & 0xc0);
	u32 ahs = take(in, 1) % 8, data = take(in, 2) % 600, pad = take(in, 1) % 4;
	size_t len = HEADERS + 4 * ahs + data + pad, place = take(in, 2) % len;
	size_t other = len - 5 + take(in, 1) % 10;
	u8 octet = take(in, 1), *buf = calloc(1, len);

	MUST(buf);
	buf[0] = 0x10 | (take(in, 1) & 0x0f);
	buf[CTRL] = op;
	buf[CTRL + 4] = ahs;
	buf[CTRL + 6] = data >> 8;
	buf[CTRL + 7] = data;
	MUST(message_fault(buf, len) == ISER_FAULT_NONE);
	check_message(buf, len);
	buf[place] ^= octet;
	check_message(buf, len);
	buf[place] ^= octet;
	buf = realloc(buf, other);
	MUST(buf);
	if (other > len)
		memset(buf + len, 0, other - len);
	check_message(buf, other);
	free(buf);
}

/* RFC 7145, section 9.3: where the fields are, and that there are no others */
static void header(struct input *in)
{
	struct iser_ctrl *ctrl = malloc(sizeof(*ctrl));
	const u8 *octet = (const u8 *)ctrl;
	u8 what = take(in, 1);
	u32 rkey = take(in, 4), wkey = take(in, 4);
	u64 rva = take(in, 8), wva = take(in, 8);

	MUST(ctrl && sizeof(*ctrl) == CTRL);
	memset(ctrl, what, sizeof(*ctrl));
	iser_ctrl_init(ctrl);
	/* the order must not matter */
	if (what & 4)
		iser_ctrl_write(ctrl, wkey, wva);
	if (what & 1)
		iser_ctrl_read(ctrl, rkey, rva);
	if ((what & 6) == 2)
		iser_ctrl_write(ctrl, wkey, wva);
	MUST(octet[0] == (0x10 | (what & 6 ? 0x08 : 0) | (what & 1 ? 0x04 : 0)));
	MUST(!be(octet + 1, 3));
	MUST(be(octet + 4, 4) == (what & 6 ? wkey : 0));
	MUST(be(octet + 8, 8) == (what & 6 ? wva : 0));
	MUST(be(octet + 16, 4) == (what & 1 ? rkey : 0));
	MUST(be(octet + 20, 8) == (what & 1 ? rva : 0));
	seen[CTRL_WRITTEN]++;
	free(ctrl);
}

/* Each part of a tag comes out as it went in, cut to its width */
static void tag(struct input *in)
{
	u32 index = take(in, 4), gen = take(in, 4), age = take(in, 4);
	u32 itt = iser_itt_make(index, gen, age), any = take(in, 4);

	MUST(iser_itt_index(itt) == index % 8192);
	MUST(iser_itt_age(itt) == age % 16);
	MUST((itt >> 13) % 32768 == gen % 32768);
	MUST(iser_itt_make(iser_itt_index(any), any >> 13, iser_itt_age(any)) == any);
	seen[TAG_MADE]++;
}

/* The same question, asked octet by octet */
static bool text_has(const char *text, size_t len, const char *pair, size_t want)
{
	size_t begin = 0, i;

	for (i = 0; i < len; i++) {
		if (text[i])
			continue;
		if (i - begin == want && !memcmp(text + begin, pair, want))
			return true;
		begin = i + 1;
	}
	return false;
}

/* The pair is somewhere in the text, perhaps where it counts */
static void text(struct input *in)
{
	size_t want = 1 + take(in, 1) % 16, place = take(in, 1), len, i, n;
	u8 *pair, *buf, *raw;
	bool has;

	raw = rest(in, want, &n);
	pair = calloc(1, n + 1);
	MUST(pair);
	for (i = 0; i < n; i++)
		pair[i] = raw[i] ? raw[i] : 'A';
	free(raw);
	buf = rest(in, in->left, &len);
	if (place < len)
		memcpy(buf + place, pair, n + 1 < len - place ? n + 1 : len - place);
	has = iser_text_has((char *)buf, len, (char *)pair);
	MUST(has == text_has((char *)buf, len, (char *)pair, n));
	seen[has ? TEXT_HAS : TEXT_HAS_NOT]++;
	free(pair);
	free(buf);
}

/* RFC 7143, sections 11.1.1.2 and 11.12: T bit, next stage 3 */
static void login(struct input *in)
{
	u8 *hdr = calloc(1, HEADERS - CTRL);
	bool ends;

	MUST(hdr);
	hdr[0] = take(in, 1);
	hdr[1] = take(in, 1);
	if (take(in, 1) & 1)
		hdr[0] = (hdr[0] & 0xc0) | 0x03;
	ends = iser_login_ends((struct iscsi_hdr *)hdr);
	MUST(ends == ((hdr[0] & 0x3f) == 0x03 && (hdr[1] & 0x83) == 0x83));
	seen[ends ? LOGIN_ENDS : LOGIN_GOES_ON]++;
	MUST(iser_opcode_check(hdr[0] & 0x3f) == opcode_fault(hdr[0] & 0x3f));
	if ((hdr[0] & 0x3f) < 0x20)
		MUST(iser_response_opcode(hdr[0]) == (hdr[0] & 0x3f) + 0x20);
	free(hdr);
}

static void outcomes(void)
{
	static const char * const name[OUTCOMES] = {
		[CTRL_WRITTEN]	= "iSER header written",
		[TAG_MADE]	= "task tag made",
		[TEXT_HAS]	= "text has the pair",
		[TEXT_HAS_NOT]	= "text does not have the pair",
		[LOGIN_ENDS]	= "login ends",
		[LOGIN_GOES_ON]	= "login does not end",
	};
	unsigned int i;

	for (i = 0; i < OUTCOMES; i++)
		printf("%9lu  %s\n", seen[i], i < CTRL_WRITTEN ?
		       iser_fault_text(i - FAULTS) : name[i]);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return atexit(outcomes);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static void (* const group[])(struct input *in) = {
		any_message, sound_message, header, tag, text, login,
	};
	struct input in = { data, size };

	group[take(&in, 1) % (sizeof(group) / sizeof(*group))](&in);
	return 0;
}
