// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is done in place of the honest thing
 *
 * An attack gets a command and the connection that it came over.  It need
 * not answer the command: where the initiator drops the connection, the
 * command comes again over the next one and is answered honestly, as an
 * attack happens only so often as was ordered.
 */
#include <stdlib.h>
#include <string.h>

#include "hostile.h"

/**
 * struct attack - something that can be done
 * @name: how it is ordered
 * @run: does it instead of answering a command; returns false to hang up
 * @request: the same instead of answering another request
 * @at: the opcode of that; 0 if it is a command
 * @spoil: or, more simply, makes something else of the right response; the
 *         command is NULL where it is a login request
 * @opcode: that of the response, if it is not the right one
 * @invalidates: the key of the memory that is attacked, with the response
 * @unasked: it does not name the command
 * @behind: it comes behind the right response
 * @answers: if nobody objects it is an answer to the command
 */
struct attack {
	const char *name;
	bool (*run)(struct connection *c, const struct plan *plan, const struct command *command);
	bool (*request)(struct connection *c, const struct plan *plan, const struct pdu *request);
	uint8_t at;
	void (*spoil)(struct connection *c, const struct command *command, struct pdu *pdu);
	uint8_t opcode;
	bool invalidates, unasked, behind, answers;
};

static void tell(struct connection *c, const char *what)
{
	say("%s: %s", what, c->status == IBV_WC_SUCCESS ? "done" : ibv_wc_status_str(c->status));
}

static void tell_fate(bool kept)
{
	say("connection: %s", kept ? "kept" : "dropped");
}

static bool answer(struct connection *c, const struct plan *plan, const struct command *command)
{
	struct pdu pdu;

	if (!plan->invalidate)
		return reply(c, command->itt, OP_RESPONSE);
	pdu = response(c, command->itt, OP_RESPONSE);
	return send_invalidating(c, &pdu, command->key.rkey);
}

static bool be_honest(struct connection *c, const struct plan *plan, const struct command *command)
{
	return move(c, command) && answer(c, plan, command);
}

/* ---- memory ------------------------------------------------------------ */

/* A command whose memory is kept for another attack, and how many of those were over. */
static struct {
	pthread_mutex_t lock;
	struct key key;
	unsigned int over;
} held = { PTHREAD_MUTEX_INITIALIZER };

static void over(void)
{
	pthread_mutex_lock(&held.lock);
	held.over++;
	pthread_mutex_unlock(&held.lock);
}

static bool is_over(unsigned int before)
{
	bool more;

	pthread_mutex_lock(&held.lock);
	more = held.over != before;
	pthread_mutex_unlock(&held.lock);
	return more;
}

/* Answer a command when another attack is over. */
static bool hold(struct connection *c, const struct plan *plan, const struct command *command)
{
	unsigned int before;

	if (!move(c, command))
		return false;
	pthread_mutex_lock(&held.lock);
	held.key = command->key;
	before = held.over;
	pthread_mutex_unlock(&held.lock);
	say("held");
	while (!is_over(before))
		if (!stays(c, 100))
			return false;
	return answer(c, plan, command);
}

static bool apart(uint64_t va, uint32_t length, const struct key *key)
{
	return va + length <= key->va || va >= key->va + key->length;
}

/* Point a key at its memory's beginning, or its end, whichever is not within ours as well. */
static bool leave(struct key *key, const struct key *ours, uint32_t length)
{
	if (key->length < length)
		return false;
	if (!apart(key->va, length, ours))
		key->va += key->length - length;
	return apart(key->va, length, ours);
}

/*
 * A command's own key, which is alive, for memory of another one.  Memory is
 * used again: what an earlier command had can be ours now.
 */
static struct key with_other_va(const struct connection *c, const struct plan *plan,
				struct key ours)
{
	unsigned int ago = plan->ago;
	struct key other;

	do {
		other = plan->held ? held.key : known_key(c, ago++);
		if (leave(&other, &ours, plan->length)) {
			ours.va = other.va;
			return ours;
		}
	} while (other.length && !plan->held);
	return (struct key){ 0 };
}

