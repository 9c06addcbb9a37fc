// SPDX-License-Identifier: GPL-2.0-only
/*
 * An honest target: login, a disk of BLOCKS blocks, task management
 *
 * Just what an initiator needs to make a disk of it.  Data come with a
 * write if the initiator offers that; all others are solicited, so that
 * memory is exposed.  What the initiator says of itself is believed.
 */
#include <string.h>

#include "hostile.h"

/* ---- keys that were advertised, the youngest first --------------------- */

static void remember_key(struct connection *c, struct key key)
{
	c->keys[c->keys_seen++ % KEYS] = key;
}

/**
 * known_key - a key that was advertised over a connection
 * @c: connection; those of others are worthless in its protection domain
 * @ago: how many came after it
 *
 * Returns it; its length is 0 if there were not as many.
 */
struct key known_key(const struct connection *c, unsigned int ago)
{
	if (ago >= c->keys_seen || ago >= KEYS)
		return (struct key){ 0 };
	return c->keys[(c->keys_seen - 1 - ago) % KEYS];
}

/* ---- PDUs -------------------------------------------------------------- */

/**
 * response - a PDU that answers a command, or comes unasked
 * @c: connection
 * @itt: initiator task tag
 * @opcode: of the PDU
 *
 * Without data, and with status 0.
 */
struct pdu response(struct connection *c, uint32_t itt, uint8_t opcode)
{
	struct pdu pdu = new_pdu(c);

	pdu.bhs[0] = opcode;
	pdu.bhs[1] = 0x80;
	put32(pdu.bhs + 16, itt);
	put32(pdu.bhs + 24, c->stat_sn++);
	put32(pdu.bhs + 28, c->cmd_sn);
	put32(pdu.bhs + 32, c->cmd_sn + 31);
	if (opcode == OP_NOP_IN)
		put32(pdu.bhs + 20, TAG_NONE);	/* no answer is wanted */
	return pdu;
}

/* Send such a PDU as it is. */
bool reply(struct connection *c, uint32_t itt, uint8_t opcode)
{
	struct pdu pdu = response(c, itt, opcode);

	return send_pdu(c, &pdu);
}

void set_data(struct pdu *pdu, const void *data, uint32_t length)
{
	memcpy(pdu->data, data, length);
	put24(pdu->bhs + 5, length);
	pdu->length = ISER_HEADER + BHS + (length + 3) / 4 * 4;
}

/* ---- login and text ---------------------------------------------------- */

struct answer {
	const char *key;
	const char *value;	/* NULL: nothing is answered */
};

static const struct answer answers[] = {
	{ "AuthMethod", "None" },
	{ "DataDigest", "None" },
	{ "HeaderDigest", "None" },
	{ "InitialR2T", "Yes" },
	{ "InitiatorAlias", NULL },
	{ "InitiatorName", NULL },
	{ "InitiatorRecvDataSegmentLength", NULL },
	{ "MaxRecvDataSegmentLength", NULL },
	{ "SessionType", NULL },
	{ "TargetName", NULL },
};

/* What is not listed is accepted as it was offered. */
static const char *answer_to(const char *key, const char *offer)
{
	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++)
		if (!strcmp(answers[i].key, key))
			return answers[i].value;
	return offer;
}

static uint32_t put_key(char *at, const char *key, const char *value)
{
	return sprintf(at, "%s=%s", key, value) + 1;
}

static uint32_t negotiate(const struct pdu *request, char *text)
{
	uint32_t length = get24(request->bhs + 5), done = 0;
	char *word = (char *)request->data, *end = word + length;

	while (word < end) {
		char *next = word + strnlen(word, end - word) + 1;
		char *value = strchr(word, '=');

		if (value) {
			const char *answer;

			*value++ = 0;
			answer = answer_to(word, value);
			if (answer)
				done += put_key(text + done, word, answer);
		}
		word = next;
	}
	return done;
}

