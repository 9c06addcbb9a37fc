/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints: one for every event worth asking about. They are the way to
 * see what the module does; there are no debug messages beside them.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM iser

#if !defined(ISER_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define ISER_TRACE_H

#include <linux/tracepoint.h>
#include <rdma/ib_cm.h>
#include "iser.h"

TRACE_DEFINE_ENUM(ISER_RESOLVING);
TRACE_DEFINE_ENUM(ISER_CONNECTING);
TRACE_DEFINE_ENUM(ISER_UP);
TRACE_DEFINE_ENUM(ISER_CLOSING);
TRACE_DEFINE_ENUM(ISER_CLOSED);

#define iser_show_state(x)				\
	__print_symbolic(x,				\
		{ ISER_RESOLVING,	"RESOLVING" },	\
		{ ISER_CONNECTING,	"CONNECTING" },	\
		{ ISER_UP,		"UP" },		\
		{ ISER_CLOSING,		"CLOSING" },	\
		{ ISER_CLOSED,		"CLOSED" })

TRACE_DEFINE_ENUM(RDMA_CM_EVENT_ADDR_RESOLVED);
TRACE_DEFINE_ENUM(RDMA_CM_EVENT_ADDR_ERROR);
TRACE_DEFINE_ENUM(RDMA_CM_EVENT_ROUTE_RESOLVED);
TRACE_DEFINE_ENUM(RDMA_CM_EVENT_ROUTE_ERROR);
TRACE_DEFINE_ENUM(RDMA_CM_EVENT_CONNECT_ERROR);
TRACE_DEFINE_ENUM(RDMA_CM_EVENT_UNREACHABLE);
TRACE_DEFINE_ENUM(RDMA_CM_EVENT_REJECTED);
TRACE_DEFINE_ENUM(RDMA_CM_EVENT_ESTABLISHED);
TRACE_DEFINE_ENUM(RDMA_CM_EVENT_DISCONNECTED);
TRACE_DEFINE_ENUM(RDMA_CM_EVENT_DEVICE_REMOVAL);
TRACE_DEFINE_ENUM(RDMA_CM_EVENT_ADDR_CHANGE);
TRACE_DEFINE_ENUM(RDMA_CM_EVENT_TIMEWAIT_EXIT);

#define iser_show_cm_event(x)						\
	__print_symbolic(x,						\
		{ RDMA_CM_EVENT_ADDR_RESOLVED,	"ADDR_RESOLVED" },	\
		{ RDMA_CM_EVENT_ADDR_ERROR,	"ADDR_ERROR" },		\
		{ RDMA_CM_EVENT_ROUTE_RESOLVED,	"ROUTE_RESOLVED" },	\
		{ RDMA_CM_EVENT_ROUTE_ERROR,	"ROUTE_ERROR" },	\
		{ RDMA_CM_EVENT_CONNECT_ERROR,	"CONNECT_ERROR" },	\
		{ RDMA_CM_EVENT_UNREACHABLE,	"UNREACHABLE" },	\
		{ RDMA_CM_EVENT_REJECTED,	"REJECTED" },		\
		{ RDMA_CM_EVENT_ESTABLISHED,	"ESTABLISHED" },	\
		{ RDMA_CM_EVENT_DISCONNECTED,	"DISCONNECTED" },	\
		{ RDMA_CM_EVENT_DEVICE_REMOVAL,	"DEVICE_REMOVAL" },	\
		{ RDMA_CM_EVENT_ADDR_CHANGE,	"ADDR_CHANGE" },	\
		{ RDMA_CM_EVENT_TIMEWAIT_EXIT,	"TIMEWAIT_EXIT" })

TRACE_EVENT(iser_state,
	TP_PROTO(const struct iser_conn *conn, enum iser_state from,
		 enum iser_state to, int error),
	TP_ARGS(conn, from, to, error),
	TP_STRUCT__entry(
		__field(const void *, conn)
		__array(u8, addr, sizeof(struct sockaddr_in6))
		__field(int, from)
		__field(int, to)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->conn = conn;
		memcpy(__entry->addr, &conn->remote,
		       sizeof(struct sockaddr_in6));
		__entry->from = from;
		__entry->to = to;
		__entry->error = error;
	),
	TP_printk("conn %p to %pISpc %s -> %s error %d", __entry->conn,
		  __entry->addr, iser_show_state(__entry->from),
		  iser_show_state(__entry->to), __entry->error)
);

TRACE_EVENT(iser_cm_event,
	TP_PROTO(const struct iser_conn *conn, int event, int status),
	TP_ARGS(conn, event, status),
	TP_STRUCT__entry(
		__field(const void *, conn)
		__array(u8, addr, sizeof(struct sockaddr_in6))
		__field(int, event)
		__field(int, status)
	),
	TP_fast_assign(
		__entry->conn = conn;
		memcpy(__entry->addr, &conn->remote,
		       sizeof(struct sockaddr_in6));
		__entry->event = event;
		__entry->status = status;
	),
	TP_printk("conn %p to %pISpc %s status %d", __entry->conn,
		  __entry->addr, iser_show_cm_event(__entry->event),
		  __entry->status)
);

