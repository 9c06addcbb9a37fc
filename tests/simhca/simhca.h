/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * simhca: a simulated RDMA adapter with an iSER target built in
 *
 * One struct sim_adapter is one adapter: a network interface of its own, a
 * DMA device of its own, and, while its power is on, one registered ib_device.
 * Consumers of the verbs never do the adapter's work: they put work requests
 * on rings and ring a doorbell.  One kernel thread for each adapter, the
 * engine, takes them from there: it executes them in order, checks every
 * access, plays the target at the other end of each connection, and puts the
 * completions on the completion queues.
 *
 * Who may touch what:
 *
 *   engine only    everything about connections, the target, the live part of
 *                  MRs, the engine's timers.  No locks.
 *   sq.lock        the producer's end of a send queue
 *   rq.lock        the producer's end of a receive queue
 *   cq->lock       a completion queue
 *   dma.lock       allocation of DMA mappings
 *   faults.lock    the list of fault rules
 *   notes.lock     what was noted about violations
 *   sim_qp_move()  the state of a queue pair
 *
 * Anybody else who needs something from the engine's side asks the engine to
 * do it (sim_engine_call()), which also is what makes teardown simple: when
 * the call returns the engine has forgotten the object.
 *
 * None of them is held while another is taken, but for sq.lock and rq.lock over
 * faults.lock and notes.lock.
 */
#ifndef SIMHCA_H
#define SIMHCA_H

#include <linux/completion.h>
#include <linux/irq_work.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <rdma/ib_verbs.h>
#include <rdma/iw_cm.h>
#include <scsi/iser.h>
#include <scsi/iscsi_proto.h>

#include "compat.h"

#define SIM_COUNTER(name) SIM_C_##name,
enum sim_counter {
#include "counter_list.h"
	SIM_NR_COUNTERS
};

#define SIM_GAUGE(name) SIM_G_##name,
enum sim_gauge {
#include "gauge_list.h"
	SIM_NR_GAUGES
};

#define SIM_KNOB(name, ...) SIM_K_##name,
enum sim_knob_name {
#include "knob_list.h"
	SIM_NR_KNOBS
};

struct sim_adapter;
struct sim_conn;
struct sim_qp;
struct sim_task;

/* ---- engine.c ---------------------------------------------------------- */

/**
 * struct sim_job - something that the engine is to do once
 * @node: on the engine's list
 * @queued: bit 0: is on the list
 * @fn: what to do; the engine calls it with bottom halves disabled
 */
struct sim_job {
	struct llist_node node;
	unsigned long queued;
	void (*fn)(struct sim_job *job);
};

/**
 * struct sim_timer - something that the engine is to do later (engine only)
 * @node: on the engine's list, or empty
 * @due: when, in nanoseconds of ktime_get()
 * @fn: what to do
 */
struct sim_timer {
	struct list_head node;
	u64 due;
	void (*fn)(struct sim_timer *timer);
};

struct sim_engine {
	struct task_struct *thread;
	struct llist_head jobs;
	struct list_head timers;
	u64 busy_ns;
	u64 burst_start;
	int prio;
};

int sim_engine_start(struct sim_adapter *ad);
void sim_engine_stop(struct sim_adapter *ad);
void sim_engine_kick(struct sim_adapter *ad, struct sim_job *job);
void sim_engine_call(struct sim_adapter *ad, void (*fn)(void *arg), void *arg);
void sim_engine_relax(struct sim_adapter *ad);
void sim_engine_set_prio(struct sim_adapter *ad);
void sim_timer_init(struct sim_timer *timer,
		    void (*fn)(struct sim_timer *timer));
void sim_timer_start(struct sim_adapter *ad, struct sim_timer *timer, u64 due);
void sim_timer_stop(struct sim_timer *timer);

static inline void sim_job_init(struct sim_job *job,
				void (*fn)(struct sim_job *job))
{
	job->queued = 0;
	job->fn = fn;
}

