// SPDX-License-Identifier: GPL-2.0-only
/*
 * The driver's endpoint.c, and a way to its statics. See reach.h.
 */
#include "endpoint.c"
#include "reach.h"

struct iser_conn *reach_conn_alloc(const struct sockaddr *dst)
{
	return iser_conn_alloc(dst);
}

void reach_conn_publish(struct iser_conn *conn)
{
	iser_conn_publish(conn);
}

bool reach_set_state(struct iser_conn *conn, enum iser_state to, int error)
{
	return iser_conn_set_state(conn, to, error);
}

int reach_cm_handler(struct rdma_cm_id *cm_id, struct rdma_cm_event *event)
{
	return iser_cm_handler(cm_id, event);
}