/* The address that was given with a key of an index so far away, if there was any. */
static uint64_t address_near(const struct connection *c, const struct plan *plan,
			     struct key ours)
{
	uint32_t index = (ours.rkey >> 8) + plan->index;
	struct key key;

	for (unsigned int ago = 1; (key = known_key(c, ago)).length; ago++)
		if (key.rkey >> 8 == index) {
			say("neighbour: was used");
			return key.va;
		}
	return ours.va;
}

/* The memory that is attacked: the command's own, or what the plan makes of it. */
static struct key victim(const struct connection *c, const struct plan *plan,
			 const struct command *command)
{
	struct key key = command->key;

	if (plan->held)
		key = held.key;
	else if (plan->ago)
		key = known_key(c, plan->ago);
	if (plan->other_va)
		key = with_other_va(c, plan, command->key);
	if (plan->own_va)
		key.va = command->key.va;
	if (plan->index)
		key.va = address_near(c, plan, command->key);
	key.va += plan->at + (plan->from_end ? command->key.length : 0);
	key.rkey = (key.rkey ^ plan->change) + plan->index * 256;
	return key;
}

/* There is no such memory. */
static bool do_without(struct connection *c, const struct plan *plan, const struct command *command)
{
	say("none of that kind");
	return be_honest(c, plan, command);
}

/* With no time to wait the answer is not waited for: what comes next is right behind it. */
static bool finish(struct connection *c, const struct plan *plan, const struct command *command)
{
	bool done;

	if (!move(c, command))
		return false;
	c->hurry = !plan->wait_ms;
	done = answer(c, plan, command);
	c->hurry = false;
	pause_ms(plan->wait_ms);
	return done;
}

/* Read or write memory that is not ours, or not now.  Returns whether nobody minds. */
static bool strike(struct connection *c, const struct plan *plan, struct key at)
{
	uint8_t *mine = scratch(c);
	bool done;

	memset(mine, 0xee, plan->length);
	at.length = plan->length;
	done = rdma(c, plan->write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ, mine, at, plan->row);
	tell(c, plan->write ? "write" : "read");
	/* iWARP refuses a write later than it is done */
	if (done && !stays(c, plan->patience_ms)) {
		tell_fate(false);
		done = false;
	}
	return done;
}

static bool memory(struct connection *c, const struct plan *plan, const struct command *command)
{
	struct key key = victim(c, plan, command);

	if (!key.length)
		return do_without(c, plan, command);
	if (plan->after && !finish(c, plan, command))
		return false;
	return strike(c, plan, key) && (plan->after || be_honest(c, plan, command));
}

/* Say what was given with a command: nothing is attacked. */
static bool tell_key(struct connection *c, const struct plan *plan, const struct command *command)
{
	say("given: key %08x, address %016llx", command->key.rkey,
	    (unsigned long long)command->key.va);
	return be_honest(c, plan, command);
}

/* ---- PDUs -------------------------------------------------------------- */

static void too_short(struct connection *c, const struct command *command, struct pdu *pdu)
{
	pdu->length = ISER_HEADER + BHS - 1;
}

static void empty(struct connection *c, const struct command *command, struct pdu *pdu)
{
	pdu->length = 1;
}

static void too_long(struct connection *c, const struct command *command, struct pdu *pdu)
{
	pdu->length = SLOT;
}

/* It fits in any receive, but says nothing of these bytes. */
static void longer(struct connection *c, const struct command *command, struct pdu *pdu)
{
	pdu->length += 4;
}

static void opcode(struct connection *c, const struct command *command, struct pdu *pdu)
{
	pdu->bhs[0] = 0x2e;
}

static void data_length(struct connection *c, const struct command *command, struct pdu *pdu)
{
	put24(pdu->bhs + 5, 0x7fffff);
}

static void additional_header(struct connection *c, const struct command *command,
			      struct pdu *pdu)
{
	pdu->bhs[4] = 0xff;
}

