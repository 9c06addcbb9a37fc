// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is done in place of the honest thing
 *
 * An attack gets a command and the connection that it came over.  It need
 * not answer the command: where the initiator drops the connection, the
 * command comes again over the next one and is answered honestly, as an
 * attack happens only so often as was asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "hostile.h"

struct plan plan = { .length = BLOCK, .times = 1, .wait_ms = 500 };

static void tell(struct connection *c, const char *what)
{
	printf("%s: %s\n", what, c->status == IBV_WC_SUCCESS ? "done" :
	       ibv_wc_status_str(c->status));
	fflush(stdout);
}

/* ---- memory ------------------------------------------------------------ */

static bool answer(struct connection *c, const struct command *command)
{
	struct pdu pdu = response(c, command->itt, OP_RESPONSE);

	return plan.invalidate ? send_invalidating(c, &pdu, command->key.rkey) :
				 send_pdu(c, &pdu);
}

/* The memory that is attacked: the command's own, or what the plan makes of it. */
static struct key victim(const struct command *command)
{
	struct key key = plan.ago ? known_key(plan.ago) : command->key;

	if (plan.own_va)
		key.rkey = known_key(plan.ago).rkey, key.va = command->key.va;
	key.va += plan.at + (plan.from_end ? command->key.length : 0);
	key.rkey = (key.rkey ^ plan.change) + plan.index * 256;
	return key;
}

/* Read or write memory that is not ours, or not now. */
static bool memory(struct connection *c, const struct command *command)
{
	struct key key = victim(command);
	uint8_t *mine = scratch(c);
	bool done;

	if (plan.after) {
		if (!move(c, command) || !answer(c, command))
			return false;
		pause_ms(plan.wait_ms);
	}
	memset(mine, 0xee, plan.length);
	done = rdma(c, plan.write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ, mine, plan.length,
		    key.va, key.rkey);
	tell(c, plan.write ? "write" : "read");
	if (done && !plan.write)
		printf("found: %02x%02x%02x%02x\n", mine[0], mine[1], mine[2], mine[3]);
	fflush(stdout);
	if (!done)
		return false;
	return plan.after || (move(c, command) && answer(c, command));
}

/* ---- PDUs -------------------------------------------------------------- */

static bool tell_sent(struct connection *c, const struct pdu *pdu)
{
	bool sent = send_pdu(c, pdu);

	tell(c, "send");
	return sent;
}

static bool after_data(struct connection *c, const struct command *command, struct pdu *pdu)
{
	if (!move(c, command))
		return false;
	*pdu = response(c, command->itt, OP_RESPONSE);
	return true;
}

static bool too_short(struct connection *c, const struct command *command)
{
	struct pdu pdu;

	if (!after_data(c, command, &pdu))
		return false;
	pdu.length = ISER_HEADER + BHS - 1;
	return tell_sent(c, &pdu);
}

static bool empty(struct connection *c, const struct command *command)
{
	struct pdu pdu;

	if (!after_data(c, command, &pdu))
		return false;
	pdu.length = 1;
	return tell_sent(c, &pdu);
}

static bool too_long(struct connection *c, const struct command *command)
{
	struct pdu pdu;

	if (!after_data(c, command, &pdu))
		return false;
	pdu.length = SLOT;
	return tell_sent(c, &pdu);
}

static bool opcode(struct connection *c, const struct command *command)
{
	struct pdu pdu;

	if (!after_data(c, command, &pdu))
		return false;
	pdu.bhs[0] = 0x2e;
	return tell_sent(c, &pdu);
}

static bool data_length(struct connection *c, const struct command *command)
{
	struct pdu pdu;

	if (!after_data(c, command, &pdu))
		return false;
	put24(pdu.bhs + 5, 0x7fffff);
	return tell_sent(c, &pdu);
}

static bool additional_header(struct connection *c, const struct command *command)
{
	struct pdu pdu;

	if (!after_data(c, command, &pdu))
		return false;
	pdu.bhs[4] = 0xff;
	return tell_sent(c, &pdu);
}

static bool tag(struct connection *c, const struct command *command)
{
	struct pdu pdu;

	if (!after_data(c, command, &pdu))
		return false;
	put32(pdu.bhs + 16, command->itt ^ 0x55aa55);
	return tell_sent(c, &pdu);
}

