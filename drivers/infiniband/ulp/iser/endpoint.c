// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of one RDMA connection: CM events, states, error funnel, teardown.
 *
 * Normal operation: ep_connect() resolves the address and the route, makes the
 * verbs resources when the device is known, and connects; ep_poll() waits for
 * it. bind lends the connection to an iSCSI connection. ep_disconnect() takes
 * it down.
 *
 * Recovery: there is one way down, whatever the reason: a CM event, a fatal
 * event of the queue pair, a work request in error, a protocol error, iscsid's
 * wish, removal of the device. iser_conn_fail() moves the connection to
 * CLOSING, once, and queues the teardown, which
 *
 *	1. after a logout, gives the target time to hang up; disconnects, unless
 *	   the link seems lost, and drains the queue pair: twice, as a completion
 *	   handler that ran into the first time may have posted behind its marker;
 *	2. tells libiscsi, which tells iscsid, after all that the target has said;
 *	   but not of what was to be (iser_is_over());
 *	3. takes the memory of all commands back, then frees everything;
 *	4. lets go those who wait for it; only then the CM id is destroyed, so
 *	   that nobody waits for the CM's timeouts.
 *
 * It never waits for user space, so that a device can be removed when iscsid
 * is dead. The commands are answered by libiscsi when it stops the connection.
 */
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <net/ipv6.h>
#include <rdma/ib_cm.h>
#include <scsi/scsi_host.h>
#include "iser.h"
#include "trace.h"

#define ISER_ADDR_TIMEOUT_MS	2000
#define ISER_ROUTE_TIMEOUT_MS	2000
/* What every target expects to see; 7 for RNR would mean forever */
#define ISER_RETRY_COUNT	7
#define ISER_RNR_RETRY_COUNT	6
/* How soon the CM tells of a target that has disconnected */
#define ISER_HUNG_UP_TIMEOUT	HZ
/* How long a target may take to disconnect after a logout */
#define ISER_GOODBYE_TIMEOUT	(HZ / 2)

/* All connections, for those that iscsid left behind when the module goes */
static LIST_HEAD(iser_conns);
static DEFINE_MUTEX(iser_conns_mutex);

static void iser_conn_release(struct kref *ref)
{
	kfree(container_of(ref, struct iser_conn, ref));
}

/**
 * iser_conn_put - drop a reference
 * @conn: connection
 *
 * Context: any.
 */
void iser_conn_put(struct iser_conn *conn)
{
	kref_put(&conn->ref, iser_conn_release);
}

static bool iser_state_allowed(enum iser_state from, enum iser_state to)
{
	switch (to) {
	case ISER_CONNECTING:
		return from == ISER_RESOLVING;
	case ISER_UP:
		return from == ISER_CONNECTING;
	case ISER_CLOSING:
		return from < ISER_CLOSING;
	case ISER_CLOSED:
		return from == ISER_CLOSING;
	default:
		return false;
	}
}

/* The one place where the state changes. Context: any; state_lock held. */
static bool iser_conn_change_state(struct iser_conn *conn, enum iser_state to,
				   int error)
{
	enum iser_state from = conn->state;

	if (!iser_state_allowed(from, to))
		return false;
	if (error)
		WRITE_ONCE(conn->error, error);
	/* Who sees the state sees why */
	smp_store_release(&conn->state, to);
	trace_iser_state(conn, from, to, error);
	return true;
}

/* Go on to another state, unless it is not the next one. Context: any. */
static bool iser_conn_set_state(struct iser_conn *conn, enum iser_state to,
				int error)
{
	unsigned long flags;
	bool changed;

	spin_lock_irqsave(&conn->state_lock, flags);
	changed = iser_conn_change_state(conn, to, error);
	spin_unlock_irqrestore(&conn->state_lock, flags);
	return changed;
}

/**
 * iser_conn_fail - the error funnel: take the connection down
 * @conn: connection
 * @error: negative errno that tells why, 0 if somebody wants it so
 *
 * Context: any.
 * Return: true for the first one, who should say what was wrong.
 */
bool iser_conn_fail(struct iser_conn *conn, int error)
{
	unsigned long flags;
	bool first;

	spin_lock_irqsave(&conn->state_lock, flags);
	first = iser_conn_change_state(conn, ISER_CLOSING, error);
	if (first) {
		/* Who comes second may drop all other references at once */
		kref_get(&conn->ref);
		queue_work(iser_wq, &conn->teardown);
	}
	spin_unlock_irqrestore(&conn->state_lock, flags);
	return first;
}

