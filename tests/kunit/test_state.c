// SPDX-License-Identifier: GPL-2.0-only
/*
 * The state machine: every state and every change, every event of the
 * connection manager and of the queue pair, and what the endpoint says.
 *
 * The connection manager's id is a real one that has resolved nothing, so
 * where the driver asks it for the next step it refuses; that ends the
 * connection, which is an answer, too.
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
	{ RDMA_CM_EVENT_##e, st, RIG_STARTED, RIG_UP, ISER_CLOSED, err }
#define NO_NEWS(e) \
	{ RDMA_CM_EVENT_##e, 0, RIG_STARTED, RIG_UP, ISER_UP, 0 }

static const struct event_case event_cases[] = {
	/* The id refuses to resolve a route, or to connect */
	STEP(ADDR_RESOLVED, RESOLVING, CLOSED, -EINVAL),
	STEP(ADDR_RESOLVED, RESOLVED, RESOLVING, 0),
	STEP(ADDR_RESOLVED, CONNECTING, CONNECTING, 0),
	STEP(ADDR_RESOLVED, UP, UP, 0),
	STEP(ADDR_RESOLVED, STARTED, UP, 0),
	STEP(ROUTE_RESOLVED, RESOLVING, RESOLVING, 0),
	STEP(ROUTE_RESOLVED, RESOLVED, CLOSED, -EINVAL),
	STEP(ROUTE_RESOLVED, CONNECTING, CONNECTING, 0),
	STEP(ROUTE_RESOLVED, UP, UP, 0),
	STEP(ROUTE_RESOLVED, STARTED, UP, 0),
	STEP(ESTABLISHED, RESOLVING, RESOLVING, 0),
	STEP(ESTABLISHED, RESOLVED, RESOLVING, 0),
	STEP(ESTABLISHED, CONNECTING, UP, 0),
	STEP(ESTABLISHED, UP, UP, 0),
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
	"in full-feature phase", "while resolving", "when resolved",
	"while connecting", "when up"
};

static void event_desc(const struct event_case *c, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s, status %d, %s",
		 rdma_event_msg(c->event), c->status,
		 c->from == c->to ? stage_names[c->from] : "in every state");
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

/*
 * The teardown has been queued but has not come to the id. When it has, there
 * are no events: the id goes only when the CM has delivered the last one.
 */
static void events_while_closing(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_CONNECTING);
	struct iser_conn *conn = rig->conn;
	unsigned int i;

	reach_set_state(conn, ISER_CLOSING, -EIO);
	for (i = 0; i < ARRAY_SIZE(late_events); i++) {
		struct rdma_cm_event event = { .event = late_events[i] };

		deliver(conn->cm_id, &event);
		KUNIT_EXPECT_EQ(test, ISER_CLOSING, conn->state);
		KUNIT_EXPECT_EQ(test, -EIO, conn->error);
		KUNIT_EXPECT_FALSE(test, work_pending(&conn->teardown));
	}
	/* Let rig_exit() take it down */
	conn->state = ISER_CONNECTING;
}

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

/* At every stage at which there is a queue pair */
static void qp_event(struct kunit *test)
{
	static const enum rig_stage stages[] = {
		RIG_RESOLVED, RIG_CONNECTING, RIG_UP, RIG_BOUND, RIG_STARTED
	};
	const typeof(qp_events[0]) *c = test->param_value;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(stages); i++) {
		struct rig *rig = rig_make(test, .stop_at = stages[i]);
		struct iser_conn *conn = rig->conn;
		enum iser_state then = c->fatal ? ISER_CLOSED : conn->state;

		deliver_qp_event(conn, c->event);
		rig_settle();
		KUNIT_EXPECT_EQ_MSG(test, then, conn->state, "%u", i);
		KUNIT_EXPECT_EQ_MSG(test, c->fatal ? -EIO : 0, conn->error,
				    "%u", i);
		rig_exit(test);
	}
}

static void qp_events_while_closing(struct kunit *test)
{
	struct rig *rig = rig_make(test, .stop_at = RIG_UP);
	struct iser_conn *conn = rig->conn;
	unsigned int i;

	reach_set_state(conn, ISER_CLOSING, -EPROTO);
	for (i = 0; i < ARRAY_SIZE(qp_events); i++) {
		deliver_qp_event(conn, qp_events[i].event);
		KUNIT_EXPECT_EQ(test, ISER_CLOSING, conn->state);
		KUNIT_EXPECT_EQ(test, -EPROTO, conn->error);
		KUNIT_EXPECT_FALSE(test, work_pending(&conn->teardown));
	}
	/* Let rig_exit() take it down */
	conn->state = ISER_UP;
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

/* Resources go in the teardown, whatever way up there was */
static void teardown_frees(struct kunit *test)
{
	static const enum rig_stage stages[] = {
		RIG_RESOLVING, RIG_RESOLVED, RIG_CONNECTING, RIG_UP, RIG_BOUND,
		RIG_STARTED
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(stages); i++) {
		struct rig *rig = rig_make(test, .stop_at = stages[i]);

		rig_disconnect(rig);
		rig_settle();
		KUNIT_EXPECT_EQ(test, 0, rig->fake->qps);
		KUNIT_EXPECT_EQ(test, 0, rig->fake->pds);
		KUNIT_EXPECT_EQ(test, 0, rig->fake->mrs);
		rig_exit(test);
	}
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

static struct kunit_case state_cases[] = {
	KUNIT_CASE_PARAM(change, change_gen_params),
	KUNIT_CASE_PARAM(cm_event, event_gen_params),
	KUNIT_CASE(events_while_closing),
	KUNIT_CASE_PARAM(qp_event, qp_event_gen_params),
	KUNIT_CASE(qp_events_while_closing),
	KUNIT_CASE(first_error_counts),
	KUNIT_CASE(reason_comes_late),
	KUNIT_CASE(adapter_is_second),
	KUNIT_CASE(poll_tells_the_state),
	KUNIT_CASE(poll_without_an_error),
	KUNIT_CASE(endpoint_without_a_connection),
	KUNIT_CASE(teardown_frees),
	KUNIT_CASE(teardown_drains_what_was_bound),
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
