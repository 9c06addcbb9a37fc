/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests call of the driver although it is static there.
 *
 * Each reach_*.c includes the driver's file of that name, so the very same
 * code is compiled, and adds functions that only pass on.
 */
#ifndef ISER_KUNIT_REACH_H
#define ISER_KUNIT_REACH_H

#include "iser.h"

struct iser_conn *reach_conn_alloc(const struct sockaddr *dst);
void reach_conn_publish(struct iser_conn *conn);
bool reach_set_state(struct iser_conn *conn, enum iser_state to, int error);
int reach_cm_handler(struct rdma_cm_id *cm_id, struct rdma_cm_event *event);
struct iscsi_transport *reach_transport(void);

#endif /* ISER_KUNIT_REACH_H */