/* RFC 7143, 11.12 and 11.13 */
bool login(struct connection *c, const struct pdu *request)
{
	uint8_t flags = request->bhs[1];
	bool last = (flags & 0x80) && (flags & 3) == 3;
	char text[MOST_DATA];
	uint32_t length;
	struct pdu pdu;

	c->cmd_sn = get32(request->bhs + 24);
	length = negotiate(request, text);
	pdu = response(c, get32(request->bhs + 16), OP_LOGIN_RESPONSE);
	if (last) {
		length += put_key(text + length, "TargetRecvDataSegmentLength", "8192");
		length += put_key(text + length, "TargetPortalGroupTag", "1");
	}
	set_data(&pdu, text, length);
	pdu.bhs[1] = flags;
	memcpy(pdu.bhs + 8, request->bhs + 8, 6);	/* ISID */
	put16(pdu.bhs + 14, last);	/* TSIH */
	return send_pdu(c, &pdu);
}

/* ---- the disk ---------------------------------------------------------- */

/* Data that a command returns, and its length; 0 if it is not known. */
static uint32_t describe(const uint8_t *cdb, uint8_t *data)
{
	static const uint8_t inquiry[36] = {
		0, 0, 6, 2, 31, 0, 0, 2, 'I', 'S', 'E', 'R', ' ', ' ', ' ', ' ',
		'H', 'O', 'S', 'T', 'I', 'L', 'E', ' ', ' ', ' ', ' ', ' ',
		' ', ' ', ' ', ' ', '0', ' ', ' ', ' ',
	};

	switch (cdb[0]) {
	case 0x12:	/* INQUIRY */
		if (cdb[1] & 1)
			return 0;
		memcpy(data, inquiry, sizeof(inquiry));
		return sizeof(inquiry);
	case 0x1a:	/* MODE SENSE(6) */
		data[0] = 3;
		return 4;
	case 0x25:	/* READ CAPACITY(10) */
		put32(data, BLOCKS - 1);
		put32(data + 4, BLOCK);
		return 8;
	case 0x9e:	/* READ CAPACITY(16) */
		put32(data + 4, BLOCKS - 1);
		put32(data + 8, BLOCK);
		return 32;
	case 0xa0:	/* REPORT LUNS: only LUN 0 */
		put32(data, 8);
		return 16;
	}
	return 0;
}

static bool needs_no_data(uint8_t opcode)
{
	return opcode == 0x00 || opcode == 0x35;	/* TEST UNIT READY, SYNCHRONIZE CACHE */
}

static uint64_t first_block(const struct command *command)
{
	switch (command->cdb[0]) {
	case 0x28:
	case 0x2a:
		return get32(command->cdb + 2);
	case 0x88:
	case 0x8a:
		return get64(command->cdb + 2);
	}
	return BLOCKS;
}

/* Whether a command reads or writes blocks that there are. */
static bool moves_blocks(const struct command *command)
{
	uint64_t first = first_block(command);

	return first < BLOCKS && command->length <= (BLOCKS - first) * BLOCK &&
	       command->length <= SCRATCH;
}

/*
 * Move what a command is about, if the initiator lets us; before another PDU
 * is received.
 */
bool move(struct connection *c, const struct command *command)
{
	uint8_t *blocks = disk + first_block(command) * BLOCK;

	if (command->read) {
		memcpy(scratch(c), blocks, command->length);
		return rdma(c, IBV_WR_RDMA_WRITE, scratch(c), command->key, 1);
	}
	memcpy(blocks, command->data, command->sent);
	if (!command->key.length)
		return true;
	if (!rdma(c, IBV_WR_RDMA_READ, scratch(c), command->key, 1))
		return false;
	memcpy(blocks + command->sent, scratch(c), command->key.length);
	return true;
}