TRACE_EVENT(iser_send_command,
	TP_PROTO(const struct iser_conn *conn, const struct iscsi_task *task,
		 u32 rkey),
	TP_ARGS(conn, task, rkey),
	TP_STRUCT__entry(
		__field(const void *, conn)
		__field(int, slot)
		__field(u8, cdb0)
		__field(u32, len)
		__field(u32, imm)
		__field(u32, unsol)
		__field(u32, rkey)
	),
	TP_fast_assign(
		__entry->conn = conn;
		__entry->slot = task->itt;
		__entry->cdb0 = task->sc->cmnd[0];
		__entry->len = scsi_bufflen(task->sc);
		__entry->imm = task->imm_count;
		/* libiscsi does not clear it for others */
		__entry->unsol = task->sc->sc_data_direction == DMA_TO_DEVICE ?
				 task->unsol_r2t.data_length : 0;
		__entry->rkey = rkey;
	),
	TP_printk("conn %p slot %d op %#x len %u immediate %u unsolicited %u rkey %#x",
		  __entry->conn, __entry->slot, __entry->cdb0, __entry->len,
		  __entry->imm, __entry->unsol, __entry->rkey)
);

TRACE_EVENT(iser_send_control,
	TP_PROTO(const struct iser_conn *conn, const struct iscsi_hdr *hdr),
	TP_ARGS(conn, hdr),
	TP_STRUCT__entry(
		__field(const void *, conn)
		__field(u8, opcode)
		__field(u32, itt)
	),
	TP_fast_assign(
		__entry->conn = conn;
		__entry->opcode = hdr->opcode & ISCSI_OPCODE_MASK;
		__entry->itt = (__force u32)hdr->itt;
	),
	TP_printk("conn %p opcode %#x tag %#x", __entry->conn, __entry->opcode,
		  __entry->itt)
);

TRACE_EVENT(iser_recv,
	TP_PROTO(const struct iser_conn *conn, const struct iscsi_hdr *hdr,
		 u32 len, bool inval),
	TP_ARGS(conn, hdr, len, inval),
	TP_STRUCT__entry(
		__field(const void *, conn)
		__field(u8, opcode)
		__field(u32, itt)
		__field(u32, len)
		__field(bool, inval)
	),
	TP_fast_assign(
		__entry->conn = conn;
		__entry->opcode = hdr->opcode & ISCSI_OPCODE_MASK;
		__entry->itt = (__force u32)hdr->itt;
		__entry->len = len;
		__entry->inval = inval;
	),
	TP_printk("conn %p opcode %#x tag %#x len %u%s", __entry->conn,
		  __entry->opcode, __entry->itt, __entry->len,
		  __entry->inval ? " invalidates" : "")
);

TRACE_EVENT(iser_invalidated,
	TP_PROTO(const struct iser_conn *conn, int slot, u32 rkey, bool remote),
	TP_ARGS(conn, slot, rkey, remote),
	TP_STRUCT__entry(
		__field(const void *, conn)
		__field(int, slot)
		__field(u32, rkey)
		__field(bool, remote)
	),
	TP_fast_assign(
		__entry->conn = conn;
		__entry->slot = slot;
		__entry->rkey = rkey;
		__entry->remote = remote;
	),
	TP_printk("conn %p slot %d rkey %#x by the %s", __entry->conn,
		  __entry->slot, __entry->rkey,
		  __entry->remote ? "target" : "initiator")
);

TRACE_EVENT(iser_busy,
	TP_PROTO(const struct iser_conn *conn, int slot, int error),
	TP_ARGS(conn, slot, error),
	TP_STRUCT__entry(
		__field(const void *, conn)
		__field(int, slot)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->conn = conn;
		__entry->slot = slot;
		__entry->error = error;
	),
	TP_printk("conn %p slot %d busy: %s", __entry->conn, __entry->slot,
		  __print_symbolic(__entry->error,
				   { -EAGAIN, "send queue full" },
				   { -EBUSY, "no memory region free" },
				   { -ENOMEM, "memory can't be mapped now" }))
);

TRACE_EVENT(iser_wc_error,
	TP_PROTO(const struct iser_conn *conn, int status, u32 vendor_err),
	TP_ARGS(conn, status, vendor_err),
	TP_STRUCT__entry(
		__field(const void *, conn)
		__field(int, status)
		__field(u32, vendor_err)
	),
	TP_fast_assign(
		__entry->conn = conn;
		__entry->status = status;
		__entry->vendor_err = vendor_err;
	),
	TP_printk("conn %p status %d vendor error %#x", __entry->conn,
		  __entry->status, __entry->vendor_err)
);

#endif /* ISER_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
