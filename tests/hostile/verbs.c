// SPDX-License-Identifier: GPL-2.0-only
/*
 * A connection: receives, sends and RDMA
 *
 * Each work request is waited for, so that an attack reads as a sequence of
 * steps and the status of each is known.  What is received meanwhile waits
 * in the order of its arrival.  A work request that fails leaves the queue
 * pair in the error state; the connection is bad from then on.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hostile.h"

/* wr_id: the slot of a receive, or this */
#define OURS	UINT64_MAX

/* iWARP wants the right to write remotely where the data of a read arrive. */
#define RIGHTS	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)

static uint8_t *slot(struct connection *c, unsigned int number)
{
	return c->memory + (size_t)number * SLOT;
}

uint8_t *scratch(struct connection *c)
{
	return slot(c, RECEIVES + SENDS);
}

static struct pdu pdu_at(uint8_t *at, uint32_t length)
{
	return (struct pdu){ at, at + ISER_HEADER, at + ISER_HEADER + BHS, length };
}

void pause_ms(unsigned int ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000l };

	nanosleep(&time, NULL);
}

static bool post_receive(struct connection *c, unsigned int number)
{
	struct ibv_sge sge = { (uintptr_t)slot(c, number), SLOT, c->mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = number, .sg_list = &sge, .num_sge = 1 }, *failed;

	return !ibv_post_recv(c->id->qp, &wr, &failed);
}

static void completed(struct connection *c, const struct ibv_wc *wc)
{
	if (wc->status != IBV_WC_SUCCESS)
		c->bad = true;
	if (wc->wr_id == OURS) {
		c->sent++;
		/* the first that fails is the one that tells: others are flushed */
		if (c->status == IBV_WC_SUCCESS)
			c->status = wc->status;
	} else if (wc->status == IBV_WC_SUCCESS) {
		c->lengths[wc->wr_id] = wc->byte_len;
		c->waiting[c->arrived++ % RECEIVES] = wc->wr_id;
	}
}

/* Take what has completed; wait for the next completion if there is none. */
static bool poll_queue(struct connection *c, int timeout_ms)
{
	struct pollfd ready = { .fd = c->channel->fd, .events = POLLIN };
	struct ibv_cq *cq;
	struct ibv_wc wc;
	void *context;
	int n = 0;

	while (ibv_poll_cq(c->cq, 1, &wc) > 0) {
		completed(c, &wc);
		n++;
	}
	if (n)
		return true;
	if (ibv_req_notify_cq(c->cq, 0))
		return false;
	/* what came before that has no event */
	if (ibv_poll_cq(c->cq, 1, &wc) > 0) {
		completed(c, &wc);
		return true;
	}
	if (poll(&ready, 1, timeout_ms) <= 0)
		return false;
	if (!ibv_get_cq_event(c->channel, &cq, &context))
		ibv_ack_cq_events(cq, 1);
	return true;
}

static bool post(struct connection *c, struct ibv_send_wr *wr)
{
	struct ibv_send_wr *failed;

	if (c->sent == c->sends)
		c->status = IBV_WC_SUCCESS;
	wr->wr_id = OURS;
	wr->send_flags |= IBV_SEND_SIGNALED;
	if (c->bad || ibv_post_send(c->id->qp, wr, &failed)) {
		c->bad = true;
		c->status = IBV_WC_WR_FLUSH_ERR;
		return false;
	}
	c->sends++;
	return true;
}

/* Wait until all that was posted has completed; whether all was right. */
static bool settle(struct connection *c)
{
	if (c->hurry)
		return true;
	while (c->sent < c->sends)
		if (!poll_queue(c, 30000)) {
			c->bad = true;
			return false;
		}
	return c->status == IBV_WC_SUCCESS;
}

/**
 * rdma - read or write the initiator's memory
 *
 * Without waiting for one before the next; not more than SENDS times.  The
 * status remains in @c.  On iWARP a write that is refused is a success
 * here, and the connection goes a moment later.
 */
bool rdma(struct connection *c, enum ibv_wr_opcode opcode, void *local, struct key at,
	  unsigned int times)
{
	struct ibv_sge sge = { (uintptr_t)local, at.length, c->mr->lkey };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = opcode };

	wr.wr.rdma.remote_addr = at.va;
	wr.wr.rdma.rkey = at.rkey;
	while (times--)
		if (!post(c, &wr))
			return false;
	return settle(c);
}

static bool post_pdu(struct connection *c, const struct pdu *pdu, enum ibv_wr_opcode opcode,
		     uint32_t rkey)
{
	struct ibv_sge sge = { (uintptr_t)pdu->iser, pdu->length, c->mr->lkey };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = opcode,
				  .invalidate_rkey = rkey };

	/* the siw of rdma-core takes it from where that of an access is */
	wr.wr.rdma.rkey = rkey;
	return post(c, &wr);
}