static bool no_tag(struct connection *c, const struct command *command)
{
	struct pdu pdu;

	if (!after_data(c, command, &pdu))
		return false;
	put32(pdu.bhs + 16, TAG_NONE);
	return tell_sent(c, &pdu);
}

static bool twice(struct connection *c, const struct command *command)
{
	struct pdu pdu;

	if (!after_data(c, command, &pdu) || !send_pdu(c, &pdu))
		return false;
	pdu = response(c, command->itt, OP_RESPONSE);
	return tell_sent(c, &pdu);
}

static bool completed_tag(struct connection *c, const struct command *command)
{
	struct pdu pdu;

	if (!after_data(c, command, &pdu) || !send_pdu(c, &pdu))
		return false;
	pause_ms(plan.wait_ms);
	pdu = response(c, command->itt, OP_RESPONSE);
	return tell_sent(c, &pdu);
}

static bool response_before_data(struct connection *c, const struct command *command)
{
	struct pdu pdu = response(c, command->itt, OP_RESPONSE);

	if (!tell_sent(c, &pdu))
		return false;
	pause_ms(plan.wait_ms);
	move(c, command);
	tell(c, "data");
	return true;
}

static bool foreign_pdu(struct connection *c, const struct command *command, uint8_t kind)
{
	struct pdu pdu = response(c, command->itt, kind);

	return tell_sent(c, &pdu);
}

static bool data_in(struct connection *c, const struct command *command)
{
	struct pdu pdu = response(c, command->itt, OP_DATA_IN);

	set_data(&pdu, "0123456789abcdef", 16);
	return tell_sent(c, &pdu);
}

static bool r2t(struct connection *c, const struct command *command)
{
	struct pdu pdu = response(c, command->itt, OP_R2T);

	put32(pdu.bhs + 44, command->length);
	return tell_sent(c, &pdu);
}

static bool text(struct connection *c, const struct command *command)
{
	return foreign_pdu(c, command, OP_TEXT_RESPONSE);
}

static bool login_again(struct connection *c, const struct command *command)
{
	return foreign_pdu(c, command, OP_LOGIN_RESPONSE);
}

static bool logged_out(struct connection *c, const struct command *command)
{
	return foreign_pdu(c, command, OP_LOGOUT_RESPONSE);
}

static bool task_managed(struct connection *c, const struct command *command)
{
	return foreign_pdu(c, command, OP_TMF_RESPONSE);
}

static bool hello(struct connection *c, const struct command *command)
{
	struct pdu pdu = response(c, command->itt, OP_RESPONSE);

	pdu.iser[0] = 0x20;
	return tell_sent(c, &pdu);
}

static bool async(struct connection *c, const struct command *command)
{
	struct pdu pdu = response(c, TAG_NONE, OP_ASYNC);

	pdu.bhs[36] = 200;
	tell_sent(c, &pdu);
	return move(c, command) && answer(c, command);
}

/* RFC 7143, 11.17: the header of what is rejected comes with it */
static bool reject(struct connection *c, const struct command *command)
{
	struct pdu pdu = response(c, TAG_NONE, OP_REJECT);
	uint8_t header[BHS] = { OP_COMMAND, 0xc0 };

	pdu.bhs[2] = 0x09;
	put32(header + 16, command->itt);
	set_data(&pdu, header, sizeof(header));
	return tell_sent(c, &pdu);
}

static bool stat_sn(struct connection *c, const struct command *command)
{
	c->stat_sn += 0x40000000;
	return move(c, command) && answer(c, command);
}

static bool window_back(struct connection *c, const struct command *command)
{
	struct pdu pdu;

	if (!after_data(c, command, &pdu))
		return false;
	put32(pdu.bhs + 28, c->cmd_sn - 1000);
	put32(pdu.bhs + 32, c->cmd_sn - 900);
	return tell_sent(c, &pdu);
}

static bool sense(struct connection *c, const struct command *command)
{
	static const uint8_t data[8] = { 0xff, 0xff, 0x70, 0, 2 };
	struct pdu pdu = response(c, command->itt, OP_RESPONSE);

	pdu.bhs[3] = 0x02;
	set_data(&pdu, data, sizeof(data));
	return tell_sent(c, &pdu);
}