/**
 * iser_conn_blame - take the connection down for an error of the adapter's
 * @conn: connection
 *
 * An adapter may let the CM know that the connection is over before it tells
 * anybody why.
 *
 * Context: any.
 * Return: true if the error is the reason, and should be said.
 */
bool iser_conn_blame(struct iser_conn *conn)
{
	return iser_conn_fail(conn, -EIO) ||
	       (iser_conn_listens(conn) && !READ_ONCE(conn->logout));
}

/**
 * iser_conn_condemn - take the connection down for what the target sent
 * @conn: connection
 *
 * A target may hang up behind that, and the CM be the first to know. This is
 * the reason all the same, and nothing behind it is heard.
 *
 * Context: softirq; one at a time for a connection.
 * Return: true if it is the reason, and should be said.
 */
bool iser_conn_condemn(struct iser_conn *conn)
{
	if (iser_conn_fail(conn, -EPROTO))
		return true;
	if (!iser_conn_listens(conn))
		return false;
	WRITE_ONCE(conn->error, -EPROTO);
	return true;
}

/**
 * iser_conn_close - take the connection down and wait until it is
 * @conn: connection
 *
 * When this returns nothing can touch a command's memory any more.
 * Context: may sleep.
 */
void iser_conn_close(struct iser_conn *conn)
{
	iser_conn_fail(conn, 0);
	wait_for_completion(&conn->torn_down);
}

/* Stop those who post. Context: may sleep; conn->mutex held, CLOSING. */
static void iser_quiesce(struct iser_conn *conn)
{
	struct iscsi_conn *iscsi = conn->iscsi;

	if (!iscsi)
		return;
	/* Who held the lock has posted; who takes it sees the state */
	spin_lock_bh(&iscsi->session->frwd_lock);
	iser_doorbell(conn);
	spin_unlock_bh(&iscsi->session->frwd_lock);
	cancel_delayed_work_sync(&conn->login_bell);
}

/*
 * What comes after the answer to a logout is no error, if iscsid wanted that:
 * it takes the disks away first. If it was the target, there are disks, and
 * iscsid may be gone before it gets them another connection.
 */
static bool iser_is_over(const struct iser_conn *conn)
{
	const struct iscsi_session *session = conn->iscsi->session;

	return READ_ONCE(conn->logged_out) &&
	       (conn->discovery ||
		READ_ONCE(session->cls_session->target_id) == ISCSI_MAX_TARGET);
}

/*
 * A target that refuses a login says why and hangs up. iscsid reads on when it
 * is told that the other side has closed, as it is used to from TCP, and takes
 * any other error during login for a reason to try again: which is right when
 * a login request got no answer.
 */
static void iser_report(struct iser_conn *conn)
{
	struct iscsi_conn *iscsi = conn->iscsi;
	bool answered = !conn->started && conn->login_sge.length &&
			iscsi->login_task->state != ISCSI_TASK_RUNNING;

	if (conn->error && !iser_is_over(conn))
		iscsi_conn_failure(iscsi,
				   conn->error == -ECONNRESET && answered ?
				   ISCSI_ERR_TCP_CONN_CLOSE :
				   ISCSI_ERR_CONN_FAILED);
	/*
	 * Nobody answers a task management function any more. Whoever waited on
	 * for that would then blame the next connection for it.
	 */
	wake_up(&iscsi->session->ehwait);
}

/*
 * A queue pair that fails by itself, while the target has not disconnected, is
 * one whose link has just gone. Soft-RoCE's management queue pair would die of
 * what is sent in that moment, and with it every connection to come: so the
 * disconnect waits, unless the CM says that it was the target after all.
 */
static bool iser_conn_is_lost(struct iser_conn *conn)
{
	return READ_ONCE(conn->lost) && !completion_done(&conn->hung_up) &&
	       !rdma_protocol_iwarp(conn->device, conn->cm_id->port_num);
}