static void tag(struct connection *c, const struct command *command, struct pdu *pdu)
{
	put32(pdu->bhs + 16, command->itt ^ 0x55aa55);
}

/* The initiator's bytes of a tag are in its order, which is ours: include/iser/wire.h */
static void change_tag(struct pdu *pdu, const struct command *command, uint32_t bits)
{
	put32(pdu->bhs + 16, command->itt ^ htobe32(bits));
}

static void tag_generation(struct connection *c, const struct command *command, struct pdu *pdu)
{
	change_tag(pdu, command, 1u << 13);
}

static void tag_age(struct connection *c, const struct command *command, struct pdu *pdu)
{
	change_tag(pdu, command, 1u << 28);
}

/* There are fewer tasks than the upper bits of an index can count. */
static void tag_beyond(struct connection *c, const struct command *command, struct pdu *pdu)
{
	change_tag(pdu, command, 1u << 12);
}

static void data_in(struct connection *c, const struct command *command, struct pdu *pdu)
{
	set_data(pdu, "0123456789abcdef", 16);
}

static void r2t(struct connection *c, const struct command *command, struct pdu *pdu)
{
	put32(pdu->bhs + 44, command->length);
}

static void hello(struct connection *c, const struct command *command, struct pdu *pdu)
{
	pdu->iser[0] = 0x20;
}

static void async(struct connection *c, const struct command *command, struct pdu *pdu)
{
	pdu->bhs[36] = 200;
}

static void async_reserved(struct connection *c, const struct command *command, struct pdu *pdu)
{
	pdu->bhs[36] = 6;
}

/* One that is the vendor's own, with data that nobody knows */
static void async_vendor(struct connection *c, const struct command *command, struct pdu *pdu)
{
	pdu->bhs[36] = 248;
	set_data(pdu, "0123456789abcdef", 15);
}

/* RFC 7143, 11.17: the header of what is rejected comes with it */
static void set_rejected(struct pdu *pdu, uint8_t opcode, uint32_t itt, uint8_t reason)
{
	uint8_t header[BHS] = { opcode, 0xc0 };

	pdu->bhs[2] = reason;
	put32(header + 16, itt);
	set_data(pdu, header, sizeof(header));
}

/* Invalid PDU field */
static void reject(struct connection *c, const struct command *command, struct pdu *pdu)
{
	set_rejected(pdu, OP_COMMAND, command->itt, 0x09);
}

/* Immediate command reject, of one of that opcode; the tag is that of a SCSI command */
static void reject_immediate(struct pdu *pdu, uint8_t opcode, uint32_t itt)
{
	set_rejected(pdu, IMMEDIATE | opcode, itt, 0x06);
}

static void reject_login(struct connection *c, const struct command *command, struct pdu *pdu)
{
	reject_immediate(pdu, OP_LOGIN, command->itt);
}

static void reject_logout(struct connection *c, const struct command *command, struct pdu *pdu)
{
	reject_immediate(pdu, OP_LOGOUT, command->itt);
}

static void reject_nop(struct connection *c, const struct command *command, struct pdu *pdu)
{
	reject_immediate(pdu, OP_NOP_OUT, command->itt);
}

/* One that asks for no answer, as the answer to a ping does not */
static void reject_pong(struct connection *c, const struct command *command, struct pdu *pdu)
{
	reject_immediate(pdu, OP_NOP_OUT, TAG_NONE);
}

static void reject_tmf(struct connection *c, const struct command *command, struct pdu *pdu)
{
	reject_immediate(pdu, OP_TMF, command->itt);
}

static void reject_text(struct connection *c, const struct command *command, struct pdu *pdu)
{
	reject_immediate(pdu, OP_TEXT, command->itt);
}

/* Protocol error */
static void reject_data_out(struct connection *c, const struct command *command, struct pdu *pdu)
{
	set_rejected(pdu, OP_DATA_OUT, command->itt, 0x04);
}