bool send_pdu(struct connection *c, const struct pdu *pdu)
{
	return post_pdu(c, pdu, IBV_WR_SEND, 0) && settle(c);
}

/* Without waiting for one before the next; not more than SENDS. */
bool send_repeatedly(struct connection *c, const struct pdu *pdu, unsigned int times)
{
	while (times--)
		if (!post_pdu(c, pdu, IBV_WR_SEND, 0))
			return false;
	return settle(c);
}

bool send_invalidating(struct connection *c, const struct pdu *pdu, uint32_t rkey)
{
	return post_pdu(c, pdu, IBV_WR_SEND_WITH_INV, rkey) && settle(c);
}

/**
 * new_pdu - memory for a PDU to be sent
 *
 * It is all zeros but for the iSER header's opcode, and has no data.  It can
 * be used until as many others were made as there are slots.
 */
struct pdu new_pdu(struct connection *c)
{
	uint8_t *at = slot(c, RECEIVES + c->made++ % SENDS);

	memset(at, 0, SLOT);
	at[0] = 0x10;
	return pdu_at(at, ISER_HEADER + BHS);
}

/**
 * receive - the next PDU
 *
 * It can be looked at until the next call.  Returns whether there is one.
 */
bool receive(struct connection *c, struct pdu *pdu)
{
	int number;

	if (c->taken && !c->bad && !post_receive(c, c->waiting[(c->taken - 1) % RECEIVES]))
		c->bad = true;
	while (c->arrived == c->taken && !c->bad)
		if (!poll_queue(c, -1))
			return false;
	if (c->bad)
		return false;
	number = c->waiting[c->taken++ % RECEIVES];
	*pdu = pdu_at(slot(c, number), c->lengths[number]);
	return true;
}

static long now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Whether the connection is still there after that time. */
bool stays(struct connection *c, unsigned int ms)
{
	long end = now_ms() + ms, left;

	while (!c->bad && (left = end - now_ms()) > 0)
		poll_queue(c, left);
	return !c->bad;
}

void hang_up(struct connection *c)
{
	c->bad = true;
	rdma_disconnect(c->id);
}

static bool make_queues(struct connection *c)
{
	struct ibv_qp_init_attr attr = {
		.cap = { .max_send_wr = SENDS, .max_recv_wr = RECEIVES,
			 .max_send_sge = 1, .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};

	c->pd = ibv_alloc_pd(c->id->verbs);
	c->channel = ibv_create_comp_channel(c->id->verbs);
	if (!c->pd || !c->channel)
		return false;
	c->cq = ibv_create_cq(c->id->verbs, SENDS + RECEIVES, NULL, c->channel, 0);
	if (!c->cq)
		return false;
	attr.send_cq = c->cq;
	attr.recv_cq = c->cq;
	return !rdma_create_qp(c->id, c->pd, &attr);
}

static bool make_memory(struct connection *c)
{
	size_t size = (size_t)(RECEIVES + SENDS) * SLOT + SCRATCH;

	c->memory = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
	if (!c->memory)
		return false;
	c->mr = ibv_reg_mr(c->pd, c->memory, size, RIGHTS);
	if (!c->mr)
		return false;
	for (unsigned int number = 0; number < RECEIVES; number++)
		if (!post_receive(c, number))
			return false;
	return true;
}

/**
 * connection_accept - accept a connection that is asked for
 *
 * Returns it, or NULL if that failed, and @id is gone.
 */
struct connection *connection_accept(struct rdma_cm_id *id, const struct rdma_conn_param *param)
{
	/* no zero-based addresses; Send with Invalidate may come */
	static const uint8_t answer[4] = { 0x80 };
	struct rdma_conn_param accept = {
		.private_data = answer, .private_data_len = sizeof(answer),
		.responder_resources = param->initiator_depth,
		.initiator_depth = param->responder_resources,
		.rnr_retry_count = 7,
	};
	struct connection *c = calloc(1, sizeof(*c));

	if (!c) {
		rdma_destroy_id(id);
		return NULL;
	}
	c->id = id;
	if (make_queues(c) && make_memory(c) && !rdma_accept(id, &accept))
		return c;
	fprintf(stderr, "hostile: can't accept a connection: %s\n", strerror(errno));
	connection_free(c);
	return NULL;
}

/* Its thread has ended. */
void connection_free(struct connection *c)
{
	if (c->id->qp)
		rdma_destroy_qp(c->id);
	if (c->mr)
		ibv_dereg_mr(c->mr);
	if (c->cq)
		ibv_destroy_cq(c->cq);
	if (c->channel)
		ibv_destroy_comp_channel(c->channel);
	if (c->pd)
		ibv_dealloc_pd(c->pd);
	rdma_destroy_id(c->id);
	free(c->memory);
	free(c);
}
