/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An iSER target in user space that attacks who logs in to it
 *
 * main.c    orders, and listening
 * verbs.c   a connection: receives, sends, RDMA, each waited for
 * target.c  an honest target: login, a disk, task management
 * attack.c  what is done in place of the honest thing
 *
 * Normally: a connection has a thread, which takes one PDU after the other
 * and answers it.  A line on standard input orders an attack.  The next
 * command for the blocks at a TRIGGER, or the next request of another kind, is
 * then not answered but handed to it.  Each step of an attack is a line on standard output:
 * what was tried, and what the adapter said.
 *
 * Recovery: a connection that fails in whatever way is dropped, and the next
 * one is accepted.  Nothing here defends itself against the initiator.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <endian.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
	ISER_HEADER	= 28,
	BHS		= 48,
	MOST_DATA	= 8192,
	SLOT		= ISER_HEADER + BHS + MOST_DATA,
	RECEIVES	= 64,
	SENDS		= 128,
	BLOCK		= 512,
	BLOCKS		= 32768,
	TRIGGER		= 16384,	/* a command that begins at this block is attacked, */
	OTHER_TRIGGER	= 20480,	/* or at this one */
	SCRATCH		= 1 << 20,
	KEYS		= 1024,		/* so many of a connection are remembered */
};

enum {		/* opcodes of RFC 7143, 11.2.1.2 */
	OP_NOP_OUT	= 0x00,
	OP_COMMAND	= 0x01,
	OP_TMF		= 0x02,
	OP_LOGIN	= 0x03,
	OP_TEXT		= 0x04,
	OP_DATA_OUT	= 0x05,
	OP_LOGOUT	= 0x06,
	OP_SNACK	= 0x10,
	OP_NOP_IN	= 0x20,
	OP_RESPONSE	= 0x21,
	OP_TMF_RESPONSE	= 0x22,
	OP_LOGIN_RESPONSE = 0x23,
	OP_TEXT_RESPONSE = 0x24,
	OP_DATA_IN	= 0x25,
	OP_LOGOUT_RESPONSE = 0x26,
	OP_R2T		= 0x31,
	OP_ASYNC	= 0x32,
	OP_REJECT	= 0x3f,
	IMMEDIATE	= 0x40,		/* with an opcode */
};

#define TAG_NONE	0xffffffffu

/* What an initiator advertised: RFC 7145, 9.2 */
struct key {
	uint32_t rkey;
	uint64_t va;
	uint32_t length;
};

/* A PDU, as it lies in the memory that is sent or was received into. */
struct pdu {
	uint8_t *iser;		/* the iSER header */
	uint8_t *bhs;
	uint8_t *data;
	uint32_t length;	/* of all of it */
};

/* A command that is being executed. */
struct command {
	uint32_t itt;
	uint8_t cdb[16];
	uint32_t length;	/* expected data transfer length */
	bool read, write;
	const uint8_t *data;	/* that came with it, until another PDU is received */
	uint32_t sent;		/* so many */
	struct key key;		/* of the others; its length is 0 if there are none */
};

struct connection {
	struct rdma_cm_id *id;
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	struct ibv_mr *mr;		/* of memory */
	uint8_t *memory;		/* slots for receives, then for sends, then scratch */
	pthread_t thread;
	atomic_bool bad;		/* nothing can be done with it any more */
	bool hurry;			/* do not wait for what is posted */
	bool trusted;			/* a command that could be attacked was not */
	unsigned int made;		/* PDUs to be sent */
	uint64_t sends;			/* posted */
	uint64_t sent;			/* completed */
	enum ibv_wc_status status;	/* of what was waited for last: the first failure */
	int waiting[RECEIVES];		/* slots that were received into, in order */
	uint32_t lengths[RECEIVES];
	unsigned int arrived, taken;
	uint32_t stat_sn, cmd_sn;
	struct key keys[KEYS];		/* advertised, the youngest of them */
	unsigned int keys_seen;
};

struct attack;

/* What was ordered; main.c has the meaning of each. */
struct plan {
	const struct attack *attack;
	unsigned int times, row, rows, wait_ms, patience_ms, refuse;
	bool invalidate, trusted;
	bool write, after, from_end, own_va, other_va, held, each;
	long at;
	uint32_t length, ago, change, index;
};

extern uint8_t *disk;		/* BLOCKS blocks, common to all connections */

/* main.c */
[[gnu::format(printf, 1, 2)]]
void say(const char *format, ...);

/* verbs.c */
struct connection *connection_accept(struct rdma_cm_id *id, const struct rdma_conn_param *param);
void connection_free(struct connection *c);
bool receive(struct connection *c, struct pdu *pdu);
struct pdu new_pdu(struct connection *c);
bool send_pdu(struct connection *c, const struct pdu *pdu);
bool send_repeatedly(struct connection *c, const struct pdu *pdu, unsigned int times);
bool send_invalidating(struct connection *c, const struct pdu *pdu, uint32_t rkey);
bool rdma(struct connection *c, enum ibv_wr_opcode opcode, void *local, struct key at,
	  unsigned int times);
uint8_t *scratch(struct connection *c);
bool stays(struct connection *c, unsigned int ms);
void hang_up(struct connection *c);
void pause_ms(unsigned int ms);

/* target.c */
void serve(struct connection *c);
struct pdu response(struct connection *c, uint32_t itt, uint8_t opcode);
bool reply(struct connection *c, uint32_t itt, uint8_t opcode);
void set_data(struct pdu *pdu, const void *data, uint32_t length);
bool login(struct connection *c, const struct pdu *request);
bool move(struct connection *c, const struct command *command);
struct key known_key(const struct connection *c, unsigned int ago);

/* attack.c */
const struct attack *attack_find(const char *name);
void attack_list(FILE *file);
void attack_order(const struct plan *plan);
bool attack_connect(void);
bool attack_request(struct connection *c, const struct pdu *request, bool *stay);
bool attack(struct connection *c, const struct command *command);

static inline void put16(uint8_t *at, uint16_t value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static inline void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

static inline uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

static inline uint64_t get64(const uint8_t *at)
{
	return (uint64_t)get32(at) << 32 | get32(at + 4);
}

static inline uint32_t get24(const uint8_t *at)
{
	return at[0] << 16 | at[1] << 8 | at[2];
}

static inline void put24(uint8_t *at, uint32_t value)
{
	at[0] = value >> 16;
	put16(at + 1, value);
}

#endif