static inline bool sim_timer_pending(const struct sim_timer *timer)
{
	return !list_empty(&timer->node);
}

/* ---- faults.c ---------------------------------------------------------- */

#define SIM_POINT(name) SIM_AT_##name,
enum sim_point {
#include "point_list.h"
	SIM_NR_POINTS
};

#define SIM_VERB(name) SIM_DO_##name,
enum sim_verb {
#include "verb_list.h"
	SIM_NR_VERBS
};

#define SIM_ACT_BYTES 48

/**
 * struct sim_act - what a fault rule wants done
 * @verb: what
 * @err: errno of a failed call, or of a refused connect
 * @us: delay
 * @val: the verb's main argument
 * @val2: the verb's second argument
 * @off: offset into the PDU
 * @mode: variant of the verb
 * @len: number of bytes
 * @bytes: bytes to place, or text
 */
struct sim_act {
	enum sim_verb verb;
	int err;
	u32 us;
	u64 val;
	u32 val2;
	u32 off;
	u8 mode;
	u8 len;
	u8 bytes[SIM_ACT_BYTES];
};

/* variants of the verb "inv" */
enum {
	SIM_INV_NONE,		/* plain Send */
	SIM_INV_OTHER,		/* key of another live command */
	SIM_INV_FOREIGN,	/* key of another protection domain */
	SIM_INV_STALE,		/* a key that is dead already */
	SIM_INV_LIE,		/* completion claims @val; no MR is touched */
	SIM_INV_SILENT,		/* MR is invalidated; completion says nothing */
};

#define SIM_ANY_OP (-1)

struct sim_faults {
	spinlock_t lock;	/* the rules */
	struct list_head rules;
	u64 armed;		/* bit for each point that has a rule */
	u64 seed;		/* state of the verb "random" */
};

bool sim_fault_slow(struct sim_adapter *ad, u64 points, int op,
		    struct sim_act *act);
void sim_faults_init(struct sim_adapter *ad);
void sim_faults_clear(struct sim_adapter *ad);
int sim_faults_write(struct sim_adapter *ad, char *text);
struct seq_file;
void sim_faults_show(struct sim_adapter *ad, struct seq_file *m);

/* ---- fuzz.c ------------------------------------------------------------ */

struct sim_pdu;
u32 sim_random(struct sim_adapter *ad);
bool sim_fuzz_pdu(struct sim_adapter *ad, struct sim_pdu *pdu, u32 odds);
void sim_fuzz_act(struct sim_adapter *ad, u64 points, struct sim_act *act);

/* ---- dma.c ------------------------------------------------------------- */

struct sim_dma_map;

/* what needs a mapping */
enum sim_dma_user {
	SIM_DMA_KEY,		/* a valid MR */
	SIM_DMA_SEND,		/* an unfinished Send */
	SIM_DMA_RECV,		/* a posted receive */
	SIM_DMA_USERS
};

struct sim_dma {
	spinlock_t lock;	/* free list */
	struct sim_dma_map *maps;
	u32 free;
	u32 generation;
	struct pci_dev *pci;	/* whose IOMMU is used; there are no maps then */
};

int sim_dma_init(struct sim_adapter *ad);
void sim_dma_exit(struct sim_adapter *ad);
void *sim_dma_at(struct sim_adapter *ad, u64 addr, u32 *len, bool write);
bool sim_dma_hold(struct sim_adapter *ad, u64 addr, enum sim_dma_user user,
		  int delta);

/* ---- adapter.c, netdev.c ----------------------------------------------- */

/**
 * struct sim_ibdev - one registration of the adapter with the RDMA core
 * @ib: the core's part
 * @ad: the adapter
 * @quiet: no event any more; engine
 */
struct sim_ibdev {
	struct ib_device ib;
	struct sim_adapter *ad;
	bool quiet;
};

#define SIM_NOTES 128
#define SIM_NOTE_LEN 120