/* Context: may sleep; conn->mutex held, CLOSING. */
static void iser_drain(struct iser_conn *conn, bool lost)
{
	if (!conn->qp || !conn->iscsi)
		return;
	if (!lost)
		rdma_disconnect(conn->cm_id);
	ib_drain_qp(conn->qp);
	ib_drain_qp(conn->qp);
	iser_report(conn);
	/*
	 * Gone before the memory is let go, so that a sick device that does not
	 * drain can't write to it
	 */
	iser_qp_destroy(conn);
	iser_tasks_release_all(conn);
}

/*
 * After a logout both sides disconnect, and it is better to be the second: LIO
 * loses a command if the end of the connection overtakes the completion of its
 * logout response, and waits for that command for long. Context: may sleep.
 */
static void iser_wait_for_goodbye(struct iser_conn *conn)
{
	if (READ_ONCE(conn->logout) && !READ_ONCE(conn->error))
		wait_for_completion_timeout(&conn->hung_up,
					    ISER_GOODBYE_TIMEOUT);
}

/*
 * Context: iser_wq. See the top of the file. Adapters allocate to destroy, too:
 * memory reclaim must not wait for a disk of the session that waits for us.
 */
static void iser_teardown(struct work_struct *work)
{
	struct iser_conn *conn = container_of(work, struct iser_conn, teardown);
	unsigned int noio = memalloc_noio_save();
	struct rdma_cm_id *cm_id;
	bool lost;

	iser_wait_for_goodbye(conn);
	mutex_lock(&conn->mutex);
	iser_quiesce(conn);
	lost = iser_conn_is_lost(conn);
	iser_drain(conn, lost);
	cancel_delayed_work_sync(&conn->mr_grow);
	cancel_work_sync(&conn->login_over);
	iser_rings_destroy(conn);
	iser_mr_destroy_all(conn);
	iser_verbs_destroy(conn);
	cm_id = conn->cm_id;
	conn->cm_id = NULL;
	mutex_unlock(&conn->mutex);

	iser_conn_set_state(conn, ISER_CLOSED, 0);
	complete_all(&conn->settled);
	complete_all(&conn->torn_down);
	memalloc_noio_restore(noio);

	if (lost)
		wait_for_completion_timeout(&conn->hung_up,
					    ISER_HUNG_UP_TIMEOUT);
	/* Waits for the CM's handlers, which may wait for the mutex */
	rdma_destroy_id(cm_id);
	iser_conn_put(conn);
}

/* Context: CM handler, conn->mutex held */
static void iser_addr_resolved(struct iser_conn *conn)
{
	int err;

	err = iser_verbs_create(conn);
	if (err) {
		iser_conn_fail(conn, err);
		return;
	}
	err = rdma_resolve_route(conn->cm_id, ISER_ROUTE_TIMEOUT_MS);
	if (err && iser_conn_fail(conn, err))
		iser_err(conn, "can't resolve a route: error %d\n", err);
}

/* Context: CM handler, conn->mutex held. Annex A12: the private data. */
static void iser_route_resolved(struct iser_conn *conn)
{
	struct iser_cm_hdr hdr = { .flags = ISER_ZBVA_NOT_SUP };
	struct rdma_conn_param param = {
		.private_data		= &hdr,
		.private_data_len	= sizeof(hdr),
		.responder_resources	= min_t(int, U8_MAX,
					    conn->device->attrs.max_qp_rd_atom),
		.initiator_depth	= 1,
		.retry_count		= ISER_RETRY_COUNT,
		.rnr_retry_count	= ISER_RNR_RETRY_COUNT,
	};
	int err;

	if (!iser_conn_set_state(conn, ISER_CONNECTING, 0))
		return;
	err = rdma_connect_locked(conn->cm_id, &param);
	if (err && iser_conn_fail(conn, err))
		iser_err(conn, "can't connect: error %d\n", err);
}

static void iser_rejected(struct iser_conn *conn, struct rdma_cm_id *cm_id,
			  int status)
{
	const char *reason = rdma_reject_msg(cm_id, status);
	bool iwarp = rdma_protocol_iwarp(cm_id->device, cm_id->port_num);
	bool no_listener = iwarp ? status == -ECONNREFUSED :
				   status == IB_CM_REJ_INVALID_SERVICE_ID;

	/* One that was up on our side only is flushed before it is rejected */
	if (!iser_conn_fail(conn, -ECONNREFUSED) &&
	    READ_ONCE(conn->error) != -EPIPE)
		return;
	if (no_listener)
		iser_err(conn, "connection refused: nothing listens for iSER there (is the portal up, and not TCP only?)\n");
	else
		iser_err(conn, "connection refused by the target: %s (%d)\n",
			 reason, status);
}