/* SNACK reject; none is ever sent */
static void reject_snack(struct connection *c, const struct command *command, struct pdu *pdu)
{
	set_rejected(pdu, OP_SNACK, command->itt, 0x03);
}

static void reject_nothing(struct connection *c, const struct command *command, struct pdu *pdu)
{
	pdu->bhs[2] = 0x09;
}

static void reject_partly(struct connection *c, const struct command *command, struct pdu *pdu)
{
	reject(c, command, pdu);
	put24(pdu->bhs + 5, BHS - 1);
}

static void stat_sn(struct connection *c, const struct command *command, struct pdu *pdu)
{
	put32(pdu->bhs + 24, c->stat_sn + 0x40000000);
}

static void window_back(struct connection *c, const struct command *command, struct pdu *pdu)
{
	put32(pdu->bhs + 28, c->cmd_sn - 1000);
	put32(pdu->bhs + 32, c->cmd_sn - 900);
}

/* CHECK CONDITION with 65535 bytes of sense, of which 6 come */
static void sense(struct connection *c, const struct command *command, struct pdu *pdu)
{
	static const uint8_t data[8] = { 0xff, 0xff, 0x70, 0, 2 };

	pdu->bhs[3] = 0x02;
	set_data(pdu, data, sizeof(data));
}

static void residual(struct connection *c, const struct command *command, struct pdu *pdu)
{
	pdu->bhs[1] |= 0x02;
	put32(pdu->bhs + 44, command->length + BLOCK);
}

/* More than there is, or can be */
static void overflow(struct connection *c, const struct command *command, struct pdu *pdu)
{
	pdu->bhs[1] |= 0x04;
	put32(pdu->bhs + 44, 0x80000000);
}

/* Send something else than the right response; and that one too if nobody objects. */
static bool forge(struct connection *c, const struct plan *plan, const struct command *command)
{
	const struct attack *attack = plan->attack;
	struct key key = victim(c, plan, command);
	bool sent, kept;
	struct pdu pdu;

	if (attack->invalidates && !key.length)
		return do_without(c, plan, command);
	if (!move(c, command))
		return false;
	if (attack->behind) {
		if (!answer(c, plan, command))
			return false;
		pause_ms(plan->wait_ms);
	}
	pdu = response(c, attack->unasked ? TAG_NONE : command->itt,
		       attack->opcode ? attack->opcode : OP_RESPONSE);
	if (attack->spoil)
		attack->spoil(c, command, &pdu);
	sent = attack->invalidates ? send_invalidating(c, &pdu, key.rkey) : send_pdu(c, &pdu);
	tell(c, "send");
	kept = sent && stays(c, plan->patience_ms);
	tell_fate(kept);
	return kept && (attack->behind || attack->answers || answer(c, plan, command));
}

/* ---- behaviour --------------------------------------------------------- */

/* NOP-Ins in rows, each of them at once; with a tag each wants an answer. */
static bool send_pings(struct connection *c, const struct plan *plan, uint32_t ttt)
{
	bool kept = true;

	for (unsigned int n = 0; n < plan->rows && kept; n++) {
		struct pdu pdu = response(c, TAG_NONE, OP_NOP_IN);

		c->stat_sn--;		/* RFC 7143, 11.19: it does not advance */
		put32(pdu.bhs + 20, ttt);
		kept = send_repeatedly(c, &pdu, plan->row);
	}
	kept = kept && stays(c, plan->patience_ms);
	tell_fate(kept);
	return kept;
}

static bool flood(struct connection *c, const struct plan *plan, const struct command *command)
{
	return send_pings(c, plan, TAG_NONE) && be_honest(c, plan, command);
}

static bool ping_flood(struct connection *c, const struct plan *plan,
		       const struct command *command)
{
	return send_pings(c, plan, 7) && be_honest(c, plan, command);
}

static bool be_silent(struct connection *c)
{
	say("silent");
	for (struct pdu pdu; receive(c, &pdu);)
		;
	return false;
}