struct sim_notes {
	spinlock_t lock;	/* all of it */
	unsigned int count;
	unsigned int seen[SIM_NR_COUNTERS];
	struct {
		u64 when;
		char text[SIM_NOTE_LEN];
	} note[SIM_NOTES];
};

struct sim_target {
	struct list_head conns;
	struct xarray stores;
	u16 next_tsih;
	u8 *buf;		/* small data-in */
};

#define SIM_TARGET_BUF	SZ_8K
#define SIM_RX_MAX	(76 + 20 + SZ_256K)

struct sim_adapter {
	int index;
	char name[16];
	struct platform_device *pdev;
	struct device *dma_dev;
	struct net_device *netdev;
	struct dentry *debugfs;
	s64 knobs[SIM_NR_KNOBS];
	u64 __percpu *counters;
	atomic_t gauges[SIM_NR_GAUGES];
	struct sim_notes notes;
	struct sim_faults faults;
	bool provoking;		/* engine: what happens now is a fault's doing */
	struct sim_dma dma;
	struct sim_engine engine;
	struct sim_target target;
	u8 *rxbuf;		/* engine: a PDU gathered from a Send */
	u8 *againbuf;		/* engine: the same, read once more */
	struct xarray qps;
	struct xarray mrs;
	u32 next_qpn;
	u32 next_mr;
	struct mutex power_lock;	/* ibdev, registering and unregistering */
	struct sim_ibdev *ibdev;
	struct work_struct remove_work;
	struct workqueue_struct *wq;
};

int sim_adapter_create(int index, const char *knobs);
void sim_adapter_destroy(int index);
int sim_adapter_power(struct sim_adapter *ad, bool on);
struct sim_adapter *sim_adapter_get(int index);
u32 sim_subnet(int index);
const char *sim_dma_device(void);

int sim_netdev_create(struct sim_adapter *ad);
void sim_netdev_destroy(struct sim_adapter *ad);
void sim_netdev_link(struct sim_adapter *ad, bool up);

static inline struct sim_adapter *sim_ad(struct ib_device *ib)
{
	return container_of(ib, struct sim_ibdev, ib)->ad;
}

/* ---- knobs.c, counters.c ----------------------------------------------- */

void sim_knobs_init(struct sim_adapter *ad);
int sim_knobs_write(struct sim_adapter *ad, char *text);
void sim_knobs_show(struct sim_adapter *ad, struct seq_file *m);
bool sim_next_pair(char **text, char **key, char **value);

void sim_violation(struct sim_adapter *ad, enum sim_counter c,
		   const char *fmt, ...) __printf(3, 4);
void sim_counters_show(struct sim_adapter *ad, struct seq_file *m);
void sim_counters_reset(struct sim_adapter *ad);
void sim_notes_show(struct sim_adapter *ad, struct seq_file *m);

