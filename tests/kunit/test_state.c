// SPDX-License-Identifier: GPL-2.0-only
/*
 * The state machine: every state and every change, every event of the
 * connection manager and of the queue pair, every call of the endpoint's, and
 * what it says.
 *
 * The connection manager's id is a real one that has resolved nothing, so
 * where the driver asks it for the next step it refuses; that ends the
 * connection, which is an answer, too.
 *
 * Of the two states on the way down, CLOSING lasts as long as a test wants if
 * it makes it with hold_closing(). CLOSED is what the teardown leaves.
 */
#include "rig.h"

struct change_case {
	enum iser_state from;
	enum iser_state to;
	bool allowed;
};

#define CHANGE(f, t, a) { ISER_##f, ISER_##t, a }

static const struct change_case change_cases[] = {
	CHANGE(RESOLVING, RESOLVING, false),
	CHANGE(RESOLVING, CONNECTING, true),
	CHANGE(RESOLVING, UP, false),
	CHANGE(RESOLVING, CLOSING, true),
	CHANGE(RESOLVING, CLOSED, false),
	CHANGE(CONNECTING, RESOLVING, false),
	CHANGE(CONNECTING, CONNECTING, false),
	CHANGE(CONNECTING, UP, true),
	CHANGE(CONNECTING, CLOSING, true),
	CHANGE(CONNECTING, CLOSED, false),
	CHANGE(UP, RESOLVING, false),
	CHANGE(UP, CONNECTING, false),
	CHANGE(UP, UP, false),
	CHANGE(UP, CLOSING, true),
	CHANGE(UP, CLOSED, false),
	CHANGE(CLOSING, RESOLVING, false),
	CHANGE(CLOSING, CONNECTING, false),
	CHANGE(CLOSING, UP, false),
	CHANGE(CLOSING, CLOSING, false),
	CHANGE(CLOSING, CLOSED, true),
	CHANGE(CLOSED, RESOLVING, false),
	CHANGE(CLOSED, CONNECTING, false),
	CHANGE(CLOSED, UP, false),
	CHANGE(CLOSED, CLOSING, false),
	CHANGE(CLOSED, CLOSED, false),
};

static const char * const state_names[] = {
	"RESOLVING", "CONNECTING", "UP", "CLOSING", "CLOSED"
};

static void change_desc(const struct change_case *c, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s to %s",
		 state_names[c->from], state_names[c->to]);
}

KUNIT_ARRAY_PARAM(change, change_cases, change_desc);

static void change(struct kunit *test)
{
	const struct change_case *c = test->param_value;
	const struct sockaddr_in portal = { .sin_family = AF_INET };
	struct iser_conn *conn;

	conn = reach_conn_alloc((const struct sockaddr *)&portal);
	KUNIT_ASSERT_NOT_NULL(test, conn);
	conn->state = c->from;
	conn->error = -EIO;
	KUNIT_EXPECT_EQ(test, c->allowed, reach_set_state(conn, c->to, -EPIPE));
	KUNIT_EXPECT_EQ(test, c->allowed ? c->to : c->from, conn->state);
	/* The error is of whoever ended it, and stays */
	KUNIT_EXPECT_EQ(test, c->allowed ? -EPIPE : -EIO, conn->error);
	iser_conn_put(conn);
}

struct event_case {
	enum rdma_cm_event_type event;
	int status;
	/* the stages of the way up at which it is delivered, and the outcome */
	enum rig_stage from, to;
	enum iser_state then;
	int error;
};

