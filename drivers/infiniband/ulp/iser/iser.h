/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Private types of the iSER initiator: who owns what, which lock guards it.
 *
 * A connection (struct iser_conn) is one RDMA connection, from ep_connect()
 * until its last reference is dropped; it owns every RDMA resource. The iSCSI
 * connection borrows it through a link from bind to stop. It is in one of
 * five states; iser_conn_change_state() is the only function that changes it:
 *
 *	RESOLVING -> CONNECTING -> UP -> CLOSING -> CLOSED
 *	     |           |                  ^
 *	     +-----------+------------------+
 *
 * Whatever goes wrong, and also an orderly disconnect, moves the connection to
 * CLOSING and queues the one teardown (endpoint.c), which ends in CLOSED.
 *
 * Data flows one way: transport -> task -> mr -> queue on the way out,
 * queue -> response -> task on the way back.
 *
 * Locks, outermost first:
 *	conn->mutex		set-up and teardown of verbs resources
 *	session->frwd_lock	libiscsi's; everything that posts a Send holds it
 *	session->back_lock	libiscsi's; guards the memory state of a task
 *	conn->state_lock, conn->dataout_lock	leaves
 * iser_conns_mutex, of the list of all connections, is a leaf by itself.
 */
#ifndef ISER_H
#define ISER_H

#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/ratelimit.h>
#include <linux/siphash.h>
#include <linux/socket.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>
#include <scsi/libiscsi.h>
#include <scsi/scsi_transport_iscsi.h>
#include <iser/wire.h>
#include "compat.h"

/* Commands that one connection carries at most; less on a smaller device */
#define ISER_MAX_CMDS		512
/* A connection that can't carry this many commands is not worth having */
#define ISER_MIN_CMDS		16
/* Target's PDUs that answer no request: NOP-In, async messages, rejects */
#define ISER_RX_UNEXPECTED	16
/* PDUs a second that a target may send unasked, beyond any use */
#define ISER_UNASKED_MAX	64
/* Receives are given back to the adapter this many at a time */
#define ISER_RX_BATCH		16
/*
 * PDUs that fill no more than this fit in every full-feature receive: headers,
 * sense data of up to 252 octets (SPC-4) and its length; rejected headers, pings
 */
#define ISER_RX_LEN		336
/* Login and text responses: headers and the default data segment */
#define ISER_LOGIN_LEN		(ISER_HEADERS_LEN + ISCSI_DEF_MAX_RECV_SEG_LEN)
/* The last rounds of a login use them up, when they are not posted again */
#define ISER_LOGIN_RX		3
/* Headers, with room for the rest of a 32-octet CDB */
#define ISER_TX_LEN		96
#define ISER_TX_PER_CHUNK	(PAGE_ALIGN(ISER_TX_LEN) / ISER_TX_LEN)
/* The longest CDB whose additional header segment fits in ISER_TX_LEN */
#define ISER_MAX_CDB		32
/* Gather elements for immediate or unsolicited data in one Send */
#define ISER_DATA_SGE		4
/* Unsolicited Data-Out PDUs in flight on one connection */
#define ISER_DATAOUT_MAX	64
/* Work requests that go out before one of them asks for a completion */
#define ISER_SIGNAL_EVERY	64
/*
 * Send queue entries for what the adapter has yet to execute; there is one more
 * for each command, to kill its key with, as that must not have to wait. And so
 * many more headers than tasks: those of Sends that are yet to be acknowledged
 */
#define ISER_SQ_AHEAD		128
/* How many of both commands leave to control PDUs, which libiscsi can't put off */
#define ISER_SQ_CONTROL		4
/* Send queue entries kept for draining */
#define ISER_SQ_SPARE		8
/* Registrations that a session starts with; more come with the load */
#define ISER_MR_FIRST		8
/* How long iscsiadm's system calls take, and more, see iser_xmit_login() */
#define ISER_BELL_DELAY		(HZ / 100 ?: 1)
/* A device that had no more of them is asked again after so long */
#define ISER_MR_PAUSE		HZ

struct iser_conn;

enum iser_state {
	ISER_RESOLVING,
	ISER_CONNECTING,
	ISER_UP,
	ISER_CLOSING,
	ISER_CLOSED,
};