#define sim_count_n(ad, name, n) \
	this_cpu_add((ad)->counters[SIM_C_##name], (n))
#define sim_count(ad, name)	sim_count_n(ad, name, 1)
#define sim_gauge_inc(ad, name)	atomic_inc_return(&(ad)->gauges[SIM_G_##name])
#define sim_gauge_dec(ad, name)	atomic_dec(&(ad)->gauges[SIM_G_##name])
#define sim_gauge(ad, name)	atomic_read(&(ad)->gauges[SIM_G_##name])

/**
 * sim_knob - the present value of a knob
 * @ad: the adapter
 * @name: its name in knob_list.h
 */
#define sim_knob(ad, name)	READ_ONCE((ad)->knobs[SIM_K_##name])

/**
 * sim_fault - is there a fault to inject here?
 * @ad: the adapter
 * @points: bits of every point that this event is
 * @op: SCSI opcode, or SIM_ANY_OP
 * @act: receives what to do
 *
 * Any context.  Costs one load where no rule is armed.
 */
static inline bool sim_fault(struct sim_adapter *ad, u64 points, int op,
			     struct sim_act *act)
{
	if (likely(!(READ_ONCE(ad->faults.armed) & points)))
		return false;
	return sim_fault_slow(ad, points, op, act);
}

#define SIM_AT(name)	BIT_ULL(SIM_AT_##name)

/**
 * sim_verb_fault - shall this verbs call fail?
 * @ad: the adapter
 * @points: bit of the verb's point
 *
 * Return: 0, or the negative error number to return.
 */
static inline int sim_verb_fault(struct sim_adapter *ad, u64 points)
{
	struct sim_act act;

	if (sim_fault(ad, points, SIM_ANY_OP, &act) &&
	    act.verb == SIM_DO_fail)
		return -act.err;
	return 0;
}

/* ---- device.c, cq.c, qp.c, mr.c ---------------------------------------- */

#define SIM_LOCAL_DMA_LKEY	0x5ca1ab1eU
#define SIM_KEY_SHIFT		8

struct sim_pd {
	struct ib_pd ib;
};

/**
 * struct sim_cqe - a completion that waits to be polled
 * @wc: what the consumer gets
 * @qp: its queue pair
 * @pos: position in the send or receive queue
 * @recv: is of the receive queue
 */
struct sim_cqe {
	struct ib_wc wc;
	struct sim_qp *qp;
	u32 pos;
	bool recv;
};

struct sim_cq {
	struct ib_cq ib;
	struct sim_adapter *ad;
	spinlock_t lock;	/* ring and arming */
	struct sim_cqe *ring;
	u32 depth;		/* what the consumer asked for */
	u32 size;		/* what there is */
	u32 head;
	u32 tail;
	bool armed;
	bool solicited_only;
	bool overflowed;
	int cpu;
	unsigned long irq_busy;	/* bit 0: raised, handler not begun */
	atomic_t irqs;		/* raised, handler not ended */
	struct irq_work irq;
	call_single_data_t csd;
	struct sim_timer irq_timer;
};

struct sim_wqe {
	u64 wr_id;
	u8 opcode;		/* enum ib_wr_opcode */
	u8 num_sge;
	u8 status;		/* enum ib_wc_status */
	bool signaled;
	bool held;
	bool on_wire;		/* a Send whose buffers may be read again */
	bool resend;		/* and will be */
	bool login;		/* a Send with a login or text request */
	u32 key;
	u32 csum;
	u32 bytes;
	u32 mappings;		/* which SGEs hold one */
	int access;
	u32 staged;
	struct sim_mr *mr;
	u64 ack_at;
};

struct sim_queue {
	spinlock_t lock;	/* producer's end */
	struct sim_wqe *wqes;
	struct ib_sge *sges;
	u32 depth;
	u32 mask;		/* of a position: positions wrap with all bits */
	u32 max_sge;
	u32 head;		/* posted; producer, under lock */
	u32 taken;		/* of a receive queue: seen; engine */
	u32 exec;		/* executed; engine */
	u32 ack;		/* acknowledged; engine */
	u32 tail;		/* polled; whoever polls the CQ */
};

/* of a PDU: iSER header and basic header segment */
#define HDR_LEN	(sizeof(struct iser_ctrl) + sizeof(struct iscsi_hdr))

struct sim_pdu {
	struct list_head node;
	struct sim_timer timer;
	struct sim_conn *conn;
	struct sim_act act;	/* fault to apply when it leaves */
	bool invalidate;
	bool wrong;		/* a fault chose the key to invalidate */
	bool lie;
	bool silent;
	u32 inv_key;
	u32 len;
	u8 buf[];		/* iSER header, BHS, data */
};

enum sim_cm_state {
	SIM_CM_NONE,
	SIM_CM_CONNECTING,	/* the CM waits for our answer */
	SIM_CM_UP,
	SIM_CM_CLOSING,		/* gone; the CM is told later */
	SIM_CM_DONE,
};

struct sim_qp {
	struct ib_qp ib;
	struct sim_adapter *ad;
	struct sim_cq *send_cq;
	struct sim_cq *recv_cq;
	struct sim_queue sq;
	struct sim_queue rq;
	enum ib_qp_state state;
	int access;
	struct ib_qp_cap cap;
	enum ib_sig_type sig_type;
	struct sim_job job;
	struct sim_timer timer;
	struct sim_timer link_timer;
	struct sim_timer flush_timer;
	bool flushing;
	struct list_head inbound;	/* PDUs that wait for a receive */
	refcount_t refs;
	struct completion gone;
	/* connection; engine */
	enum sim_cm_state cm_state;
	struct iw_cm_id *cm_id;
	struct sim_timer cm_timer;
	struct sim_job cm_job;
	struct sim_conn *conn;
	u8 connect_flags;
	bool connect_flags_valid;
	int connect_err;
	enum sim_verb connect_act;
};

struct sim_mr {
	struct ib_mr ib;
	struct sim_adapter *ad;
	u32 index;
	bool dma_mr;
	bool gaps;
	u32 max;
	/* what ib_map_mr_sg() prepared */
	u32 staged;		/* counts the calls */
	u32 stage_n;
	u64 *stage_addr;
	u32 *stage_len;
	/* what REG_MR made valid; engine */
	bool valid;
	bool held;		/* its pages must stay mapped */
	bool stolen;		/* a fault made it invalid */
	u8 key;
	int access;
	u64 iova;
	u64 length;
	u32 page_shift;
	u32 n;
	u64 *addr;
	u32 *len;
};

static inline struct sim_cq *to_sim_cq(struct ib_cq *ib)
{
	return container_of(ib, struct sim_cq, ib);
}

static inline struct sim_qp *to_sim_qp(struct ib_qp *ib)
{
	return container_of(ib, struct sim_qp, ib);
}

static inline struct sim_mr *to_sim_mr(struct ib_mr *ib)
{
	return container_of(ib, struct sim_mr, ib);
}

struct sim_ibdev *sim_device_register(struct sim_adapter *ad);
void sim_device_unregister(struct sim_ibdev *dev);
void sim_device_event(struct sim_adapter *ad, enum ib_event_type type);

int sim_create_cq(struct ib_cq *ib, const struct ib_cq_init_attr *attr,
		  struct sim_cq_udata *udata);
int sim_destroy_cq(struct ib_cq *ib, struct ib_udata *udata);
int sim_poll_cq(struct ib_cq *ib, int n, struct ib_wc *wc);
int sim_req_notify_cq(struct ib_cq *ib, enum ib_cq_notify_flags flags);
void sim_cq_push(struct sim_cq *cq, struct sim_qp *qp, u32 pos, bool recv,
		 const struct ib_wc *wc);
void sim_cq_purge(struct sim_cq *cq, struct sim_qp *qp);
void sim_cq_event(struct sim_cq *cq, enum ib_event_type type);

int sim_create_qp(struct ib_qp *ib, struct ib_qp_init_attr *attr,
		  struct ib_udata *udata);
int sim_modify_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask,
		  struct ib_udata *udata);
int sim_query_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask,
		 struct ib_qp_init_attr *init);