static bool silence(struct connection *c, const struct plan *plan, const struct command *command)
{
	return be_silent(c);
}

static bool ignore(struct connection *c, const struct plan *plan, const struct command *command)
{
	return true;
}

/* Let a command be aborted, and have some time pass. */
static bool be_aborted(struct connection *c, const struct plan *plan)
{
	struct pdu tmf;

	do {
		if (!receive(c, &tmf))
			return false;
	} while ((tmf.bhs[0] & 0x3f) != OP_TMF);
	if (!reply(c, get32(tmf.bhs + 16), OP_TMF_RESPONSE))
		return false;
	pause_ms(plan->wait_ms);
	return true;
}

static bool late_memory(struct connection *c, const struct plan *plan,
			const struct command *command)
{
	if (be_aborted(c, plan))
		strike(c, plan, victim(c, plan, command));
	return false;
}

static bool late(struct connection *c, const struct plan *plan, const struct command *command)
{
	if (!be_aborted(c, plan))
		return false;
	reply(c, command->itt, OP_RESPONSE);
	tell(c, "send");
	tell_fate(stays(c, plan->patience_ms));
	return false;
}

static bool hang_up_now(struct connection *c, const struct plan *plan,
			const struct command *command)
{
	return false;
}

static bool hang_up_after_data(struct connection *c, const struct plan *plan,
			       const struct command *command)
{
	move(c, command);
	return false;
}

static bool hang_up_idle(struct connection *c, const struct plan *plan,
			 const struct command *command)
{
	if (be_honest(c, plan, command))
		pause_ms(plan->wait_ms);
	return false;
}

/* ---- other requests than commands -------------------------------------- */

static bool request_hang_up(struct connection *c, const struct plan *plan,
			    const struct pdu *request)
{
	return false;
}

static bool request_silence(struct connection *c, const struct plan *plan,
			    const struct pdu *request)
{
	return be_silent(c);
}

static bool login_hang_up_behind(struct connection *c, const struct plan *plan,
				 const struct pdu *request)
{
	login(c, request);
	return false;
}

/* Answer that there is more to be said, and take the next request. */
static bool login_partly(struct connection *c, const struct pdu *request)
{
	struct pdu next;

	request->bhs[1] &= 0x0c;	/* no transit from the present stage */
	if (!login(c, request) || !receive(c, &next))
		return false;
	say("in the middle");
	return true;
}

static bool login_hang_up_later(struct connection *c, const struct plan *plan,
				const struct pdu *request)
{
	login_partly(c, request);
	return false;
}

static bool login_silence_later(struct connection *c, const struct plan *plan,
				const struct pdu *request)
{
	return login_partly(c, request) && be_silent(c);
}

static bool login_slowly(struct connection *c, const struct plan *plan,
			 const struct pdu *request)
{
	pause_ms(plan->wait_ms);
	return login(c, request);
}

static void half(struct connection *c, const struct command *command, struct pdu *pdu)
{
	pdu->length = ISER_HEADER + 20;
}

static void more_data(struct connection *c, const struct command *command, struct pdu *pdu)
{
	put24(pdu->bhs + 5, 8192);
}

/* Answer a login request with something else first. */
static bool forge_login(struct connection *c, const struct attack *attack,
			const struct pdu *request)
{
	struct pdu pdu = response(c, attack->unasked ? TAG_NONE : get32(request->bhs + 16),
				  attack->opcode);

	if (attack->spoil)
		attack->spoil(c, NULL, &pdu);
	send_pdu(c, &pdu);
	tell(c, "send");
	return login(c, request);
}

/* ---- choosing ---------------------------------------------------------- */