/**
 * struct iser_ring - buffers of one size, in coherent memory
 * @chunks: the allocations
 * @nr_chunks: number of them
 * @chunk_len: bytes in each, a few pages, so that it works on a fragmented host
 * @size: bytes in a buffer
 * @per_chunk: buffers in a chunk
 */
struct iser_ring {
	struct iser_chunk {
		void *va;
		dma_addr_t dma;
	} *chunks;
	unsigned int nr_chunks;
	unsigned int chunk_len;
	unsigned int size;
	unsigned int per_chunk;
};

/**
 * struct iser_rx - one receive
 * @cqe: completion entry
 * @sge: the buffer
 * @buf: the buffer, for the CPU
 * @next: next one to be given back to the adapter
 * @login: large, for login and text responses
 */
struct iser_rx {
	struct ib_cqe cqe;
	struct ib_sge sge;
	void *buf;
	struct iser_rx *next;
	bool login;
};

/**
 * struct iser_headers - a PDU without its data
 * @ctrl: iSER header
 * @hdr: iSCSI PDU
 */
struct iser_headers {
	struct iser_ctrl ctrl;
	u8 hdr[ISER_TX_LEN - sizeof(struct iser_ctrl)] __aligned(4);
};

static_assert(sizeof(struct iser_headers) == ISER_TX_LEN);

/**
 * struct iser_slot - what a connection keeps for the task of one index
 * @headers: of the PDU, for as long as the task lives
 * @send: the Send; a template but for its gather list, completion and flags
 * @sge: @sge[0] is the copy of @headers in conn->tx_ring, the rest immediate data
 * @signal_cqe: of a signalled Send, which holds a reference to @task
 * @task: whose Send is signalled, until that completes
 * @next_chained: next slot whose Send waits for the doorbell
 * @retires: send queue entries that the signalled Send's completion frees
 * @acks: what it makes of conn->tx_acked
 * @gen: generation, part of the task tag; nobody can foresee it
 * @posted: the adapter has the Send, so there can be a response; set under
 *	frwd_lock, cleared under back_lock when the task is finished
 */
struct iser_slot {
	struct iser_headers headers;
	struct ib_send_wr send;
	struct ib_sge sge[1 + ISER_DATA_SGE];
	struct ib_cqe signal_cqe;
	struct iscsi_task *task;
	struct iser_slot *next_chained;
	unsigned int retires;
	u32 acks;
	u32 gen;
	bool posted;
};

/**
 * struct iser_dataout - an unsolicited Data-Out PDU
 * @send: the Send, always signalled
 * @sge: header and data
 * @cqe: completion entry
 * @ctrl: the headers
 * @task: referenced until the Send has completed, then NULL
 * @retires: send queue entries that the completion frees
 * @node: in conn->dataout_free
 */
struct iser_dataout {
	struct ib_send_wr send;
	struct ib_sge sge[1 + ISER_DATA_SGE];
	struct ib_cqe cqe;
	struct iser_ctrl *ctrl;
	struct iscsi_task *task;
	unsigned int retires;
	struct list_head node;
};

/**
 * struct iser_mr - a fast-registration memory region
 * @mr: the region
 * @reg: registers it; not signalled
 * @inv: invalidates it; always signalled
 * @reg_cqe: only ever completes in error
 * @inv_cqe: completion of @inv
 * @task: owner from registration until the command is finished
 * @free: in conn->mr_free, while nobody owns it
 * @all: in conn->mr_all
 */
struct iser_mr {
	struct ib_mr *mr;
	struct ib_reg_wr reg;
	struct ib_send_wr inv;
	struct ib_cqe reg_cqe;
	struct ib_cqe inv_cqe;
	struct iscsi_task *task;
	struct llist_node free;
	struct list_head all;
};

/**
 * struct iser_plan - how a command's data goes
 * @nents: entries in the scatter list, as mapped for DMA
 * @imm_sge: gather elements for the immediate data
 * @dataouts: unsolicited Data-Out PDUs, if there are any
 * @nr_dataouts: number of them
 * @busy: negative errno if the command must be put off
 */