int sim_destroy_qp(struct ib_qp *ib, struct ib_udata *udata);
int sim_post_send(struct ib_qp *ib, const struct ib_send_wr *wr,
		  const struct ib_send_wr **bad);
int sim_post_recv(struct ib_qp *ib, const struct ib_recv_wr *wr,
		  const struct ib_recv_wr **bad);
bool sim_qp_move(struct sim_qp *qp, enum ib_qp_state from, enum ib_qp_state to);
void sim_qp_get(struct sim_qp *qp);
void sim_qp_put(struct sim_qp *qp);
void sim_qp_event(struct sim_qp *qp, enum ib_event_type type);
void sim_qp_fail(struct sim_qp *qp);
void sim_qp_kick_all(struct sim_adapter *ad);

void sim_qp_run(struct sim_job *job);
void sim_qp_timer(struct sim_timer *timer);
void sim_qp_link_timer(struct sim_timer *timer);
void sim_qp_flush_timer(struct sim_timer *timer);
void sim_qp_forget(struct sim_qp *qp);
void sim_qp_deliver(struct sim_qp *qp, struct sim_pdu *pdu);
bool sim_qp_rdma(struct sim_qp *qp, u32 key, u64 va, void *buf, u32 len,
		 bool write);

struct ib_mr *sim_alloc_mr(struct ib_pd *pd, enum ib_mr_type type, u32 max_sg);
struct ib_mr *sim_alloc_mr_integrity(struct ib_pd *pd, u32 max_data_sg,
				     u32 max_meta_sg);