static void iser_unreachable(struct iser_conn *conn, const char *what,
			     int status)
{
	if (iser_conn_fail(conn, status < 0 ? status : -EHOSTUNREACH))
		iser_err(conn, "%s (status %d)\n", what, status);
}

/**
 * iser_conn_hung_up - the target has closed the connection
 * @conn: connection
 *
 * Context: any. No news after a logout.
 */
void iser_conn_hung_up(struct iser_conn *conn)
{
	if (!iser_conn_fail(conn, -ECONNRESET) || READ_ONCE(conn->logout))
		return;
	if (READ_ONCE(conn->started))
		iser_err(conn, "the target closed the connection\n");
	else
		iser_err(conn, "the target closed the connection during login (wrong name or password? its log tells)\n");
}

/**
 * iser_conn_flushed - the queue pair has failed, and does not say why
 * @conn: connection
 *
 * Adapters of iWARP flush when the target closes, and the CM says so later. On
 * InfiniBand and RoCE it says so first: this is an adapter that gave up, or that
 * did not accept what the target did to it. An event of the queue pair or a
 * rejection that comes behind is the reason, and said too.
 *
 * Context: completion handler. No news if the connection is going down.
 */
void iser_conn_flushed(struct iser_conn *conn)
{
	if (rdma_protocol_iwarp(conn->device, conn->cm_id->port_num))
		iser_conn_hung_up(conn);
	else if (iser_conn_fail(conn, -EPIPE) && !READ_ONCE(conn->logout))
		iser_err(conn, "%s has given the connection up and does not say why, connection dropped\n",
			 dev_name(&conn->device->dev));
}

/*
 * On the way up: the address, then the route, once each, whatever the CM says.
 * Context: CM handler. Memory reclaim must not wait for a disk of the very
 * session that is being recovered.
 */
static void iser_cm_progress(struct iser_conn *conn,
			     enum rdma_cm_event_type event)
{
	unsigned int noio = memalloc_noio_save();

	mutex_lock(&conn->mutex);
	if (event == RDMA_CM_EVENT_ADDR_RESOLVED) {
		if (conn->state == ISER_RESOLVING && !conn->qp)
			iser_addr_resolved(conn);
	} else if (conn->qp) {
		iser_route_resolved(conn);
	}
	mutex_unlock(&conn->mutex);
	memalloc_noio_restore(noio);
}

/*
 * Context: may sleep; one at a time for a CM id. Never returns non-zero, which
 * would destroy the id behind the teardown's back.
 */
static int iser_cm_handler(struct rdma_cm_id *cm_id,
			   struct rdma_cm_event *event)
{
	struct iser_conn *conn = cm_id->context;
	int status = event->status;

	trace_iser_cm_event(conn, event->event, status);
	switch (event->event) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		iser_cm_progress(conn, event->event);
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		/* Without the mutex: the iWARP CM has one thread for all */
		if (iser_conn_set_state(conn, ISER_UP, 0))
			complete_all(&conn->settled);
		break;
	case RDMA_CM_EVENT_ADDR_ERROR:
		iser_unreachable(conn, status == -ETIMEDOUT ?
				 "nobody answers for this address" :
				 "no RDMA device reaches this address", status);
		break;
	case RDMA_CM_EVENT_ROUTE_ERROR:
		iser_unreachable(conn, "no route to this address", status);
		break;
	case RDMA_CM_EVENT_CONNECT_ERROR:
		iser_unreachable(conn, "the connection can't be set up",
				 status);
		break;
	case RDMA_CM_EVENT_UNREACHABLE:
		/* When it is up: the next hop has another hardware address, or none */
		iser_unreachable(conn, iser_conn_is_up(conn) ?
				 "the next hop has changed or is gone, connection dropped" :
				 "the target does not answer", status);
		break;
	case RDMA_CM_EVENT_REJECTED:
		iser_rejected(conn, cm_id, status);
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
		complete_all(&conn->hung_up);
		iser_conn_hung_up(conn);
		break;
	case RDMA_CM_EVENT_ADDR_CHANGE:
		if (iser_conn_fail(conn, -ENETRESET))
			iser_err(conn, "our address has moved to another port, connection dropped\n");
		break;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		if (iser_conn_fail(conn, -ENODEV))
			iser_err(conn, "%s is being removed, connection dropped\n",
				 dev_name(&cm_id->device->dev));
		break;
	default:
		break;
	}
	return 0;
}

