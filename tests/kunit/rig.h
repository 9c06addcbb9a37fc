/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A session of the driver's over a fake adapter, as far up as a test wants it.
 *
 * Everything but the adapter and the target is real: endpoint, SCSI host,
 * iSCSI session and connection are made through the tables that the driver
 * registers, PDUs are built and completed by libiscsi. The connection manager
 * is not asked: the rig takes the connection through its states.
 *
 * A suite that uses rigs sets .suite_init, .suite_exit, and .exit to the
 * functions below. .exit takes everything down, however a test has ended.
 */
#ifndef ISER_KUNIT_RIG_H
#define ISER_KUNIT_RIG_H

#include <kunit/test.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_host.h>
#include "adapter.h"
#include "reach.h"

/*
 * How far up a rig is taken; RIG_RESOLVED has its queues, RIG_UNBOUND a session
 * that rig_bind() is still to have, RIG_LOGGING_IN no answer yet
 */
enum rig_stage {
	RIG_STARTED,
	RIG_RESOLVING,
	RIG_RESOLVED,
	RIG_CONNECTING,
	RIG_UP,
	RIG_UNBOUND,
	RIG_BOUND,
	RIG_LOGGING_IN,
	RIG_LOGGED_IN,
};

/**
 * struct rig_params - what a test wants otherwise than usual; 0 is the usual
 * @stop_at: how far up; all the way
 * @tasks: tasks of the session, a power of two; 32
 * @wrs: depth of the adapter's queues; 512
 * @send_sges: its gather elements; 16
 * @pages: its page list length; 512
 * @gaps: it takes any scatter list
 * @no_imm: ImmediateData=No
 * @unsolicited: InitialR2T=No
 * @first_burst: FirstBurstLength; 65536
 * @max_xmit: MaxRecvDataSegmentLength of the target; 8192
 */
struct rig_params {
	enum rig_stage stop_at;
	unsigned int tasks;
	unsigned int wrs;
	unsigned int send_sges;
	unsigned int pages;
	bool gaps;
	bool no_imm;
	bool unsolicited;
	unsigned int first_burst;
	unsigned int max_xmit;
};

/**
 * struct rig - the session
 * @test: whose it is
 * @fake: adapter
 * @conn: the driver's connection
 * @ep: its endpoint, NULL once it was disconnected
 * @session: iSCSI session
 * @iscsi: iSCSI connection
 * @shost: SCSI host
 * @sdev: what commands are sent to; known to nobody but the rig
 * @starget: its parent
 * @iscsid: takes what the kernel tells iscsid
 * @statsn: of the next response
 */
struct rig {
	struct kunit *test;
	struct fake_adapter *fake;
	struct iser_conn *conn;
	struct iscsi_endpoint *ep;
	struct iscsi_session *session;
	struct iscsi_conn *iscsi;
	struct Scsi_Host *shost;
	struct scsi_device *sdev;
	struct scsi_target *starget;
	struct socket *iscsid;
	u32 statsn;
};

int rig_suite_init(struct kunit_suite *suite);
void rig_suite_exit(struct kunit_suite *suite);
void rig_exit(struct kunit *test);

struct fake_adapter *rig_adapter(void);
struct rig *rig_create(struct kunit *test, const struct rig_params *params);

/* A rig, with what is to be different: rig_make(test, .gaps = true) */
#define rig_make(test, ...) \
	rig_create(test, &(const struct rig_params){ __VA_ARGS__ })

void rig_reconnect(struct rig *rig, enum rig_stage stop_at);
int rig_bind(struct rig *rig);
void rig_login(struct rig *rig, const char *keys);
void rig_start(struct rig *rig);
void rig_disconnect(struct rig *rig);
void rig_settle(void);
int rig_told(struct rig *rig);

/* The part of a scatter list that begins at an offset into a page */
struct rig_seg {
	unsigned int offset;
	unsigned int len;
};

struct scsi_cmnd *rig_command(struct rig *rig, enum dma_data_direction dir,
			      const struct rig_seg *segs, unsigned int nr);
struct scsi_cmnd *rig_pages(struct rig *rig, enum dma_data_direction dir,
			    unsigned int len);
int rig_queue(struct rig *rig, struct scsi_cmnd *sc);
struct scsi_cmnd *rig_send(struct rig *rig, enum dma_data_direction dir,
			   unsigned int len);
struct iscsi_task *rig_task(struct scsi_cmnd *sc);
int rig_send_pdu(struct rig *rig, u8 opcode, u8 flags, itt_t itt,
		 const char *data, unsigned int len);

/**
 * struct rig_pdu - what the target answers
 * @opcode: opcode
 * @flags: second octet
 * @itt: task tag
 * @reason: third octet
 * @status: SCSI status, fourth octet
 * @ttt: target transfer tag of a ping, 0 if it wants no answer
 * @residual: residual count
 * @data: data segment
 * @len: bytes in it
 * @invalidates: the key that the message invalidates, or NULL
 */
struct rig_pdu {
	u8 opcode;
	u8 flags;
	itt_t itt;
	u8 reason;
	u8 status;
	u32 ttt;
	u32 residual;
	const void *data;
	unsigned int len;
	const u32 *invalidates;
};

void rig_receive(struct rig *rig, const struct rig_pdu *pdu);
void rig_answer(struct rig *rig, struct scsi_cmnd *sc, const u32 *invalidates);

/* What went over the wire with a Send */
static inline struct iser_ctrl *sent_ctrl(struct fake_send *send)
{
	return (struct iser_ctrl *)send->head;
}

static inline struct iscsi_scsi_req *sent_req(struct fake_send *send)
{
	return (struct iscsi_scsi_req *)(send->head + sizeof(struct iser_ctrl));
}

static inline bool signalled(const struct fake_send *send)
{
	return send->wr.send_flags & IB_SEND_SIGNALED;
}

/* libiscsi is done with the command, and has given it back */
static inline bool finished(struct scsi_cmnd *sc)
{
	return !rig_task(sc);
}

#endif /* ISER_KUNIT_RIG_H */