struct iser_plan {
	int nents;
	unsigned int imm_sge;
	struct list_head dataouts;
	unsigned int nr_dataouts;
	int busy;
};

/**
 * struct iser_task - what belongs to a task, behind its iscsi_task
 * @conn: connection that the request was sent on, until it is finished or
 *	the connection is torn down
 * @mr: registration, if part of the data is not in Sends
 * @mapped: the scatter list is mapped for DMA
 * @rkey_live: the target was given @mr's key and it is not known to be dead;
 *	a reference to the task is held as long as it is set
 * @inv_posted: a local invalidate is on its way
 * @plan: what init_task worked out for xmit_task, which follows at once
 *
 * Written under frwd_lock until the Send is posted, under back_lock after.
 */
struct iser_task {
	struct iser_conn *conn;
	struct iser_mr *mr;
	bool mapped;
	bool rkey_live;
	bool inv_posted;
	struct iser_plan plan;
};

/* What is kept behind the SCSI host */
struct iser_host {
	struct iscsi_session *session;
};

/**
 * struct iser_limits - what a device can do for one connection
 * @cmds: commands outstanding, for which it had room
 * @cmds_max: what the device can do
 * @sq: send queue entries
 * @rq: receive queue entries
 * @data_sge: gather elements for data in a Send
 * @mr_type: kind of memory region
 * @mr_pages: pages or elements of a memory region: what max_sectors wants, or
 *	for a session that exists, what it was made with
 * @mr_pages_max: what the device can do
 * @sectors: 512-byte sectors of the largest command, as far as max_sectors lets
 * @sectors_max: the DMA layer's limit of them
 * @virt_boundary: what data must not straddle, 0 if it may be anywhere
 */
struct iser_limits {
	unsigned int cmds;
	unsigned int cmds_max;
	unsigned int sq;
	unsigned int rq;
	unsigned int data_sge;
	enum ib_mr_type mr_type;
	unsigned int mr_pages;
	unsigned int mr_pages_max;
	unsigned int sectors;
	unsigned int sectors_max;
	unsigned long virt_boundary;
};

/**
 * struct iser_stats - counters of a connection
 * @tx_busy: commands put off, and other requests refused, because the send queue
 *	was full, or all headers were in Sends not yet acknowledged
 * @mr_busy: commands put off because no registration was free
 * @inv_remote: keys that the target invalidated
 * @inv_local: keys that this side invalidated
 * @solicited_only: writes too scattered for immediate data
 *
 * Written under frwd_lock (@tx_busy, @mr_busy, @solicited_only) or back_lock.
 */
struct iser_stats {
	u32 tx_busy;
	u32 mr_busy;
	u32 inv_remote;
	u32 inv_local;
	u32 solicited_only;
};

/**
 * struct iser_link - the iSCSI connection's borrowed connection
 * @conn: NULL when none is bound; changed under frwd_lock, and read under it,
 *	or where the iSCSI class lets in one call at a time (bind, start)
 * @local: our address, kept for those who ask after the connection is gone;
 *	guarded by frwd_lock
 */
struct iser_link {
	struct iser_conn *conn;
	struct sockaddr_storage local;
};