struct ib_mr *sim_get_dma_mr(struct ib_pd *pd, int access);
struct ib_mr *sim_reg_user_mr(struct ib_pd *pd, u64 start, u64 length,
			      u64 virt, int access, SIM_DMAH_ARG
			      struct ib_udata *udata);
int sim_dereg_mr(struct ib_mr *ib, struct ib_udata *udata);
int sim_map_mr_sg(struct ib_mr *ib, struct scatterlist *sg, int nents,
		  unsigned int *offset);
int sim_map_mr_sg_pi(struct ib_mr *ib, struct scatterlist *data, int data_nents,
		     unsigned int *data_offset, struct scatterlist *meta,
		     int meta_nents, unsigned int *meta_offset);
struct sim_mr *sim_mr_by_key(struct sim_adapter *ad, u32 key);
bool sim_mr_stolen(struct sim_adapter *ad, u32 key);
struct sim_mr *sim_mr_any_live(struct sim_adapter *ad, struct ib_pd *pd,
			       bool same_pd, u32 not_key);
void *sim_mr_at(struct sim_mr *mr, u64 va, u32 want, u32 *got, bool write);
enum ib_wc_status sim_mr_register(struct sim_qp *qp,
				  const struct sim_wqe *wqe);
bool sim_mr_invalidate(struct sim_qp *qp, u32 key);
void sim_mr_drop(struct sim_mr *mr);
void sim_mrs_release(struct sim_adapter *ad, struct ib_pd *pd);

/* ---- cm.c -------------------------------------------------------------- */

int sim_iw_connect(struct iw_cm_id *cm_id, struct iw_cm_conn_param *param);
int sim_iw_accept(struct iw_cm_id *cm_id, struct iw_cm_conn_param *param);
int sim_iw_reject(struct iw_cm_id *cm_id, const void *pdata, u8 len);
int sim_iw_create_listen(struct iw_cm_id *cm_id, int backlog);
int sim_iw_destroy_listen(struct iw_cm_id *cm_id);
void sim_iw_add_ref(struct ib_qp *qp);
void sim_iw_rem_ref(struct ib_qp *qp);
struct ib_qp *sim_iw_get_qp(struct ib_device *ib, int qpn);
void sim_cm_init_qp(struct sim_qp *qp);
void sim_cm_lost(struct sim_qp *qp, bool at_once);

/* ---- target.c, login.c, task.c, scsi.c, store.c ------------------------ */

enum sim_conn_phase {
	SIM_CONN_LOGIN,
	SIM_CONN_FULL,
	SIM_CONN_LOGOUT,
};

/*
 * Linux has the index of a task in the low bits of its tag, in the byte order
 * of the machine.  Whoever has more tasks than slots is watched less closely.
 */
#define SIM_ITT_INDEX	0x1fff
#define SIM_ITT_SLOTS	1024