static bool refuse(struct connection *c, const struct command *command)
{
	/* ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE, behind its length */
	static const uint8_t sense[20] = {
		0, 18, 0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0,
	};
	struct pdu pdu = response(c, command->itt, OP_RESPONSE);

	pdu.bhs[3] = 0x02;	/* CHECK CONDITION */
	set_data(&pdu, sense, sizeof(sense));
	return send_pdu(c, &pdu);
}

static bool return_data(struct connection *c, const struct command *command, uint32_t length)
{
	struct key key = command->key;
	struct pdu pdu;

	if (length > command->length)
		length = command->length;
	key.length = length;
	if (length && !rdma(c, IBV_WR_RDMA_WRITE, scratch(c), key, 1))
		return false;
	pdu = response(c, command->itt, OP_RESPONSE);
	if (length < command->length) {
		pdu.bhs[1] |= 0x02;	/* residual underflow */
		put32(pdu.bhs + 44, command->length - length);
	}
	return send_pdu(c, &pdu);
}

static bool execute(struct connection *c, const struct command *command)
{
	uint64_t first = first_block(command);
	uint32_t length;

	if (moves_blocks(command)) {
		if (first == TRIGGER || first == OTHER_TRIGGER)
			return attack(c, command);
		return move(c, command) && reply(c, command->itt, OP_RESPONSE);
	}
	if (needs_no_data(command->cdb[0]))
		return reply(c, command->itt, OP_RESPONSE);
	memset(scratch(c), 0, 256);
	length = describe(command->cdb, scratch(c));
	return length ? return_data(c, command, length) : refuse(c, command);
}

/* RFC 7143, 11.3; RFC 7145, 9.2 */
static bool scsi_command(struct connection *c, const struct pdu *request)
{
	const uint8_t *bhs = request->bhs, *iser = request->iser;
	struct command command = {
		.itt = get32(bhs + 16),
		.length = get32(bhs + 20),
		.read = bhs[1] & 0x40,
		.write = bhs[1] & 0x20,
		.data = request->data,
		.sent = get24(bhs + 5),
	};
	const uint8_t *stag = iser + (command.write ? 4 : 16);

	memcpy(command.cdb, bhs + 32, sizeof(command.cdb));
	c->cmd_sn = get32(bhs + 24) + 1;
	if ((command.read || command.write) && command.sent < command.length) {
		command.key = (struct key){ get32(stag), get64(stag + 4),
					    command.length - command.sent };
		remember_key(c, command.key);
	}
	return execute(c, &command);
}

/* ---- the rest ---------------------------------------------------------- */

static bool nop_out(struct connection *c, const struct pdu *request)
{
	uint32_t itt = get32(request->bhs + 16), length = get24(request->bhs + 5);
	struct pdu pdu;

	if (itt == TAG_NONE)
		return true;
	pdu = response(c, itt, OP_NOP_IN);
	set_data(&pdu, request->data, length);
	return send_pdu(c, &pdu);
}

static bool handle(struct connection *c, const struct pdu *request)
{
	uint8_t opcode = request->bhs[0] & 0x3f;
	uint32_t itt = get32(request->bhs + 16);
	bool stay;

	if (opcode == OP_COMMAND)
		return scsi_command(c, request);
	if (attack_request(c, request, &stay))
		return stay;
	switch (opcode) {
	case OP_LOGIN:
		return login(c, request);
	case OP_TMF:
		return reply(c, itt, OP_TMF_RESPONSE);
	case OP_NOP_OUT:
		return nop_out(c, request);
	case OP_LOGOUT:
		reply(c, itt, OP_LOGOUT_RESPONSE);
		return false;
	}
	fprintf(stderr, "hostile: opcode 0x%02x is not known here\n", request->bhs[0]);
	return false;
}

/**
 * serve - be a target on a connection, until it ends
 * @c: connection
 */
void serve(struct connection *c)
{
	struct pdu request;

	while (receive(c, &request) && handle(c, &request))
		;
	hang_up(c);
}