static struct iser_conn *iser_conn_alloc(const struct sockaddr *dst)
{
	struct iser_conn *conn;

	conn = kzalloc(sizeof(*conn), GFP_KERNEL);
	if (!conn)
		return NULL;
	kref_init(&conn->ref);
	spin_lock_init(&conn->state_lock);
	mutex_init(&conn->mutex);
	init_completion(&conn->settled);
	init_completion(&conn->torn_down);
	init_completion(&conn->hung_up);
	INIT_WORK(&conn->teardown, iser_teardown);
	INIT_LIST_HEAD(&conn->all);
	spin_lock_init(&conn->dataout_lock);
	INIT_LIST_HEAD(&conn->dataout_free);
	INIT_LIST_HEAD(&conn->mr_all);
	INIT_DELAYED_WORK(&conn->mr_grow, iser_mr_grow_work);
	INIT_WORK(&conn->login_over, iser_login_over_work);
	INIT_DELAYED_WORK(&conn->login_bell, iser_login_bell_work);
	ratelimit_state_init(&conn->unasked, HZ, ISER_UNASKED_MAX);
	/* It says so in its own words */
	ratelimit_set_flags(&conn->unasked, RATELIMIT_MSG_ON_RELEASE);
	init_waitqueue_head(&conn->released);
	memcpy(&conn->remote, dst, dst->sa_family == AF_INET6 ?
	       sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
	return conn;
}

static int iser_addr_check(const struct sockaddr *dst)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)dst;

	switch (dst->sa_family) {
	case AF_INET:
		return 0;
	case AF_INET6:
		if (ipv6_addr_type(&in6->sin6_addr) & IPV6_ADDR_LINKLOCAL &&
		    !in6->sin6_scope_id) {
			pr_err_ratelimited("iser: %pISpc: a link-local address needs an interface (address%%interface)\n",
					   dst);
			return -EINVAL;
		}
		return 0;
	default:
		pr_err_ratelimited("iser: address family %u is neither IPv4 nor IPv6\n",
				   dst->sa_family);
		return -EAFNOSUPPORT;
	}
}

/* The way to UP begins. On error the connection has been freed. */
static int iser_conn_resolve(struct iser_conn *conn)
{
	int err;

	conn->cm_id = rdma_create_id(&init_net, iser_cm_handler, conn,
				     RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(conn->cm_id)) {
		err = PTR_ERR(conn->cm_id);
		iser_err(conn, "can't make a CM id: error %d\n", err);
		iser_conn_put(conn);
		return err;
	}
	err = rdma_resolve_addr(conn->cm_id, NULL,
				(struct sockaddr *)&conn->remote,
				ISER_ADDR_TIMEOUT_MS);
	if (!err)
		return 0;
	iser_err(conn, "no RDMA device reaches this address: error %d\n", err);
	iser_conn_close(conn);
	iser_conn_put(conn);
	return err;
}

/* From now on iscsid's calls find the connection. Context: may sleep. */
static void iser_conn_publish(struct iser_conn *conn)
{
	mutex_lock(&iser_conns_mutex);
	conn->ep->dd_data = conn;
	list_add(&conn->all, &iser_conns);
	mutex_unlock(&iser_conns_mutex);
}

/* An endpoint on its way to UP, or an ERR_PTR() */
static struct iscsi_endpoint *iser_endpoint_create(const struct sockaddr *dst)
{
	struct iscsi_endpoint *ep;
	struct iser_conn *conn;
	int err;

	conn = iser_conn_alloc(dst);
	if (!conn)
		return ERR_PTR(-ENOMEM);
	ep = iscsi_create_endpoint(0);
	if (!ep) {
		iser_conn_put(conn);
		return ERR_PTR(-ENOMEM);
	}
	conn->ep = ep;

	err = iser_conn_resolve(conn);
	if (err) {
		iscsi_destroy_endpoint(ep);
		return ERR_PTR(err);
	}
	iser_conn_publish(conn);
	return ep;
}