static bool residual(struct connection *c, const struct command *command)
{
	struct pdu pdu;

	if (!after_data(c, command, &pdu))
		return false;
	pdu.bhs[1] |= 0x02;
	put32(pdu.bhs + 44, command->length + BLOCK);
	return tell_sent(c, &pdu);
}

/* ---- keys that are not to be invalidated ------------------------------- */

static bool invalidate(struct connection *c, const struct command *command, uint32_t rkey)
{
	struct pdu pdu;
	bool sent;

	if (!after_data(c, command, &pdu))
		return false;
	sent = send_invalidating(c, &pdu, rkey);
	tell(c, "send");
	return sent;
}

static bool invalidate_foreign(struct connection *c, const struct command *command)
{
	return invalidate(c, command, known_key(1).rkey);
}

static bool invalidate_stale(struct connection *c, const struct command *command)
{
	return invalidate(c, command, command->key.rkey - 1);
}

static bool invalidate_unknown(struct connection *c, const struct command *command)
{
	return invalidate(c, command, command->key.rkey ^ 0x7fff00);
}

static bool invalidate_twice(struct connection *c, const struct command *command)
{
	return invalidate(c, command, command->key.rkey) &&
	       invalidate(c, command, command->key.rkey);
}

static bool invalidate_by_nop(struct connection *c, const struct command *command)
{
	struct pdu pdu = response(c, TAG_NONE, OP_NOP_IN);
	bool sent;

	put32(pdu.bhs + 20, TAG_NONE);
	sent = send_invalidating(c, &pdu, command->key.rkey);
	tell(c, "send");
	return sent;
}

/* ---- behaviour --------------------------------------------------------- */

static bool flood(struct connection *c, const struct command *command)
{
	for (unsigned int n = 0; n < 20000; n++) {
		struct pdu pdu = response(c, TAG_NONE, OP_NOP_IN);

		c->stat_sn--;		/* RFC 7143, 11.19: it does not advance */
		put32(pdu.bhs + 20, TAG_NONE);
		if (!send_pdu(c, &pdu))
			break;
	}
	tell(c, "flood");
	return move(c, command) && answer(c, command);
}

static bool silence(struct connection *c, const struct command *command)
{
	(void)command;
	printf("silent\n");
	fflush(stdout);
	for (struct pdu pdu; receive(c, &pdu, -1);)
		;
	return false;
}

/* The command is aborted meanwhile: it is answered behind that. */
static bool late(struct connection *c, const struct command *command)
{
	struct pdu pdu, tmf;

	do {
		if (!receive(c, &tmf, -1))
			return false;
	} while ((tmf.bhs[0] & 0x3f) != OP_TMF);
	pdu = response(c, get32(tmf.bhs + 16), OP_TMF_RESPONSE);
	if (!send_pdu(c, &pdu))
		return false;
	pause_ms(plan.wait_ms);
	move(c, command);
	tell(c, "data");
	pdu = response(c, command->itt, OP_RESPONSE);
	return tell_sent(c, &pdu);
}

static bool hang_up_now(struct connection *c, const struct command *command)
{
	(void)c;
	(void)command;
	return false;
}

static bool hang_up_after_data(struct connection *c, const struct command *command)
{
	move(c, command);
	return false;
}

static const struct attack {
	const char *name;
	bool (*run)(struct connection *c, const struct command *command);
} attacks[] = {
	{ "additional-header", additional_header },
	{ "async", async },
	{ "completed-tag", completed_tag },
	{ "data-in", data_in },
	{ "data-length", data_length },
	{ "empty", empty },
	{ "flood", flood },
	{ "hang-up", hang_up_now },
	{ "hang-up-after-data", hang_up_after_data },
	{ "hello", hello },
	{ "invalidate-by-nop", invalidate_by_nop },
	{ "invalidate-foreign", invalidate_foreign },
	{ "invalidate-stale", invalidate_stale },
	{ "invalidate-twice", invalidate_twice },
	{ "invalidate-unknown", invalidate_unknown },
	{ "late", late },
	{ "logged-out", logged_out },
	{ "login-again", login_again },
	{ "memory", memory },
	{ "no-tag", no_tag },
	{ "opcode", opcode },
	{ "r2t", r2t },
	{ "reject", reject },
	{ "residual", residual },
	{ "response-before-data", response_before_data },
	{ "sense", sense },
	{ "silence", silence },
	{ "stat-sn", stat_sn },
	{ "tag", tag },
	{ "task-managed", task_managed },
	{ "text", text },
	{ "too-long", too_long },
	{ "too-short", too_short },
	{ "twice", twice },
	{ "window-back", window_back },
};