/**
 * struct sim_conn - the target's side of one connection (engine only)
 * @node: on the target's list
 * @qp: the initiator's queue pair
 * @ad: the adapter
 * @phase: how far the login got
 * @greeted: the first login request was answered
 * @discovery: discovery session
 * @invalidate: both sides allow Send with Invalidate
 * @isid: initiator's part of the session identifier
 * @tsih: our part of it
 * @cid: connection identifier
 * @initiator: its name
 * @target: number of the target, or -1
 * @statsn: next StatSN
 * @exp_cmdsn: next CmdSN expected
 * @max_cmdsn: last CmdSN allowed
 * @outstanding: commands that occupy the window
 * @imm_data: immediate data may be sent
 * @initial_r2t: unsolicited data may not be sent
 * @first_burst: bound of immediate and unsolicited data
 * @max_burst: bound of a solicited burst
 * @max_r2t: solicited bursts in flight
 * @recv_dsl: longest data segment that the target takes
 * @window: size of the command window
 * @ping: target transfer tag of the last NOP-In
 * @last_itt: tag of the last command answered
 * @dead_key: a key that was invalidated
 * @text: answer to a text request that did not fit
 * @text_len: its length
 * @text_pos: how much of it was sent
 * @tasks: commands in progress
 * @delayed: PDUs that wait for their time
 * @old_keys: the keys that each task tag advertised last
 */
struct sim_conn {
	struct list_head node;
	struct sim_qp *qp;
	struct sim_adapter *ad;
	enum sim_conn_phase phase;
	bool greeted;
	bool discovery;
	bool invalidate;
	u8 isid[6];
	u16 tsih;
	u16 cid;
	char initiator[ISCSI_NAME_LEN];
	int target;
	u32 statsn;
	u32 exp_cmdsn;
	u32 max_cmdsn;
	u32 outstanding;
	u32 imm_data;
	u32 initial_r2t;
	u32 first_burst;
	u32 max_burst;
	u32 max_r2t;
	u32 recv_dsl;
	u32 window;
	u32 ping;
	u32 last_itt;
	u32 dead_key;
	char *text;
	u32 text_len;
	u32 text_pos;
	struct list_head tasks;
	struct list_head dropped;	/* their data are on the way */
	struct list_head delayed;
	struct {
		u32 index;
		u32 key[2];
	} old_keys[SIM_ITT_SLOTS];
};

enum sim_xfer {
	SIM_XFER_NONE,
	SIM_XFER_BUF_IN,	/* small answer in the target's buffer */
	SIM_XFER_MEDIA_IN,	/* from the store */
	SIM_XFER_MEDIA_OUT,	/* to the store */
	SIM_XFER_PARAM_OUT,	/* parameter list, acted upon when complete */
};

/* Linux has no longer ones. */
#define SIM_CDB_MAX	32

/**
 * struct sim_task - one SCSI command at the target (engine only)
 * @node: on the connection's list
 * @timer: for a command or answer that is delayed
 * @conn: the connection
 * @points: fault points of its response
 * @itt: initiator task tag
 * @immediate: does not occupy the window
 * @lun: logical unit
 * @cdb: the command
 * @flags: byte 1 of the request
 * @edtl: expected data transfer length
 * @read_key: STag of the read buffer, 0 if none
 * @read_va: its address
 * @write_key: STag of the write buffer, 0 if none
 * @write_va: address of the first solicited byte
 * @unsolicited: bytes that came unasked
 * @datasn: next DataSN of unsolicited data
 * @await_data: more unsolicited data are to come
 * @xfer: kind of data phase
 * @pos: byte position on the medium
 * @len: bytes that the command moves by its CDB
 * @moved: bytes moved between initiator and target
 * @param: parameter list
 * @param_len: room in it
 * @status: SCSI status
 * @sense: key, ASC, ASCQ, in that order from the top
 * @response: iSCSI response
 * @answered: the response is out; only the fault is left to be done
 * @act: fault to apply to this command
 * @store: the medium
 */
