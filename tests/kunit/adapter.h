/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An RDMA adapter that does nothing but write down what it was asked.
 *
 * It is a registered ib_device, so the kernel's own verbs layer is between it
 * and the driver. What is posted stays in a list; a test looks at it, and says
 * what completes, when, and how. Faults are set by the test and disarm
 * themselves. Draining a queue pair flushes what has not completed. A queue is
 * as deep as was asked for, so one that is overrun is noticed.
 *
 * Addresses are kernel addresses (a device without DMA of its own), so a test
 * can read what a gather element points at.
 */
#ifndef ISER_KUNIT_ADAPTER_H
#define ISER_KUNIT_ADAPTER_H

#include <rdma/ib_verbs.h>
#include "iser.h"

#define FAKE_LKEY	0x5a5a0001
#define FAKE_SENDS	1024
#define FAKE_RECVS	1024
#define FAKE_SGES	(1 + ISER_DATA_SGE)

/**
 * struct fake_send - a work request as it was posted
 * @wr: copy of it; its gather list is @sge, and must not be followed
 * @sge: copy of the gather list
 * @head: what the first element of a Send pointed at
 * @iova: registration: address that the region begins at
 * @start: registration: DMA address of the memory there
 * @length: registration: bytes in the region
 * @key: registration: the key
 * @access: registration: the rights
 * @doorbell: number of the post call that it came with, from 1
 * @done: completed, or known to be by a later completion
 */
struct fake_send {
	struct ib_send_wr wr;
	struct ib_sge sge[FAKE_SGES];
	u8 head[ISER_TX_LEN];
	u64 iova;
	u64 start;
	u64 length;
	u32 key;
	int access;
	unsigned int doorbell;
	bool done;
};

/**
 * struct fake_recv - a receive as it was posted
 * @cqe: whom it completes to
 * @sge: its buffer
 * @doorbell: number of the post call that it came with, from 1
 * @done: completed
 */
struct fake_recv {
	struct ib_cqe *cqe;
	struct ib_sge sge;
	unsigned int doorbell;
	bool done;
};

/* A fault is set to the number of calls that succeed before one fails */
#define FAKE_NEVER	(-1)

/**
 * struct fake_adapter - the adapter
 * @ib: what the driver sees
 * @qp: the last queue pair made
 * @cq_lock: held while a completion is handled; a drain waits for it
 * @sends: what was posted to the send queue
 * @nr_sends: how much
 * @doorbells: post calls
 * @recvs: what was posted to the receive queue
 * @nr_recvs: how much
 * @recv_doorbells: post calls
 * @received: the receive that was filled last
 * @on_post: called at the end of a post call, before it comes back, or NULL
 * @on_post_arg: for @on_post
 * @on_destroy: called while a queue pair still exists that is being destroyed,
 *	or NULL
 * @on_destroy_arg: for @on_destroy
 * @send_fails_at: fault: work requests that are still taken
 * @recv_fails_at: fault: receives that are still taken
 * @mr_fails_at: fault: memory regions that are still made
 * @dma_fails_at: fault: scatter lists that are still mapped
 * @qp_wr_room: fault: work requests that a queue pair has room for, 0: any
 * @no_pd: fault: no more protection domains
 * @no_cq: fault: no more completion queues
 * @deaf: fault: draining a queue pair flushes nothing
 * @merge: DMA mapping joins what is adjacent
 * @cap: what the last queue pair was made with
 * @qps: queue pairs that exist
 * @cqs: completion queues that exist
 * @pds: protection domains that exist
 * @mrs: memory regions that exist
 * @mapped: scatter lists that are mapped
 * @drains: times that the send queue was drained
 * @disconnects: times that the connection manager was told to disconnect
 * @changed: Sends whose first element was written to before they completed, or
 *	before the queue pair was drained
 */
struct fake_adapter {
	struct ib_device ib;
	struct ib_qp *qp;
	spinlock_t cq_lock;		/* completions, one at a time */

	struct fake_send *sends;
	unsigned int nr_sends;
	unsigned int doorbells;
	struct fake_recv *recvs;
	unsigned int nr_recvs;
	unsigned int recv_doorbells;
	void *received;
	void (*on_post)(void *arg);
	void *on_post_arg;
	void (*on_destroy)(void *arg);
	void *on_destroy_arg;

	int send_fails_at;
	int recv_fails_at;
	int mr_fails_at;
	int dma_fails_at;
	unsigned int qp_wr_room;
	bool no_pd;
	bool no_cq;
	bool deaf;
	bool merge;

	struct ib_qp_cap cap;
	unsigned int qps;
	unsigned int cqs;
	unsigned int pds;
	unsigned int mrs;
	unsigned int mapped;
	unsigned int drains;
	unsigned int disconnects;
	unsigned int changed;
};

struct fake_adapter *fake_adapter_create(void);
void fake_adapter_destroy(struct fake_adapter *fake);
void fake_adapter_forget(struct fake_adapter *fake);
void fake_adapter_attrs(struct ib_device_attr *attr);

static inline struct fake_adapter *to_fake(struct ib_device *ib)
{
	return container_of(ib, struct fake_adapter, ib);
}

void fake_complete(struct fake_adapter *fake, unsigned int i,
		   enum ib_wc_status status);
unsigned int fake_complete_sends(struct fake_adapter *fake);
bool fake_receive(struct fake_adapter *fake, const void *pdu, u32 len,
		  const u32 *invalidates);
struct fake_recv *fake_next_recv(struct fake_adapter *fake);
void fake_complete_recv(struct fake_adapter *fake, struct ib_wc *wc);
unsigned int fake_recvs_left(struct fake_adapter *fake);
bool fake_key_live(struct fake_adapter *fake, u32 rkey);
u64 fake_mr_start(const struct ib_mr *ib);

/* The address that a target is given of memory that begins at a DMA address */
static inline u64 fake_told_addr(u32 key, u64 start)
{
	return (u64)key << 32 | (start & (SZ_4K - 1));
}

#endif /* ISER_KUNIT_ADAPTER_H */