/**
 * struct iser_conn - one RDMA connection and all that it owns
 * @ref: the endpoint, the link and the teardown hold one each
 * @state: see above; guarded by @state_lock, read without it
 * @state_lock: leaf, any context
 * @error: negative errno why it left the way to UP, or went down; of a target
 *	that hung up, a protocol error may take its place
 * @mutex: set-up and teardown of verbs resources
 * @settled: completed when the way to UP has ended, either way
 * @torn_down: completed when nothing of it can touch memory any more
 * @hung_up: completed when the CM has said that it is disconnected
 * @lost: a work request was flushed: the queue pair has failed
 * @teardown: the one teardown
 * @all: in the list of all connections
 * @ep: open-iscsi's handle
 * @iscsi: iSCSI connection that it is bound to; set while UP, cleared after
 *	@torn_down
 * @cm_id: connection manager's handle, owned by the teardown
 * @remote: target's address
 * @device: adapter
 * @limits: what it can do
 * @pd: one per connection: a key is worthless anywhere else
 * @cq: completion queue, from the device's pool
 * @qp: queue pair
 * @cq_size: entries asked of the pool
 * @sq_avail: free send queue entries
 * @signal_every: %ISER_SIGNAL_EVERY, or less with a small send queue
 * @sq_size: send queue entries to be had in all
 * @unsignalled: posted since the last signalled Send; under frwd_lock
 * @chain: first work request not yet posted; under frwd_lock
 * @chain_last: last one
 * @chained: slots whose Sends are in the chain
 * @logout: a logout request was sent: that the target disconnects is no news
 * @logged_out: iscsid has the answer to it: see iser_is_over()
 * @tx_ring: headers of Sends of @slots: of the latest @nr_tx of them
 * @nr_tx: number of buffers
 * @tx_next: which one is used next; under frwd_lock
 * @tx_sent: Sends that used one, modulo 2^32; under frwd_lock
 * @tx_acked: those of them that the adapter will not read again
 * @plain_cqe: of Sends that are not signalled: only ever completes in error
 * @gen_key: makes the tags' generations ones that nobody can foresee
 * @gen_bits: what the next ones are made of; under frwd_lock
 * @nr_gens: how many were made; under frwd_lock
 * @slots: one per task of the session
 * @nr_slots: number of them
 * @rx: receives for full-feature phase
 * @rx_ring: their buffers
 * @nr_rx: number of them
 * @rx_done: to be given back; only the completion context touches it
 * @nr_rx_done: number of them
 * @rx_posted: the full-feature receives have been posted
 * @started: full-feature phase has begun; written under @mutex, read without it
 * @discovery: discovery session: text responses go on after login
 * @dataout_ring: headers of @dataout
 * @dataout: unsolicited Data-Out PDUs, when the session has them
 * @dataout_free: those not in flight
 * @nr_dataout_free: number of them
 * @dataout_lock: guards the two
 * @mr_free: registrations to be had, the last used first; taken under frwd_lock
 * @mr_all: all of them; only who starts the connection, then @mr_grow, then the
 *	teardown touch it
 * @nr_mrs: number of them
 * @mr_short: when it was last tried there were not as many as wanted, which was
 *	said, and one asks less often; written by who may touch @mr_all
 * @mr_grow: makes more
 * @unasked: how many PDUs that answer no request are too many
 * @released: woken when a command that was aborted is finished
 * @stats: counters
 * @login_tx: a login or text request: headers and data segment
 * @login_cqe: completion of its Send
 * @login_sge: its buffer
 * @login_send: the Send
 * @login_bell: posts it, in a discovery
 * @login_rx: large receives
 * @login_ring: their buffers, until the last has been used
 * @nr_login_rx: large receives that the adapter has or that are being dealt
 *	with; only who binds it, then the completion context touches it
 * @login_over: frees @login_ring
 */
struct iser_conn {
	struct kref ref;
	enum iser_state state;
	spinlock_t state_lock;		/* state; error until CLOSING */
	int error;
	struct mutex mutex;		/* verbs resources and rings */
	struct completion settled;
	struct completion torn_down;
	struct completion hung_up;
	bool lost;
	struct work_struct teardown;
	struct list_head all;

	struct iscsi_endpoint *ep;
	struct iscsi_conn *iscsi;
	struct rdma_cm_id *cm_id;
	struct sockaddr_storage remote;

	struct ib_device *device;
	struct iser_limits limits;
	struct ib_pd *pd;
	struct ib_cq *cq;
	struct ib_qp *qp;
	unsigned int cq_size;

	atomic_t sq_avail;
	unsigned int sq_size;
	unsigned int signal_every;
	unsigned int unsignalled;
	struct ib_send_wr *chain;
	struct ib_send_wr *chain_last;
	struct iser_slot *chained;
	bool logout;
	bool logged_out;

	struct iser_ring tx_ring;
	unsigned int nr_tx;
	unsigned int tx_next;
	u32 tx_sent;
	u32 tx_acked;
	struct ib_cqe plain_cqe;
	siphash_key_t gen_key;
	u64 gen_bits;
	u64 nr_gens;
	struct iser_slot *slots;
	unsigned int nr_slots;