static const struct attack attacks[] = {
	{ "additional-header", .spoil = additional_header },
	{ "async", .spoil = async, .opcode = OP_ASYNC, .unasked = true },
	{ "async-reserved", .spoil = async_reserved, .opcode = OP_ASYNC, .unasked = true },
	{ "async-tag", .spoil = async, .opcode = OP_ASYNC },
	{ "async-vendor", .spoil = async_vendor, .opcode = OP_ASYNC, .unasked = true },
	{ "data-in", .spoil = data_in, .opcode = OP_DATA_IN },
	{ "data-length", .spoil = data_length },
	{ "empty", .spoil = empty },
	{ "flood", .run = flood },
	{ "hang-up", .run = hang_up_now },
	{ "hang-up-after-data", .run = hang_up_after_data },
	{ "hang-up-idle", .run = hang_up_idle },
	{ "hello", .spoil = hello },
	{ "hold", .run = hold },
	{ "ignore", .run = ignore },
	{ "invalidate", .invalidates = true, .answers = true },
	{ "invalidate-by-nop", .opcode = OP_NOP_IN, .unasked = true,
	  .invalidates = true },
	{ "invalidate-twice", .invalidates = true, .behind = true },
	{ "late", .run = late },
	{ "late-memory", .run = late_memory },
	{ "logged-out", .opcode = OP_LOGOUT_RESPONSE },
	{ "login-again", .opcode = OP_LOGIN_RESPONSE },
	{ "login-data-length", .spoil = more_data, .opcode = OP_LOGIN_RESPONSE, .at = OP_LOGIN },
	{ "login-hang-up", .request = request_hang_up, .at = OP_LOGIN },
	{ "login-hang-up-behind", .request = login_hang_up_behind, .at = OP_LOGIN },
	{ "login-hang-up-later", .request = login_hang_up_later, .at = OP_LOGIN },
	{ "login-nop-first", .opcode = OP_NOP_IN, .unasked = true, .at = OP_LOGIN },
	{ "login-response-first", .opcode = OP_RESPONSE, .at = OP_LOGIN },
	{ "login-silence", .request = request_silence, .at = OP_LOGIN },
	{ "login-silence-later", .request = login_silence_later, .at = OP_LOGIN },
	{ "login-slowly", .request = login_slowly, .at = OP_LOGIN },
	{ "login-too-short", .spoil = half, .opcode = OP_LOGIN_RESPONSE, .at = OP_LOGIN },
	{ "logout-hang-up", .request = request_hang_up, .at = OP_LOGOUT },
	{ "logout-silence", .request = request_silence, .at = OP_LOGOUT },
	{ "longer", .spoil = longer },
	{ "memory", .run = memory },
	{ "no-tag", .unasked = true },
	{ "opcode", .spoil = opcode },
	{ "overflow", .spoil = overflow, .answers = true },
	{ "ping-flood", .run = ping_flood },
	{ "r2t", .spoil = r2t, .opcode = OP_R2T },
	{ "reject", .spoil = reject, .opcode = OP_REJECT, .unasked = true },
	{ "reject-data-out", .spoil = reject_data_out, .opcode = OP_REJECT, .unasked = true },
	{ "reject-login", .spoil = reject_login, .opcode = OP_REJECT, .unasked = true },
	{ "reject-logout", .spoil = reject_logout, .opcode = OP_REJECT, .unasked = true },
	{ "reject-nop", .spoil = reject_nop, .opcode = OP_REJECT, .unasked = true },
	{ "reject-nothing", .spoil = reject_nothing, .opcode = OP_REJECT, .unasked = true },
	{ "reject-partly", .spoil = reject_partly, .opcode = OP_REJECT, .unasked = true },
	{ "reject-pong", .spoil = reject_pong, .opcode = OP_REJECT, .unasked = true },
	{ "reject-snack", .spoil = reject_snack, .opcode = OP_REJECT, .unasked = true },
	{ "reject-text", .spoil = reject_text, .opcode = OP_REJECT, .unasked = true },
	{ "reject-tmf", .spoil = reject_tmf, .opcode = OP_REJECT, .unasked = true },
	{ "residual", .spoil = residual, .answers = true },
	{ "sense", .spoil = sense, .answers = true },
	{ "silence", .run = silence },
	{ "stat-sn", .spoil = stat_sn, .answers = true },
	{ "tag", .spoil = tag },
	{ "tag-age", .spoil = tag_age },
	{ "tag-beyond", .spoil = tag_beyond },
	{ "tag-generation", .spoil = tag_generation },
	{ "task-managed", .opcode = OP_TMF_RESPONSE },
	{ "tell-key", .run = tell_key },
	{ "text", .opcode = OP_TEXT_RESPONSE },
	{ "text-tag", .spoil = tag, .opcode = OP_TEXT_RESPONSE },
	{ "text-unasked", .opcode = OP_TEXT_RESPONSE, .unasked = true },
	{ "tmf-hang-up", .request = request_hang_up, .at = OP_TMF },
	{ "tmf-silence", .request = request_silence, .at = OP_TMF },
	{ "too-long", .spoil = too_long },
	{ "too-short", .spoil = too_short },
	{ "twice", .behind = true },
	{ "window-back", .spoil = window_back, .answers = true },
};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* What was ordered for the next commands, and for the next other requests. */
static struct plan plans[2];
static unsigned int refusals;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/**
 * attack_find - an attack
 * @name: its name
 *
 * Returns NULL if there is none of that name.
 */