#define STEP(e, stage, then, err) \
	{ RDMA_CM_EVENT_##e, 0, RIG_##stage, RIG_##stage, ISER_##then, err }
#define ENDS(e, st, err) \
	{ RDMA_CM_EVENT_##e, st, RIG_STARTED, RIG_LOGGED_IN, ISER_CLOSED, err }
#define NO_NEWS_FROM(stage, e) \
	{ RDMA_CM_EVENT_##e, 0, RIG_##stage, RIG_LOGGED_IN, ISER_UP, 0 }
#define NO_NEWS(e) NO_NEWS_FROM(STARTED, e)

static const struct event_case event_cases[] = {
	/* The id refuses to resolve a route, or to connect */
	STEP(ADDR_RESOLVED, RESOLVING, CLOSED, -EINVAL),
	STEP(ADDR_RESOLVED, RESOLVED, RESOLVING, 0),
	STEP(ADDR_RESOLVED, CONNECTING, CONNECTING, 0),
	NO_NEWS_FROM(UP, ADDR_RESOLVED),
	STEP(ADDR_RESOLVED, STARTED, UP, 0),
	STEP(ROUTE_RESOLVED, RESOLVING, RESOLVING, 0),
	STEP(ROUTE_RESOLVED, RESOLVED, CLOSED, -EINVAL),
	STEP(ROUTE_RESOLVED, CONNECTING, CONNECTING, 0),
	NO_NEWS_FROM(UP, ROUTE_RESOLVED),
	STEP(ROUTE_RESOLVED, STARTED, UP, 0),
	STEP(ESTABLISHED, RESOLVING, RESOLVING, 0),
	STEP(ESTABLISHED, RESOLVED, RESOLVING, 0),
	STEP(ESTABLISHED, CONNECTING, UP, 0),
	NO_NEWS_FROM(UP, ESTABLISHED),
	STEP(ESTABLISHED, STARTED, UP, 0),
	ENDS(ADDR_ERROR, -ENODEV, -ENODEV),
	ENDS(ROUTE_ERROR, -ETIMEDOUT, -ETIMEDOUT),
	ENDS(CONNECT_ERROR, -EPROTO, -EPROTO),
	ENDS(UNREACHABLE, 0, -EHOSTUNREACH),
	ENDS(REJECTED, 28, -ECONNREFUSED),
	ENDS(REJECTED, -ECONNREFUSED, -ECONNREFUSED),
	ENDS(DISCONNECTED, 0, -ECONNRESET),
	ENDS(ADDR_CHANGE, 0, -ENETRESET),
	ENDS(DEVICE_REMOVAL, 0, -ENODEV),
	NO_NEWS(CONNECT_REQUEST),
	NO_NEWS(CONNECT_RESPONSE),
	NO_NEWS(MULTICAST_JOIN),
	NO_NEWS(MULTICAST_ERROR),
	NO_NEWS(TIMEWAIT_EXIT),
};

static const char * const stage_names[] = {
	[RIG_STARTED] = "in full-feature phase",
	[RIG_RESOLVING] = "while resolving",
	[RIG_RESOLVED] = "when resolved",
	[RIG_CONNECTING] = "while connecting",
	[RIG_UP] = "when up",
	[RIG_UNBOUND] = "when up with a session",
	[RIG_BOUND] = "when bound",
	[RIG_LOGGING_IN] = "while logging in",
	[RIG_LOGGED_IN] = "when logged in",
};

/* From where a connection can go down */
static const enum rig_stage stages[] = {
	RIG_RESOLVING, RIG_RESOLVED, RIG_CONNECTING, RIG_UP, RIG_BOUND,
	RIG_LOGGING_IN, RIG_LOGGED_IN, RIG_STARTED
};

static void stage_desc(const enum rig_stage *stage, char *desc)
{
	strscpy(desc, stage_names[*stage], KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(stage, stages, stage_desc);

static struct rig *rig_at_stage(struct kunit *test)
{
	return rig_make(test, .stop_at = *(enum rig_stage *)test->param_value);
}

/* CLOSING, without the teardown that iser_conn_fail() queues along with it */
static void hold_closing(struct iser_conn *conn, int error)
{
	kref_get(&conn->ref);
	reach_set_state(conn, ISER_CLOSING, error);
}

static void end_closing(struct iser_conn *conn)
{
	queue_work(iser_wq, &conn->teardown);
}

static void event_desc(const struct event_case *c, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s, status %d, %s",
		 rdma_event_msg(c->event), c->status,
		 c->from == c->to ? stage_names[c->from] :
		 c->from == RIG_UP ? "until it has logged in" :
		 "in every state");
}

KUNIT_ARRAY_PARAM(event, event_cases, event_desc);

/* As the CM does it: whoever destroys the id waits for the lock */
static int deliver(struct rdma_cm_id *cm_id, struct rdma_cm_event *event)
{
	int rc;

	rdma_lock_handler(cm_id);
	rc = reach_cm_handler(cm_id, event);
	rdma_unlock_handler(cm_id);
	return rc;
}

/*
 * Who has no session has nobody to tell. Of a target that closes the connection
 * iscsid hears just that once it has answered a login, whose answer counts then.
 */
static int told_of(enum rig_stage stage, int error)
{
	if (!error || (stage != RIG_STARTED && stage < RIG_BOUND))
		return 0;
	return stage == RIG_LOGGED_IN && error == -ECONNRESET ?
	       ISCSI_ERR_TCP_CONN_CLOSE : ISCSI_ERR_CONN_FAILED;
}

static void event_at(struct kunit *test, const struct event_case *c,
		     enum rig_stage stage)
{
	struct rig *rig = rig_make(test, .stop_at = stage);
	struct rdma_cm_event event = { .event = c->event, .status = c->status };
	struct iser_conn *conn = rig->conn;
	enum iser_state then = c->then;

	/* No news leaves it where it is */
	if (c->from != c->to && then == ISER_UP)
		then = conn->state;
	/* Anything but 0 would have the CM destroy the id */
	KUNIT_EXPECT_EQ(test, 0, deliver(conn->cm_id, &event));
	rig_settle();
	KUNIT_EXPECT_EQ_MSG(test, then, conn->state, "%s", stage_names[stage]);
	KUNIT_EXPECT_EQ_MSG(test, c->error, conn->error, "%s",
			    stage_names[stage]);
	KUNIT_EXPECT_EQ_MSG(test, told_of(stage, c->error), rig_told(rig), "%s",
			    stage_names[stage]);
	KUNIT_EXPECT_EQ(test, then >= ISER_UP,
			completion_done(&conn->settled));
	KUNIT_EXPECT_EQ(test, then == ISER_CLOSED,
			completion_done(&conn->torn_down));
	/* Nothing was made a second time */
	KUNIT_EXPECT_EQ(test, conn->qp ? 1 : 0, rig->fake->qps);
	KUNIT_EXPECT_EQ(test, conn->pd ? 1 : 0, rig->fake->pds);
	rig_exit(test);
}

static void cm_event(struct kunit *test)
{
	const struct event_case *c = test->param_value;
	enum rig_stage stage;

	for (stage = c->from; stage <= c->to; stage++)
		event_at(test, c, stage);
}

static const enum rdma_cm_event_type late_events[] = {
	RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_ROUTE_RESOLVED,
	RDMA_CM_EVENT_CONNECT_REQUEST, RDMA_CM_EVENT_CONNECT_RESPONSE,
	RDMA_CM_EVENT_ESTABLISHED, RDMA_CM_EVENT_ADDR_ERROR,
	RDMA_CM_EVENT_ROUTE_ERROR, RDMA_CM_EVENT_CONNECT_ERROR,
	RDMA_CM_EVENT_UNREACHABLE, RDMA_CM_EVENT_REJECTED,
	RDMA_CM_EVENT_DISCONNECTED, RDMA_CM_EVENT_ADDR_CHANGE,
	RDMA_CM_EVENT_DEVICE_REMOVAL, RDMA_CM_EVENT_TIMEWAIT_EXIT,
	RDMA_CM_EVENT_MULTICAST_JOIN, RDMA_CM_EVENT_MULTICAST_ERROR,
};

/* None is of any interest any more, but for the goodbye that some wait for */
static void deliver_late_event(struct rig *rig, struct iser_conn *conn,
			       struct rdma_cm_id *cm_id,
			       struct rdma_cm_event *event)
{
	const char *name = rdma_event_msg(event->event);
	enum iser_state state = conn->state;
	struct kunit *test = rig->test;
	int error = conn->error;

	KUNIT_EXPECT_EQ(test, 0, reach_cm_handler(cm_id, event));
	KUNIT_EXPECT_EQ_MSG(test, state, conn->state, "%s", name);
	KUNIT_EXPECT_EQ_MSG(test, error, conn->error, "%s", name);
	KUNIT_EXPECT_FALSE_MSG(test, work_pending(&conn->teardown), "%s", name);
	KUNIT_EXPECT_EQ_MSG(test, 0, rig_told(rig), "%s", name);
}

static void deliver_late_events(struct rig *rig, struct iser_conn *conn,
				struct rdma_cm_id *cm_id)
{
	static const int statuses[] = { 0, -ETIMEDOUT, -ECONNREFUSED };
	unsigned int i, j;

	rig_told(rig);
	for (i = 0; i < ARRAY_SIZE(late_events); i++) {
		for (j = 0; j < ARRAY_SIZE(statuses); j++) {
			struct rdma_cm_event event = {
				.event = late_events[i],
				.status = statuses[j],
			};

			deliver_late_event(rig, conn, cm_id, &event);
		}
	}
	KUNIT_EXPECT_TRUE(rig->test, completion_done(&conn->hung_up));
}

/* The teardown has been queued, but has not come to the id */
static void cm_events_while_closing(struct kunit *test)
{
	struct rig *rig = rig_at_stage(test);
	struct rdma_cm_id *cm_id = rig->conn->cm_id;

	hold_closing(rig->conn, -EIO);
	rdma_lock_handler(cm_id);
	deliver_late_events(rig, rig->conn, cm_id);
	rdma_unlock_handler(cm_id);
	end_closing(rig->conn);
}

/*
 * The id outlives the connection for as long as the CM delivers events. Then
 * the teardown is the only one that still knows the connection.
 */
static void cm_events_when_closed(struct kunit *test)
{
	struct rig *rig = rig_at_stage(test);
	struct iser_conn *conn = rig->conn;
	struct rdma_cm_id *cm_id = conn->cm_id;

	rdma_lock_handler(cm_id);
	iser_conn_fail(conn, -EIO);
	wait_for_completion(&conn->torn_down);
	rig_disconnect(rig);
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, conn->state);
	KUNIT_EXPECT_NULL(test, conn->cm_id);
	deliver_late_events(rig, conn, cm_id);
	rdma_unlock_handler(cm_id);
}

/* All that concern a queue pair, and what some drivers tell each of theirs */
static const struct {
	enum ib_event_type event;
	bool fatal;
} qp_events[] = {
	{ IB_EVENT_QP_FATAL, true },
	{ IB_EVENT_QP_REQ_ERR, true },
	{ IB_EVENT_QP_ACCESS_ERR, true },
	{ IB_EVENT_DEVICE_FATAL, true },
	{ IB_EVENT_COMM_EST, false },
	{ IB_EVENT_SQ_DRAINED, false },
	{ IB_EVENT_PATH_MIG, false },
	{ IB_EVENT_PATH_MIG_ERR, false },
	{ IB_EVENT_QP_LAST_WQE_REACHED, false },
};

static void qp_event_desc(const typeof(qp_events[0]) *c, char *desc)
{
	strscpy(desc, ib_event_msg(c->event), KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(qp_event, qp_events, qp_event_desc);

static void deliver_qp_event(struct iser_conn *conn, enum ib_event_type type)
{
	struct ib_event event = {
		.device = conn->device,
		.event = type,
		.element.qp = conn->qp,
	};

	conn->qp->event_handler(&event, conn->qp->qp_context);
}

/* At every stage but the first, which has no queue pair yet */
static void qp_event(struct kunit *test)
{
	const typeof(qp_events[0]) *c = test->param_value;
	unsigned int i;

	for (i = 1; i < ARRAY_SIZE(stages); i++) {
		struct rig *rig = rig_make(test, .stop_at = stages[i]);
		struct iser_conn *conn = rig->conn;
		enum iser_state then = c->fatal ? ISER_CLOSED : conn->state;

		deliver_qp_event(conn, c->event);
		rig_settle();
		KUNIT_EXPECT_EQ_MSG(test, then, conn->state, "%u", i);
		KUNIT_EXPECT_EQ_MSG(test, c->fatal ? -EIO : 0, conn->error,
				    "%u", i);
		KUNIT_EXPECT_EQ_MSG(test, told_of(stages[i], conn->error),
				    rig_told(rig), "%u", i);
		rig_exit(test);
	}
}

static void deliver_last_qp_events(void *arg)
{
	struct rig *rig = arg;
	struct iser_conn *conn = rig->conn;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(qp_events); i++) {
		deliver_qp_event(conn, qp_events[i].event);
		KUNIT_EXPECT_EQ(rig->test, ISER_CLOSING, conn->state);
		KUNIT_EXPECT_EQ(rig->test, -EPROTO, conn->error);
		KUNIT_EXPECT_FALSE(rig->test, work_pending(&conn->teardown));
	}
}

/* They may come until the queue pair is gone; in CLOSED there is none */
static void qp_events_while_closing(struct kunit *test)
{
	struct rig *rig = rig_at_stage(test);
	struct iser_conn *conn = rig->conn;

	rig->fake->on_destroy_arg = rig;
	rig->fake->on_destroy = deliver_last_qp_events;
	iser_conn_fail(conn, -EPROTO);
	rig_settle();
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, conn->state);
	KUNIT_EXPECT_EQ(test, -EPROTO, conn->error);
	KUNIT_EXPECT_NULL(test, conn->qp);
	KUNIT_EXPECT_EQ(test, 0, rig->fake->qps);
}

/* What a call does besides its return value and the change of the state */
#define TOLD		BIT(0)	/* iscsid is told that the connection failed */
#define TOLD_CLOSED	BIT(1)	/* iscsid is told that the target closed it */
#define HANGS_UP	BIT(2)	/* the CM is told to disconnect */
#define WAITS		BIT(3)	/* all is torn down when it returns */

struct call_case {
	const char *name;
	int (*call)(struct rig *rig);
	/* a session is there before the connection, as when it reconnects */
	bool session;
	/* how far up the connection got, and the state it is called in */
	enum rig_stage up;
	enum iser_state state;
	/* the outcome */
	int ret;
	enum iser_state then;
	int error;
	unsigned int does;
};

static int call_fail(struct rig *rig)
{
	return iser_conn_fail(rig->conn, -EPROTO);
}

static int call_blame(struct rig *rig)
{
	return iser_conn_blame(rig->conn);
}

static int call_condemn(struct rig *rig)
{
	return iser_conn_condemn(rig->conn);
}

static int call_condemn_late(struct rig *rig)
{
	bool ret;

	mutex_lock(&rig->conn->mutex);
	iser_conn_hung_up(rig->conn);
	ret = iser_conn_condemn(rig->conn);
	mutex_unlock(&rig->conn->mutex);
	return ret;
}

static int call_hung_up(struct rig *rig)
{
	iser_conn_hung_up(rig->conn);
	return 0;
}

static int call_flushed(struct rig *rig)
{
	iser_conn_flushed(rig->conn);
	return 0;
}

static void make_roce(struct rig *rig)
{
	rig->fake->ib.port_data[1].immutable.core_cap_flags =
		RDMA_CORE_PORT_IBA_ROCE;
}

static int call_flushed_roce(struct rig *rig)
{
	make_roce(rig);
	return call_flushed(rig);
}

/* As a completion does it that was flushed */
static int call_lost_roce(struct rig *rig)
{
	const struct ib_wc wc = { .status = IB_WC_WR_FLUSH_ERR };

	make_roce(rig);
	iser_wc_error(rig->conn, &wc, "Send");
	return 0;
}

static int call_close(struct rig *rig)
{
	iser_conn_close(rig->conn);
	return 0;
}

static int call_poll(struct rig *rig)
{
	return iser_ep_poll(rig->ep, 0);
}

static int call_create_session(struct rig *rig)
{
	struct iscsi_cls_session *cls_session;

	cls_session = reach_transport()->create_session(rig->ep, 32, 32, 1);
	if (!cls_session)
		return -ENOTCONN;
	reach_transport()->destroy_session(cls_session);
	return 0;
}

static int call_bind(struct rig *rig)
{
	return rig_bind(rig);
}

static int call_start(struct rig *rig)
{
	return reach_transport()->start_conn(rig->iscsi->cls_conn);
}

static int call_stop(struct rig *rig)
{
	reach_transport()->stop_conn(rig->iscsi->cls_conn, STOP_CONN_RECOVER);
	return 0;
}

static int call_destroy(struct rig *rig)
{
	reach_transport()->destroy_conn(rig->iscsi->cls_conn);
	rig->iscsi = NULL;
	return 0;
}

static int call_disconnect(struct rig *rig)
{
	rig_disconnect(rig);
	return 0;
}

#define CALL_OF(session, call, up, state, ret, then, err, does) \
	{ #call, call_##call, session, RIG_##up, ISER_##state, ret, \
	  ISER_##then, err, does }
#define CALL(...)		CALL_OF(false, __VA_ARGS__)
#define SESSION_CALL(...)	CALL_OF(true, __VA_ARGS__)

static const struct call_case call_cases[] = {
	/* From any context and in any state: the first one counts */
	CALL(fail, RESOLVING, RESOLVING, true, CLOSED, -EPROTO, 0),
	CALL(fail, RESOLVED, RESOLVING, true, CLOSED, -EPROTO, 0),
	CALL(fail, CONNECTING, CONNECTING, true, CLOSED, -EPROTO, 0),
	CALL(fail, UP, UP, true, CLOSED, -EPROTO, 0),
	CALL(fail, BOUND, UP, true, CLOSED, -EPROTO, TOLD | HANGS_UP),
	CALL(fail, LOGGING_IN, UP, true, CLOSED, -EPROTO, TOLD | HANGS_UP),
	CALL(fail, LOGGED_IN, UP, true, CLOSED, -EPROTO, TOLD | HANGS_UP),
	CALL(fail, STARTED, UP, true, CLOSED, -EPROTO, TOLD | HANGS_UP),
	CALL(fail, CONNECTING, CLOSING, false, CLOSING, 0, 0),
	CALL(fail, CONNECTING, CLOSED, false, CLOSED, 0, 0),
	CALL(fail, STARTED, CLOSING, false, CLOSING, 0, 0),
	CALL(fail, STARTED, CLOSED, false, CLOSED, 0, 0),

	/* The same for an adapter, which has its say when there is no reason */
	CALL(blame, RESOLVING, RESOLVING, true, CLOSED, -EIO, 0),
	CALL(blame, RESOLVED, RESOLVING, true, CLOSED, -EIO, 0),
	CALL(blame, CONNECTING, CONNECTING, true, CLOSED, -EIO, 0),
	CALL(blame, UP, UP, true, CLOSED, -EIO, 0),
	CALL(blame, BOUND, UP, true, CLOSED, -EIO, TOLD | HANGS_UP),
	CALL(blame, LOGGING_IN, UP, true, CLOSED, -EIO, TOLD | HANGS_UP),
	CALL(blame, LOGGED_IN, UP, true, CLOSED, -EIO, TOLD | HANGS_UP),
	CALL(blame, STARTED, UP, true, CLOSED, -EIO, TOLD | HANGS_UP),
	CALL(blame, CONNECTING, CLOSING, false, CLOSING, 0, 0),
	CALL(blame, CONNECTING, CLOSED, false, CLOSED, 0, 0),
	CALL(blame, STARTED, CLOSING, false, CLOSING, 0, 0),
	CALL(blame, STARTED, CLOSED, false, CLOSED, 0, 0),

	/* What a target sent that it must not is the reason, late or not */
	CALL(condemn, BOUND, UP, true, CLOSED, -EPROTO, TOLD | HANGS_UP),
	CALL(condemn, LOGGING_IN, UP, true, CLOSED, -EPROTO, TOLD | HANGS_UP),
	CALL(condemn, LOGGED_IN, UP, true, CLOSED, -EPROTO, TOLD | HANGS_UP),
	CALL(condemn, STARTED, UP, true, CLOSED, -EPROTO, TOLD | HANGS_UP),
	CALL(condemn, STARTED, CLOSING, false, CLOSING, 0, 0),
	CALL(condemn, STARTED, CLOSED, false, CLOSED, 0, 0),
	CALL(condemn_late, BOUND, UP, true, CLOSED, -EPROTO, TOLD | HANGS_UP),
	CALL(condemn_late, LOGGING_IN, UP, true, CLOSED, -EPROTO,
	     TOLD | HANGS_UP),
	CALL(condemn_late, LOGGED_IN, UP, true, CLOSED, -EPROTO,
	     TOLD | HANGS_UP),
	CALL(condemn_late, STARTED, UP, true, CLOSED, -EPROTO, TOLD | HANGS_UP),

	/* iscsid reads on when the target has answered a login */
	CALL(hung_up, RESOLVING, RESOLVING, 0, CLOSED, -ECONNRESET, 0),
	CALL(hung_up, RESOLVED, RESOLVING, 0, CLOSED, -ECONNRESET, 0),
	CALL(hung_up, CONNECTING, CONNECTING, 0, CLOSED, -ECONNRESET, 0),
	CALL(hung_up, UP, UP, 0, CLOSED, -ECONNRESET, 0),
	CALL(hung_up, BOUND, UP, 0, CLOSED, -ECONNRESET, TOLD | HANGS_UP),
	CALL(hung_up, LOGGING_IN, UP, 0, CLOSED, -ECONNRESET, TOLD | HANGS_UP),
	CALL(hung_up, LOGGED_IN, UP, 0, CLOSED, -ECONNRESET,
	     TOLD_CLOSED | HANGS_UP),
	CALL(hung_up, STARTED, UP, 0, CLOSED, -ECONNRESET, TOLD | HANGS_UP),
	CALL(hung_up, CONNECTING, CLOSING, 0, CLOSING, 0, 0),
	CALL(hung_up, CONNECTING, CLOSED, 0, CLOSED, 0, 0),
	CALL(hung_up, STARTED, CLOSING, 0, CLOSING, 0, 0),
	CALL(hung_up, STARTED, CLOSED, 0, CLOSED, 0, 0),

	/*
	 * From completions only: nothing is posted before it is bound, and the
	 * queue pair was drained, and the CM id has gone, when it is CLOSED
	 */
	CALL(flushed, BOUND, UP, 0, CLOSED, -ECONNRESET, TOLD | HANGS_UP),
	CALL(flushed, LOGGING_IN, UP, 0, CLOSED, -ECONNRESET, TOLD | HANGS_UP),
	CALL(flushed, LOGGED_IN, UP, 0, CLOSED, -ECONNRESET,
	     TOLD_CLOSED | HANGS_UP),
	CALL(flushed, STARTED, UP, 0, CLOSED, -ECONNRESET, TOLD | HANGS_UP),
	CALL(flushed, STARTED, CLOSING, 0, CLOSING, 0, 0),
	CALL(flushed_roce, BOUND, UP, 0, CLOSED, -EPIPE, TOLD | HANGS_UP),
	CALL(flushed_roce, LOGGING_IN, UP, 0, CLOSED, -EPIPE, TOLD | HANGS_UP),
	CALL(flushed_roce, LOGGED_IN, UP, 0, CLOSED, -EPIPE, TOLD | HANGS_UP),
	CALL(flushed_roce, STARTED, UP, 0, CLOSED, -EPIPE, TOLD | HANGS_UP),
	CALL(flushed_roce, STARTED, CLOSING, 0, CLOSING, 0, 0),
	/* There is no link that a disconnect could be sent over */
	CALL(lost_roce, LOGGING_IN, UP, 0, CLOSED, -EPIPE, TOLD),
	CALL(lost_roce, LOGGED_IN, UP, 0, CLOSED, -EPIPE, TOLD),
	CALL(lost_roce, STARTED, UP, 0, CLOSED, -EPIPE, TOLD),

	/* May sleep, in any state; who wanted it so is not told */
	CALL(close, RESOLVING, RESOLVING, 0, CLOSED, 0, WAITS),
	CALL(close, RESOLVED, RESOLVING, 0, CLOSED, 0, WAITS),
	CALL(close, CONNECTING, CONNECTING, 0, CLOSED, 0, WAITS),
	CALL(close, UP, UP, 0, CLOSED, 0, WAITS),
	CALL(close, BOUND, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	CALL(close, LOGGING_IN, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	CALL(close, LOGGED_IN, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	CALL(close, STARTED, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	CALL(close, CONNECTING, CLOSING, 0, CLOSED, 0, WAITS),
	CALL(close, CONNECTING, CLOSED, 0, CLOSED, 0, WAITS),
	CALL(close, STARTED, CLOSING, 0, CLOSED, 0, HANGS_UP | WAITS),
	CALL(close, STARTED, CLOSED, 0, CLOSED, 0, WAITS),

	/* The error, if there is one, is what poll_tells_the_state() is about */
	CALL(poll, RESOLVING, RESOLVING, 0, RESOLVING, 0, 0),
	CALL(poll, RESOLVED, RESOLVING, 0, RESOLVING, 0, 0),
	CALL(poll, CONNECTING, CONNECTING, 0, CONNECTING, 0, 0),
	CALL(poll, UP, UP, 1, UP, 0, 0),
	CALL(poll, BOUND, UP, 1, UP, 0, 0),
	CALL(poll, LOGGING_IN, UP, 1, UP, 0, 0),
	CALL(poll, LOGGED_IN, UP, 1, UP, 0, 0),
	CALL(poll, STARTED, UP, 1, UP, 0, 0),
	CALL(poll, CONNECTING, CLOSING, -ENOTCONN, CLOSING, 0, 0),
	CALL(poll, CONNECTING, CLOSED, -ENOTCONN, CLOSED, 0, 0),
	CALL(poll, STARTED, CLOSING, -ENOTCONN, CLOSING, 0, 0),
	CALL(poll, STARTED, CLOSED, -ENOTCONN, CLOSED, 0, 0),

	CALL(create_session, RESOLVING, RESOLVING, -ENOTCONN, RESOLVING, 0, 0),
	CALL(create_session, RESOLVED, RESOLVING, -ENOTCONN, RESOLVING, 0, 0),
	CALL(create_session, CONNECTING, CONNECTING, -ENOTCONN, CONNECTING, 0,
	     0),
	CALL(create_session, UP, UP, 0, UP, 0, 0),
	/* What is bound is not bound again, see below */
	CALL(create_session, BOUND, UP, 0, UP, 0, 0),
	CALL(create_session, LOGGING_IN, UP, 0, UP, 0, 0),
	CALL(create_session, LOGGED_IN, UP, 0, UP, 0, 0),
	CALL(create_session, STARTED, UP, 0, UP, 0, 0),
	CALL(create_session, UP, CLOSING, -ENOTCONN, CLOSING, 0, 0),
	CALL(create_session, UP, CLOSED, -ENOTCONN, CLOSED, 0, 0),

	/* Once; the iSCSI class disconnects what is bound before */
	SESSION_CALL(bind, RESOLVING, RESOLVING, -ENOTCONN, RESOLVING, 0, 0),
	SESSION_CALL(bind, RESOLVED, RESOLVING, -ENOTCONN, RESOLVING, 0, 0),
	SESSION_CALL(bind, CONNECTING, CONNECTING, -ENOTCONN, CONNECTING, 0, 0),
	SESSION_CALL(bind, UP, UP, 0, UP, 0, 0),
	SESSION_CALL(bind, BOUND, UP, -EBUSY, UP, 0, 0),
	SESSION_CALL(bind, LOGGING_IN, UP, -EBUSY, UP, 0, 0),
	SESSION_CALL(bind, LOGGED_IN, UP, -EBUSY, UP, 0, 0),
	SESSION_CALL(bind, STARTED, UP, -EBUSY, UP, 0, 0),
	SESSION_CALL(bind, UP, CLOSING, -ENOTCONN, CLOSING, 0, 0),
	SESSION_CALL(bind, UP, CLOSED, -ENOTCONN, CLOSED, 0, 0),

	/* Not twice on one connection: libiscsi would begin a new session */
	SESSION_CALL(start, RESOLVING, RESOLVING, -ENOTCONN, RESOLVING, 0, 0),
	SESSION_CALL(start, RESOLVED, RESOLVING, -ENOTCONN, RESOLVING, 0, 0),
	SESSION_CALL(start, CONNECTING, CONNECTING, -ENOTCONN, CONNECTING, 0, 0),
	SESSION_CALL(start, UP, UP, -ENOTCONN, UP, 0, 0),
	SESSION_CALL(start, BOUND, UP, -EINVAL, UP, 0, 0),
	/* What the answer says is iscsid's to know */
	SESSION_CALL(start, LOGGING_IN, UP, 0, UP, 0, 0),
	SESSION_CALL(start, LOGGED_IN, UP, 0, UP, 0, 0),
	SESSION_CALL(start, LOGGED_IN, CLOSING, -ENOTCONN, CLOSING, 0, 0),
	SESSION_CALL(start, LOGGED_IN, CLOSED, -ENOTCONN, CLOSED, 0, 0),

	/* What is not bound is not the iSCSI connection's */
	SESSION_CALL(stop, RESOLVING, RESOLVING, 0, RESOLVING, 0, 0),
	SESSION_CALL(stop, RESOLVED, RESOLVING, 0, RESOLVING, 0, 0),
	SESSION_CALL(stop, CONNECTING, CONNECTING, 0, CONNECTING, 0, 0),
	SESSION_CALL(stop, UP, UP, 0, UP, 0, 0),
	SESSION_CALL(stop, BOUND, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	SESSION_CALL(stop, LOGGING_IN, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	SESSION_CALL(stop, LOGGED_IN, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	SESSION_CALL(stop, STARTED, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	SESSION_CALL(stop, CONNECTING, CLOSING, 0, CLOSING, 0, 0),
	SESSION_CALL(stop, CONNECTING, CLOSED, 0, CLOSED, 0, 0),
	SESSION_CALL(stop, STARTED, CLOSING, 0, CLOSED, 0, HANGS_UP | WAITS),
	SESSION_CALL(stop, STARTED, CLOSED, 0, CLOSED, 0, WAITS),
	SESSION_CALL(destroy, RESOLVING, RESOLVING, 0, RESOLVING, 0, 0),
	SESSION_CALL(destroy, RESOLVED, RESOLVING, 0, RESOLVING, 0, 0),
	SESSION_CALL(destroy, CONNECTING, CONNECTING, 0, CONNECTING, 0, 0),
	SESSION_CALL(destroy, UP, UP, 0, UP, 0, 0),
	SESSION_CALL(destroy, BOUND, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	SESSION_CALL(destroy, LOGGING_IN, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	SESSION_CALL(destroy, LOGGED_IN, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	SESSION_CALL(destroy, STARTED, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	SESSION_CALL(destroy, CONNECTING, CLOSING, 0, CLOSING, 0, 0),
	SESSION_CALL(destroy, CONNECTING, CLOSED, 0, CLOSED, 0, 0),
	SESSION_CALL(destroy, STARTED, CLOSING, 0, CLOSED, 0, HANGS_UP | WAITS),
	SESSION_CALL(destroy, STARTED, CLOSED, 0, CLOSED, 0, WAITS),

	/*
	 * Once, as the endpoint is gone then. It does not wait for what is not
	 * bound: nobody would end CLOSING here if it did
	 */
	CALL(disconnect, RESOLVING, RESOLVING, 0, CLOSED, 0, 0),
	CALL(disconnect, RESOLVED, RESOLVING, 0, CLOSED, 0, 0),
	CALL(disconnect, CONNECTING, CONNECTING, 0, CLOSED, 0, 0),
	CALL(disconnect, UP, UP, 0, CLOSED, 0, 0),
	CALL(disconnect, BOUND, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	CALL(disconnect, LOGGING_IN, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	CALL(disconnect, LOGGED_IN, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	CALL(disconnect, STARTED, UP, 0, CLOSED, 0, HANGS_UP | WAITS),
	CALL(disconnect, CONNECTING, CLOSING, 0, CLOSING, 0, 0),
	CALL(disconnect, CONNECTING, CLOSED, 0, CLOSED, 0, WAITS),
	CALL(disconnect, STARTED, CLOSING, 0, CLOSED, 0, HANGS_UP | WAITS),
	CALL(disconnect, STARTED, CLOSED, 0, CLOSED, 0, WAITS),
};

static void call_desc(const struct call_case *c, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s %s, %s", c->name,
		 stage_names[c->up], state_names[c->state]);
}

KUNIT_ARRAY_PARAM(call, call_cases, call_desc);

static struct rig *call_rig(struct kunit *test, const struct call_case *c)
{
	struct rig *rig;

	if (!c->session || c->up == RIG_STARTED || c->up > RIG_UP)
		return rig_make(test, .stop_at = c->up);
	rig = rig_make(test, .stop_at = RIG_UNBOUND);
	rig_reconnect(rig, c->up);
	return rig;
}

static unsigned int call_did(struct rig *rig)
{
	int told = rig_told(rig);

	return (told == ISCSI_ERR_CONN_FAILED ? TOLD : 0) |
	       (told == ISCSI_ERR_TCP_CONN_CLOSE ? TOLD_CLOSED : 0) |
	       (rig->fake->disconnects ? HANGS_UP : 0);
}

/* Bring it down to the state in which the call is to come */
static void call_enter(struct rig *rig, const struct call_case *c)
{
	if (c->state == ISER_CLOSED)
		iser_conn_close(rig->conn);
	if (c->state == ISER_CLOSING)
		hold_closing(rig->conn, 0);
	rig->fake->disconnects = 0;
	KUNIT_ASSERT_EQ(rig->test, c->state, rig->conn->state);
	/* The teardown races with who waits for it */
	if (c->state == ISER_CLOSING && c->does & WAITS)
		end_closing(rig->conn);
}

static void call(struct kunit *test)
{
	const struct call_case *c = test->param_value;
	struct rig *rig = call_rig(test, c);
	struct iser_conn *conn = rig->conn;

	kref_get(&conn->ref);
	call_enter(rig, c);
	KUNIT_EXPECT_EQ(test, c->ret, c->call(rig));
	if (c->does & WAITS)
		KUNIT_EXPECT_TRUE(test, completion_done(&conn->torn_down));
	rig_settle();
	KUNIT_EXPECT_EQ(test, c->then, conn->state);
	KUNIT_EXPECT_EQ(test, c->error, conn->error);
	KUNIT_EXPECT_EQ(test, c->does & ~WAITS, call_did(rig));
	if (c->then == ISER_CLOSING)
		end_closing(conn);
	iser_conn_put(conn);
}

/* Whoever is second is told so, and its error is not the one that counts */
static void first_error_counts(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_UP);
	struct iser_conn *conn = rig->conn;

	mutex_lock(&conn->mutex);
	KUNIT_EXPECT_TRUE(test, iser_conn_fail(conn, -EPROTO));
	KUNIT_EXPECT_FALSE(test, iser_conn_fail(conn, -EIO));
	KUNIT_EXPECT_EQ(test, ISER_CLOSING, conn->state);
	mutex_unlock(&conn->mutex);
	rig_settle();
	KUNIT_EXPECT_FALSE(test, iser_conn_fail(conn, -EIO));
	KUNIT_EXPECT_EQ(test, ISER_CLOSED, conn->state);
	KUNIT_EXPECT_EQ(test, -EPROTO, conn->error);
}

/* The CM may know of the end before anybody knows why; not so after a logout */
static void reason_comes_late(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_UP);
	struct iser_conn *conn = rig->conn;

	mutex_lock(&conn->mutex);
	iser_conn_hung_up(conn);
	KUNIT_EXPECT_TRUE(test, iser_conn_blame(conn));
	WRITE_ONCE(conn->logout, true);
	KUNIT_EXPECT_FALSE(test, iser_conn_blame(conn));
	WRITE_ONCE(conn->logout, false);
	mutex_unlock(&conn->mutex);
	KUNIT_EXPECT_EQ(test, -ECONNRESET, conn->error);
}

/* It counts, and what the target sent behind it is not heard */
static void protocol_error_comes_late(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_UP);
	struct iser_conn *conn = rig->conn;

	mutex_lock(&conn->mutex);
	iser_conn_hung_up(conn);
	KUNIT_EXPECT_TRUE(test, iser_conn_listens(conn));
	KUNIT_EXPECT_TRUE(test, iser_conn_condemn(conn));
	KUNIT_EXPECT_FALSE(test, iser_conn_listens(conn));
	KUNIT_EXPECT_FALSE(test, iser_conn_condemn(conn));
	KUNIT_EXPECT_FALSE(test, iser_conn_blame(conn));
	mutex_unlock(&conn->mutex);
	KUNIT_EXPECT_EQ(test, -EPROTO, conn->error);
}

static void adapter_is_second(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_UP);

	iser_conn_fail(rig->conn, -EPROTO);
	KUNIT_EXPECT_FALSE(test, iser_conn_blame(rig->conn));
	rig_settle();
	KUNIT_EXPECT_FALSE(test, iser_conn_blame(rig->conn));
	KUNIT_EXPECT_EQ(test, -EPROTO, rig->conn->error);
}

static void poll_tells_the_state(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_CONNECTING);
	struct iser_conn *conn = rig->conn;

	KUNIT_EXPECT_EQ(test, 0, iser_ep_poll(rig->ep, 0));
	KUNIT_EXPECT_EQ(test, 0, iser_ep_poll(rig->ep, 10));
	reach_set_state(conn, ISER_UP, 0);
	complete_all(&conn->settled);
	KUNIT_EXPECT_EQ(test, 1, iser_ep_poll(rig->ep, 0));
	KUNIT_EXPECT_EQ(test, 1, iser_ep_poll(rig->ep, -1));

	iser_conn_fail(conn, -ENETRESET);
	rig_settle();
	KUNIT_EXPECT_EQ(test, -ENETRESET, iser_ep_poll(rig->ep, 0));
}

static void poll_without_an_error(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_UP);

	iser_conn_close(rig->conn);
	KUNIT_EXPECT_EQ(test, -ENOTCONN, iser_ep_poll(rig->ep, 0));
}

/* The iSCSI class may disconnect by itself, and keep the endpoint's name */
static void endpoint_without_a_connection(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_UP);
	struct iscsi_endpoint *ep = rig->ep;

	get_device(&ep->dev);
	rig_disconnect(rig);
	KUNIT_EXPECT_EQ(test, -ENOTCONN, iser_ep_poll(ep, 0));
	KUNIT_EXPECT_NULL(test, reach_transport()->create_session(ep, 32, 32, 1));
	put_device(&ep->dev);
}

static void session_without_an_endpoint(struct kunit *test)
{
	KUNIT_EXPECT_NULL(test,
			  reach_transport()->create_session(NULL, 32, 32, 1));
}

static void expect_all_freed(struct rig *rig)
{
	rig_settle();
	KUNIT_EXPECT_EQ(rig->test, 0, rig->fake->qps);
	KUNIT_EXPECT_EQ(rig->test, 0, rig->fake->pds);
	KUNIT_EXPECT_EQ(rig->test, 0, rig->fake->mrs);
}

/* Resources go in the teardown, whatever way up there was */
static void teardown_frees(struct kunit *test)
{
	struct rig *rig = rig_at_stage(test);

	rig_disconnect(rig);
	expect_all_freed(rig);
}

/* Drained twice: the second time for what was posted meanwhile */
static void teardown_drains_what_was_bound(struct kunit *test)
{
	struct rig *rig = rig_make(test);

	KUNIT_EXPECT_EQ(test, 0, rig->fake->drains);
	rig_disconnect(rig);
	KUNIT_EXPECT_EQ(test, 2, rig->fake->drains);
	KUNIT_EXPECT_EQ(test, 0, fake_recvs_left(rig->fake));
}

/* As when the module is unloaded behind the back of an iscsid that died */
static void endpoints_left_behind(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_UP);

	rig->ep = NULL;
	rig->conn = NULL;
	iser_endpoints_destroy();
	expect_all_freed(rig);
}

static struct kunit_case state_cases[] = {
	KUNIT_CASE_PARAM(change, change_gen_params),
	KUNIT_CASE_PARAM(cm_event, event_gen_params),
	KUNIT_CASE_PARAM(cm_events_while_closing, stage_gen_params),
	KUNIT_CASE_PARAM(cm_events_when_closed, stage_gen_params),
	KUNIT_CASE_PARAM(qp_event, qp_event_gen_params),
	KUNIT_CASE_PARAM(qp_events_while_closing, stage_gen_params),
	KUNIT_CASE_PARAM(call, call_gen_params),
	KUNIT_CASE(first_error_counts),
	KUNIT_CASE(reason_comes_late),
	KUNIT_CASE(protocol_error_comes_late),
	KUNIT_CASE(adapter_is_second),
	KUNIT_CASE(poll_tells_the_state),
	KUNIT_CASE(poll_without_an_error),
	KUNIT_CASE(endpoint_without_a_connection),
	KUNIT_CASE(session_without_an_endpoint),
	KUNIT_CASE_PARAM(teardown_frees, stage_gen_params),
	KUNIT_CASE(teardown_drains_what_was_bound),
	KUNIT_CASE(endpoints_left_behind),
	{}
};

static struct kunit_suite state_suite = {
	.name = "iser_state",
	.suite_init = rig_suite_init,
	.suite_exit = rig_suite_exit,
	.exit = rig_exit,
	.test_cases = state_cases,
};

kunit_test_suite(state_suite);