struct sim_task {
	struct list_head node;
	struct sim_timer timer;
	struct sim_conn *conn;
	u64 points;
	u32 itt;
	bool immediate;
	u32 lun;
	u8 cdb[SIM_CDB_MAX];
	u8 flags;
	u32 edtl;
	u32 read_key;
	u64 read_va;
	u32 write_key;
	u64 write_va;
	u32 unsolicited;
	u32 datasn;
	bool await_data;
	enum sim_xfer xfer;
	u64 pos;
	u64 len;
	u32 moved;
	u8 *param;
	u32 param_len;
	u8 status;
	u32 sense;
	u8 response;
	bool answered;
	struct sim_act act;
	struct sim_store *store;
};

struct sim_store {
	struct xarray pages;
};

#define SIM_SENSE(key, asc, ascq) (((key) << 16) | ((asc) << 8) | (ascq))

int sim_target_init(struct sim_adapter *ad);
void sim_target_exit(struct sim_adapter *ad);
struct sim_conn *sim_conn_open(struct sim_qp *qp);
void sim_conn_free(struct sim_conn *conn);
void sim_conn_close(struct sim_conn *conn, bool orderly);
void sim_target_rx(struct sim_conn *conn, u8 *buf, u32 len);
struct sim_pdu *sim_pdu_start(struct sim_conn *conn, u8 opcode, u32 data_room);
void sim_pdu_data(struct sim_pdu *pdu, const void *data, u32 len);
void sim_pdu_send(struct sim_conn *conn, struct sim_pdu *pdu, u64 points,
		  int op);
bool sim_cmdsn(struct sim_conn *conn, const struct iscsi_hdr *hdr);
void sim_conn_missed(struct sim_conn *conn, const u8 *buf, u32 len);
void sim_conn_violation(struct sim_conn *conn, enum sim_counter c,
			const char *fmt, ...) __printf(3, 4);
#define sim_proto(conn, ...) \
	sim_conn_violation(conn, SIM_C_v_proto, __VA_ARGS__)
#define sim_terms(conn, ...) \
	sim_conn_violation(conn, SIM_C_v_terms, __VA_ARGS__)

void sim_pdu_drop(struct sim_pdu *pdu);
void sim_send_reject(struct sim_conn *conn, const void *bhs, u8 reason);
bool sim_conn_act(struct sim_conn *conn, const struct sim_act *act);
void sim_target_now(struct sim_adapter *ad, const struct sim_act *act);
void sim_target_name(struct sim_adapter *ad, int target, char *buf, size_t n);

static inline struct iscsi_hdr *sim_pdu_bhs(struct sim_pdu *pdu)
{
	return (struct iscsi_hdr *)(pdu->buf + sizeof(struct iser_ctrl));
}

/* Length of additional headers, which a PDU says in words. */
static inline u32 sim_ahs_len(const struct iscsi_hdr *hdr)
{
	return 4 * hdr->hlength;
}

void sim_login_rx(struct sim_conn *conn, u8 *buf, u32 len);
void sim_text_rx(struct sim_conn *conn, u8 *buf, u32 len);

void sim_task_rx(struct sim_conn *conn, u8 *buf, u32 len);
void sim_dataout_rx(struct sim_conn *conn, u8 *buf, u32 len);
void sim_task_free(struct sim_task *task);
struct sim_task *sim_task_find(struct sim_conn *conn, u32 itt);
void sim_task_fail(struct sim_task *task, u8 status, u32 sense);

void sim_scsi_decode(struct sim_task *task);
void sim_scsi_params(struct sim_task *task);

struct sim_store *sim_store_get(struct sim_adapter *ad, int target, u32 lun);
void sim_stores_free(struct sim_adapter *ad);
u64 sim_store_size(struct sim_adapter *ad);
void *sim_store_page(struct sim_adapter *ad, struct sim_store *store, u64 pos,
		     bool alloc);
bool sim_store_write(struct sim_adapter *ad, struct sim_store *store, u64 pos,
		     const void *data, u32 len);
void sim_store_unmap(struct sim_store *store, u64 pos, u64 len);

bool sim_shared(void);

#endif /* SIMHCA_H */