/* ---- during login ------------------------------------------------------ */

static bool login_hang_up(struct connection *c, const struct pdu *request)
{
	(void)c;
	(void)request;
	return false;
}

static bool login_silence(struct connection *c, const struct pdu *request)
{
	(void)request;
	return silence(c, NULL);
}

static bool login_slowly(struct connection *c, const struct pdu *request)
{
	pause_ms(plan.wait_ms);
	return login(c, request);
}

static bool login_response_first(struct connection *c, const struct pdu *request)
{
	struct pdu pdu = response(c, get32(request->bhs + 16), OP_RESPONSE);

	return tell_sent(c, &pdu) && login(c, request);
}

static bool login_nop_first(struct connection *c, const struct pdu *request)
{
	struct pdu pdu = response(c, TAG_NONE, OP_NOP_IN);

	put32(pdu.bhs + 20, TAG_NONE);
	return tell_sent(c, &pdu) && login(c, request);
}

static bool login_too_short(struct connection *c, const struct pdu *request)
{
	struct pdu pdu = response(c, get32(request->bhs + 16), OP_LOGIN_RESPONSE);

	pdu.length = ISER_HEADER + 20;
	return tell_sent(c, &pdu);
}

static bool login_data_length(struct connection *c, const struct pdu *request)
{
	struct pdu pdu = response(c, get32(request->bhs + 16), OP_LOGIN_RESPONSE);

	put24(pdu.bhs + 5, 8192);
	return tell_sent(c, &pdu);
}

static const struct login_attack {
	const char *name;
	bool (*run)(struct connection *c, const struct pdu *request);
} login_attacks[] = {
	{ "login-data-length", login_data_length },
	{ "login-hang-up", login_hang_up },
	{ "login-nop-first", login_nop_first },
	{ "login-response-first", login_response_first },
	{ "login-silence", login_silence },
	{ "login-slowly", login_slowly },
	{ "login-too-short", login_too_short },
};

/* ---- choosing ---------------------------------------------------------- */

static const struct attack *chosen;
static const struct login_attack *chosen_login;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/**
 * attack_choose - be prepared for an attack
 * @name: its name
 *
 * Returns whether there is one of that name.
 */
bool attack_choose(const char *name)
{
	for (size_t i = 0; i < COUNT(attacks); i++)
		if (!strcmp(attacks[i].name, name))
			chosen = &attacks[i];
	for (size_t i = 0; i < COUNT(login_attacks); i++)
		if (!strcmp(login_attacks[i].name, name))
			chosen_login = &login_attacks[i];
	return chosen || chosen_login;
}

void attack_list(FILE *file)
{
	for (size_t i = 0; i < COUNT(attacks); i++)
		fprintf(file, "  %s\n", attacks[i].name);
	for (size_t i = 0; i < COUNT(login_attacks); i++)
		fprintf(file, "  %s\n", login_attacks[i].name);
}

/* Whether one more is wanted. */
static bool once_more(void)
{
	bool more;

	pthread_mutex_lock(&lock);
	more = plan.times > 0;
	plan.times -= more;
	pthread_mutex_unlock(&lock);
	return more;
}

/* Answer a command for the blocks that attacks are about. */
bool attack(struct connection *c, const struct command *command)
{
	if (chosen && once_more())
		return chosen->run(c, command);
	return move(c, command) && answer(c, command);
}

/* Answer a login request. */
bool attack_login(struct connection *c, const struct pdu *request)
{
	if (chosen_login && once_more())
		return chosen_login->run(c, request);
	return login(c, request);
}