const struct attack *attack_find(const char *name)
{
	for (size_t i = 0; i < COUNT(attacks); i++)
		if (!strcmp(attacks[i].name, name))
			return &attacks[i];
	return NULL;
}

void attack_list(FILE *file)
{
	for (size_t i = 0; i < COUNT(attacks); i++)
		fprintf(file, "  %s\n", attacks[i].name);
}

/**
 * attack_order - do this from now on
 * @plan: what
 *
 * One plan about commands and one about other requests can wait at once.
 * Connections are not refused any more.
 */
void attack_order(const struct plan *plan)
{
	pthread_mutex_lock(&lock);
	plans[!!plan->attack->at] = *plan;
	refusals = 0;
	pthread_mutex_unlock(&lock);
}

/* Whether something is to be done with a request of this opcode, and what. */
static bool take_plan(struct connection *c, uint8_t opcode, struct plan *taken)
{
	struct plan *plan = &plans[opcode != OP_COMMAND];
	bool take;

	pthread_mutex_lock(&lock);
	take = plan->times && (opcode == OP_COMMAND || plan->attack->at == opcode) &&
	       (!plan->trusted || c->trusted);
	if (take) {
		*taken = *plan;
		plan->times--;
		plan->change += plan->each;
		refusals = plan->refuse;
	}
	pthread_mutex_unlock(&lock);
	return take;
}

/* Answer a command for the blocks that attacks are about. */
bool attack(struct connection *c, const struct command *command)
{
	struct plan plan = { 0 };
	bool stay;

	if (!take_plan(c, OP_COMMAND, &plan)) {
		c->trusted = true;
		return be_honest(c, &plan, command);
	}
	if (command->sent)
		say("came with it: %u bytes", command->sent);
	stay = plan.attack->run ? plan.attack->run(c, &plan, command) : forge(c, &plan, command);
	say("over");
	if (plan.attack->run != hold)
		over();
	return stay;
}

/**
 * attack_request - do something with another request than a command
 * @c: connection
 * @request: the request
 * @stay: whether the connection is to stay after that
 *
 * Returns whether something was done, so that it is not to be answered.
 */
bool attack_request(struct connection *c, const struct pdu *request, bool *stay)
{
	struct plan plan;

	if (!take_plan(c, request->bhs[0] & 0x3f, &plan))
		return false;
	*stay = plan.attack->request ? plan.attack->request(c, &plan, request) :
				       forge_login(c, plan.attack, request);
	say("over");
	return true;
}

/* Whether a connection that is asked for is refused. */
bool attack_connect(void)
{
	bool refuse;

	pthread_mutex_lock(&lock);
	refuse = refusals > 0;
	refusals -= refuse;
	pthread_mutex_unlock(&lock);
	if (refuse)
		say("refused");
	return refuse;
}