	struct iser_ring rx_ring;
	struct iser_rx *rx;
	unsigned int nr_rx;
	struct iser_rx *rx_done;
	unsigned int nr_rx_done;
	bool rx_posted;
	bool started;
	bool discovery;

	struct iser_ring dataout_ring;
	struct iser_dataout *dataout;
	struct list_head dataout_free;
	unsigned int nr_dataout_free;
	spinlock_t dataout_lock;	/* dataout_free, nr_dataout_free */

	struct llist_head mr_free;
	struct list_head mr_all;
	unsigned int nr_mrs;
	bool mr_short;
	struct delayed_work mr_grow;

	struct ratelimit_state unasked;
	wait_queue_head_t released;
	struct iser_stats stats;

	struct iser_ring login_tx;
	struct ib_cqe login_cqe;
	struct ib_sge login_sge;
	struct ib_send_wr login_send;
	struct delayed_work login_bell;
	struct iser_ring login_ring;
	struct iser_rx login_rx[ISER_LOGIN_RX];
	unsigned int nr_login_rx;
	struct work_struct login_over;
};

/* One line that says which connection it is about, never a flood of them */
#define iser_err(conn, fmt, ...) \
	pr_err_ratelimited("iser: %pISpc: " fmt, &(conn)->remote, ##__VA_ARGS__)
#define iser_info(conn, fmt, ...) \
	pr_info_ratelimited("iser: %pISpc: " fmt, &(conn)->remote, ##__VA_ARGS__)

static inline bool iser_conn_is_up(const struct iser_conn *conn)
{
	return READ_ONCE(conn->state) == ISER_UP;
}

/*
 * Is what the target sent, or the adapter says, still of interest? What came
 * before the end is, whichever of the two is noticed first, unless the end has
 * a reason already.
 */
static inline bool iser_conn_listens(const struct iser_conn *conn)
{
	int error;

	if (iser_conn_is_up(conn))
		return true;
	/* Pairs with iser_conn_change_state(): no state without its reason */
	smp_rmb();
	error = READ_ONCE(conn->error);
	return error == -ECONNRESET || error == -EPIPE;
}

static inline struct iser_link *iser_link(struct iscsi_conn *iscsi)
{
	return iscsi->dd_data;
}

static inline struct iser_task *iser_task(struct iscsi_task *task)
{
	return task->dd_data;
}

static inline struct iscsi_hdr *iser_slot_hdr(struct iser_slot *slot)
{
	return (struct iscsi_hdr *)slot->headers.hdr;
}

/**
 * iser_tx_left - how many more Sends can have a buffer for their headers?
 * @conn: connection
 *
 * Context: frwd_lock held.
 */
static inline unsigned int iser_tx_left(const struct iser_conn *conn)
{
	return conn->nr_tx - (conn->tx_sent - READ_ONCE(conn->tx_acked));
}

/**
 * iser_sq_reserve - take send queue entries
 * @conn: connection
 * @wrs: number
 * @keep: how many others are to be left
 *
 * Context: frwd_lock held.
 * Return: false if there are not as many: busy.
 */
static inline bool iser_sq_reserve(struct iser_conn *conn, unsigned int wrs,
				   unsigned int keep)
{
	/* Only completions add, and only holders of frwd_lock take away */
	if (atomic_read(&conn->sq_avail) < (int)(wrs + keep))
		return false;
	atomic_sub(wrs, &conn->sq_avail);
	return true;
}

/**
 * iser_sq_release - the adapter is done with send queue entries
 * @conn: connection
 * @wrs: number
 *
 * Context: any.
 */
static inline void iser_sq_release(struct iser_conn *conn, unsigned int wrs)
{
	atomic_add(wrs, &conn->sq_avail);
}

/**
 * iser_chain - append a work request to those waiting for the doorbell
 * @conn: connection
 * @wr: work request
 *
 * Context: frwd_lock held.
 */
static inline void iser_chain(struct iser_conn *conn, struct ib_send_wr *wr)
{
	wr->next = NULL;
	if (conn->chain)
		conn->chain_last->next = wr;
	else
		conn->chain = wr;
	conn->chain_last = wr;
}

/**
 * iser_mr_put - give an MR back
 * @conn: connection
 * @imr: not registered, or its key is dead
 *
 * Context: any.
 */
static inline void iser_mr_put(struct iser_conn *conn, struct iser_mr *imr)
{
	imr->task = NULL;
	llist_add(&imr->free, &conn->mr_free);
}

/* module.c */
extern struct workqueue_struct *iser_wq;
extern struct workqueue_struct *iser_bell_wq;
extern unsigned int iser_max_lun;
extern unsigned int iser_max_sectors;

/* transport.c */
int iser_transport_register(void);
void iser_transport_unregister(void);

/* endpoint.c */
struct iscsi_endpoint *iser_ep_connect(struct Scsi_Host *shost,
				       struct sockaddr *dst, int non_blocking);
int iser_ep_poll(struct iscsi_endpoint *ep, int timeout_ms);
struct iser_conn *iser_ep_conn_get(struct iscsi_endpoint *ep);
void iser_ep_disconnect(struct iscsi_endpoint *ep);
void iser_conn_put(struct iser_conn *conn);
bool iser_conn_fail(struct iser_conn *conn, int error);
bool iser_conn_blame(struct iser_conn *conn);
bool iser_conn_condemn(struct iser_conn *conn);
void iser_conn_hung_up(struct iser_conn *conn);
void iser_conn_flushed(struct iser_conn *conn);
void iser_conn_close(struct iser_conn *conn);
int iser_conn_bind(struct iser_conn *conn, struct iscsi_conn *iscsi);
void iser_conn_unlink(struct iscsi_conn *iscsi);
void iser_endpoints_destroy(void);

/* queue.c */
int iser_limits_derive(const struct ib_device *device,
		       struct iser_limits *lim);
int iser_verbs_create(struct iser_conn *conn);
void iser_qp_destroy(struct iser_conn *conn);
void iser_verbs_destroy(struct iser_conn *conn);
int iser_rings_create(struct iser_conn *conn, unsigned int tasks);
void iser_rings_destroy(struct iser_conn *conn);
int iser_dataout_create(struct iser_conn *conn);
int iser_post_login_rx(struct iser_conn *conn);
int iser_post_all_rx(struct iser_conn *conn);
void iser_rx_give_back(struct iser_conn *conn, struct iser_rx *rx);
void iser_login_over_work(struct work_struct *work);
void iser_login_bell_work(struct work_struct *work);
void iser_doorbell(struct iser_conn *conn);
void iser_wc_error(struct iser_conn *conn, const struct ib_wc *wc,
		   const char *what);

/* task.c */
int iser_alloc_pdu(struct iscsi_task *task, u8 opcode);
void iser_parse_pdu_itt(struct iscsi_conn *iscsi, itt_t itt, int *index,
			int *age);
int iser_init_task(struct iscsi_task *task);
int iser_xmit_task(struct iscsi_task *task);
void iser_cleanup_task(struct iscsi_task *task);
void iser_tasks_release_all(struct iser_conn *conn);
void iser_commit_rqs(struct Scsi_Host *shost, u16 hwq);
int iser_eh_abort(struct scsi_cmnd *sc);
int iser_eh_device_reset(struct scsi_cmnd *sc);
int iser_eh_target_reset(struct scsi_cmnd *sc);

/* response.c */
void iser_recv_done(struct ib_cq *cq, struct ib_wc *wc);

/* mr.c */
int iser_mr_grow(struct iser_conn *conn, unsigned int target);
void iser_mr_grow_work(struct work_struct *work);
void iser_mr_destroy_all(struct iser_conn *conn);
struct iser_mr *iser_mr_get(struct iser_conn *conn);
int iser_mr_map(struct iser_mr *imr, struct scatterlist *sg, int nents,
		unsigned int skip, enum dma_data_direction dir);
void iser_mr_invalidate(struct iser_conn *conn, struct iscsi_task *task);

/* stats.c */
void iser_get_stats(struct iscsi_cls_conn *cls_conn, struct iscsi_stats *stats);

#endif /* ISER_H */