/**
 * iser_ep_connect - begin to connect
 * @shost: host to connect through; not used, routing chooses the device
 * @dst: target's portal
 * @non_blocking: return at once; iser_ep_poll() tells how it went
 *
 * Context: may sleep. Allocates without I/O, which may wait for this.
 * Return: the endpoint, or an ERR_PTR().
 */
struct iscsi_endpoint *iser_ep_connect(struct Scsi_Host *shost,
				       struct sockaddr *dst, int non_blocking)
{
	struct iscsi_endpoint *ep;
	unsigned int noio;
	int err;

	err = iser_addr_check(dst);
	if (err)
		return ERR_PTR(err);
	noio = memalloc_noio_save();
	ep = iser_endpoint_create(dst);
	memalloc_noio_restore(noio);
	if (IS_ERR(ep) || non_blocking)
		return ep;

	err = iser_ep_poll(ep, -1);
	if (err < 0) {
		iser_ep_disconnect(ep);
		return ERR_PTR(err);
	}
	return ep;
}

/**
 * iser_ep_conn_get - what is behind an endpoint
 * @ep: endpoint, as iscsid names it
 *
 * The iSCSI class disconnects by itself when nobody answers to an error, and
 * keeps the endpoint's name: there is no connection behind it then.
 *
 * Context: may sleep.
 * Return: the connection with a reference, or NULL.
 */
struct iser_conn *iser_ep_conn_get(struct iscsi_endpoint *ep)
{
	struct iser_conn *conn;

	mutex_lock(&iser_conns_mutex);
	conn = ep->dd_data;
	if (conn)
		kref_get(&conn->ref);
	mutex_unlock(&iser_conns_mutex);
	return conn;
}

static int iser_conn_poll(struct iser_conn *conn, int timeout_ms)
{
	long left = timeout_ms < 0 ? MAX_SCHEDULE_TIMEOUT :
				     msecs_to_jiffies(timeout_ms);

	if (wait_for_completion_interruptible_timeout(&conn->settled, left) < 0)
		return -EINTR;
	switch (READ_ONCE(conn->state)) {
	case ISER_UP:
		return 1;
	case ISER_CLOSING:
	case ISER_CLOSED:
		return READ_ONCE(conn->error) ?: -ENOTCONN;
	default:
		return 0;
	}
}

/**
 * iser_ep_poll - is the connection up?
 * @ep: endpoint
 * @timeout_ms: how long to wait for it; negative: until it is settled
 *
 * Context: may sleep.
 * Return: 1 if it is up, 0 if that is not settled yet, or a negative errno.
 */
int iser_ep_poll(struct iscsi_endpoint *ep, int timeout_ms)
{
	struct iser_conn *conn = iser_ep_conn_get(ep);
	int rc;

	if (!conn)
		return -ENOTCONN;
	rc = iser_conn_poll(conn, timeout_ms);
	iser_conn_put(conn);
	return rc;
}

/*
 * Wait only for a connection that has memory of commands: another may be stuck
 * in connecting to a dead target, and iscsid has other sessions to care for.
 */
static void iser_endpoint_destroy(struct iser_conn *conn)
{
	if (conn->iscsi) {
		iser_conn_close(conn);
		iser_conn_unlink(conn->iscsi);
	} else {
		iser_conn_fail(conn, 0);
	}
	iscsi_destroy_endpoint(conn->ep);
	iser_conn_put(conn);
}

/**
 * iser_ep_disconnect - take a connection down and forget its endpoint
 * @ep: endpoint
 *
 * Context: may sleep. When it returns no command's memory is mapped.
 */
void iser_ep_disconnect(struct iscsi_endpoint *ep)
{
	struct iser_conn *conn = ep->dd_data;

	mutex_lock(&iser_conns_mutex);
	ep->dd_data = NULL;
	list_del_init(&conn->all);
	mutex_unlock(&iser_conns_mutex);
	iser_endpoint_destroy(conn);
}

/**
 * iser_endpoints_destroy - take down what iscsid left behind
 *
 * Context: module exit; the transport is unregistered, no session is left.
 */
void iser_endpoints_destroy(void)
{
	struct iser_conn *conn, *next;

	list_for_each_entry_safe(conn, next, &iser_conns, all) {
		list_del_init(&conn->all);
		iser_endpoint_destroy(conn);
	}
}

/* Its queues may have been halved until there was room for them */
static int iser_room_check(struct iser_conn *conn, unsigned int cmds)
{
	if (cmds <= conn->limits.cmds)
		return 0;
	iser_err(conn, "%s has no room for this session at the moment: it has %u commands, there is room for %u\n",
		 dev_name(&conn->device->dev), cmds, conn->limits.cmds);
	return -ENOMEM;
}

/* A session goes on over whatever it reconnects through: is that enough? */
static int iser_limits_check(struct iser_conn *conn,
			     struct iscsi_session *session)
{
	struct iser_limits *lim = &conn->limits;
	struct Scsi_Host *shost = session->host;
	unsigned int segment = ib_dma_max_seg_size(conn->device);
	/* The host may be allowed segments that no command is large enough for */
	unsigned int longest = min(shost->max_segment_size,
				   shost->max_sectors << SECTOR_SHIFT);

	if (session->cmds_max <= lim->cmds_max &&
	    shost->sg_tablesize <= lim->mr_pages_max &&
	    shost->max_sectors <= lim->sectors_max &&
	    longest <= segment &&
	    (shost->virt_boundary_mask & lim->virt_boundary) ==
	     lim->virt_boundary) {
		lim->mr_pages = shost->sg_tablesize;
		return 0;
	}
	iser_err(conn, "%s can't carry this session: it has %u commands of %u sectors in %u segments (of %u bytes, boundary %#lx), the device %u of %u in %u (%u, %#lx); log out and in again\n",
		 dev_name(&conn->device->dev), session->cmds_max,
		 shost->max_sectors, shost->sg_tablesize, longest,
		 shost->virt_boundary_mask, lim->cmds_max, lim->sectors_max,
		 lim->mr_pages_max, segment, lim->virt_boundary);
	return -EINVAL;
}

static void iser_conn_link(struct iser_conn *conn, struct iscsi_conn *iscsi)
{
	struct iser_link *link = iser_link(iscsi);

	kref_get(&conn->ref);
	spin_lock_bh(&iscsi->session->frwd_lock);
	link->local = conn->cm_id->route.addr.src_addr;
	conn->iscsi = iscsi;
	link->conn = conn;
	spin_unlock_bh(&iscsi->session->frwd_lock);
}

/* Context: may sleep; conn->mutex held */
static int iser_bind_locked(struct iser_conn *conn, struct iscsi_conn *iscsi)
{
	int err;

	if (!iser_conn_is_up(conn))
		return -ENOTCONN;
	if (conn->iscsi || iser_link(iscsi)->conn)
		return -EBUSY;
	err = iser_limits_check(conn, iscsi->session);
	if (!err)
		err = iser_room_check(conn, iscsi->session->cmds_max);
	if (err)
		return err;
	err = iser_rings_create(conn, iscsi->session->cmds_max);
	if (err) {
		if (iser_conn_fail(conn, err))
			iser_err(conn, "no memory for the queues of a session\n");
		return err;
	}
	iser_conn_link(conn, iscsi);
	return iser_post_login_rx(conn);
}

/**
 * iser_conn_bind - lend a connection to an iSCSI connection
 * @conn: connection
 * @iscsi: iSCSI connection
 *
 * Context: may sleep. On error the caller lets iscsid disconnect.
 * Return: 0 or a negative errno.
 */
int iser_conn_bind(struct iser_conn *conn, struct iscsi_conn *iscsi)
{
	unsigned int noio = memalloc_noio_save();
	int err;

	mutex_lock(&conn->mutex);
	err = iser_bind_locked(conn, iscsi);
	mutex_unlock(&conn->mutex);
	memalloc_noio_restore(noio);
	return err;
}

/**
 * iser_conn_unlink - the iSCSI connection gives its connection back
 * @iscsi: iSCSI connection; the connection that it borrowed is torn down
 *
 * Context: may sleep.
 */
void iser_conn_unlink(struct iscsi_conn *iscsi)
{
	struct iser_link *link = iser_link(iscsi);
	struct iser_conn *conn;

	spin_lock_bh(&iscsi->session->frwd_lock);
	conn = link->conn;
	link->conn = NULL;
	if (conn)
		conn->iscsi = NULL;
	spin_unlock_bh(&iscsi->session->frwd_lock);
	if (conn)
		iser_conn_put(conn);
}
