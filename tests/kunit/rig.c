// SPDX-License-Identifier: GPL-2.0-only
/*
 * A session of the driver's over a fake adapter. See rig.h.
 *
 * Normal operation: one adapter for each suite, one session for each test.
 * Commands are made by hand and look to the SCSI layer like those of a reset
 * ioctl, so completing one does nothing but take it from libiscsi.
 *
 * Recovery: rig_exit() runs after every test, also one that was given up in
 * the middle, and takes down what there is in the order in which iscsid does.
 */
#include <linux/net.h>
#include <linux/netlink.h>
#include <net/sock.h>
#include <scsi/libiscsi.h>
#include <scsi/scsi_tcq.h>
#include "rig.h"

static struct fake_adapter *rig_fake;

/**
 * rig_suite_init - plug in the adapter
 * @suite: suite
 *
 * Return: 0 or -ENODEV.
 */
int rig_suite_init(struct kunit_suite *suite)
{
	rig_fake = fake_adapter_create();
	return rig_fake ? 0 : -ENODEV;
}

/**
 * rig_suite_exit - pull it out
 * @suite: suite
 */
void rig_suite_exit(struct kunit_suite *suite)
{
	if (rig_fake)
		fake_adapter_destroy(rig_fake);
	rig_fake = NULL;
}

/**
 * rig_adapter - the suite's adapter, for tests without a session
 */
struct fake_adapter *rig_adapter(void)
{
	return rig_fake;
}

/* iscsid's end of the netlink: without one, login PDUs can't be delivered */
static void rig_listen(struct rig *rig)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = 1 };

	KUNIT_ASSERT_EQ(rig->test, 0,
			sock_create_kern(&init_net, AF_NETLINK, SOCK_RAW,
					 NETLINK_ISCSI, &rig->iscsid));
	KUNIT_ASSERT_EQ(rig->test, 0,
			kernel_bind(rig->iscsid, (void *)&addr,
				    sizeof(addr)));
}

static void rig_set_attrs(struct rig *rig, const struct rig_params *params)
{
	struct ib_device_attr *attr = &rig->fake->ib.attrs;

	if (params->wrs)
		attr->max_qp_wr = params->wrs;
	if (params->send_sges)
		attr->max_send_sge = params->send_sges;
	if (params->pages)
		attr->max_fast_reg_page_list_len = params->pages;
	if (params->gaps)
		attr->kernel_cap_flags |= IBK_SG_GAPS_REG;
}

/* What ep_connect() and the connection manager's events do */
static void rig_connect(struct rig *rig, enum rig_stage stop_at)
{
	const struct sockaddr_in portal = {
		.sin_family = AF_INET,
		.sin_port = htons(3260),
		.sin_addr.s_addr = htonl(0xc0000201),
	};
	struct kunit *test = rig->test;
	struct iser_conn *conn;
	int err;

	conn = reach_conn_alloc((const struct sockaddr *)&portal);
	KUNIT_ASSERT_NOT_NULL(test, conn);
	conn->cm_id = rdma_create_id(&init_net, reach_cm_handler, conn,
				     RDMA_PS_TCP, IB_QPT_RC);
	KUNIT_ASSERT_FALSE(test, IS_ERR(conn->cm_id));
	conn->cm_id->device = &rig->fake->ib;
	conn->cm_id->port_num = 1;
	rig->ep = iscsi_create_endpoint(0);
	conn->ep = rig->ep;
	reach_conn_publish(conn);
	rig->conn = conn;
	if (stop_at == RIG_RESOLVING)
		return;

	mutex_lock(&conn->mutex);
	err = iser_verbs_create(conn);
	mutex_unlock(&conn->mutex);
	KUNIT_ASSERT_EQ(test, 0, err);
	if (stop_at == RIG_RESOLVED)
		return;
	KUNIT_ASSERT_TRUE(test, reach_set_state(conn, ISER_CONNECTING, 0));
	if (stop_at == RIG_CONNECTING)
		return;
	KUNIT_ASSERT_TRUE(test, reach_set_state(conn, ISER_UP, 0));
	complete_all(&conn->settled);
}

/**
 * rig_reconnect - iscsid connects once more for a session that there is
 * @rig: rig, not bound
 * @stop_at: how far up, %RIG_UP at most
 */
void rig_reconnect(struct rig *rig, enum rig_stage stop_at)
{
	rig_disconnect(rig);
	rig_settle();
	rig_connect(rig, stop_at);
}

/* The disk that commands are sent to is not in any tree of devices */
static void rig_add_disk(struct rig *rig)
{
	struct kunit *test = rig->test;

	rig->starget = kunit_kzalloc(test, sizeof(*rig->starget), GFP_KERNEL);
	rig->sdev = kunit_kzalloc(test, sizeof(*rig->sdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, rig->starget);
	KUNIT_ASSERT_NOT_NULL(test, rig->sdev);
	rig->starget->dev.parent = &rig->session->cls_session->dev;
	rig->sdev->sdev_gendev.parent = &rig->starget->dev;
	rig->sdev->sdev_target = rig->starget;
	rig->sdev->host = rig->shost;
	rig->sdev->lun = 5;
}

static void rig_add_session(struct rig *rig, const struct rig_params *params)
{
	struct iscsi_transport *tt = reach_transport();
	struct iscsi_cls_session *cls_session;
	struct iscsi_cls_conn *cls_conn;
	struct kunit *test = rig->test;

	cls_session = tt->create_session(rig->ep, params->tasks ?: 32, 32, 1);
	KUNIT_ASSERT_NOT_NULL(test, cls_session);
	rig->session = cls_session->dd_data;
	rig->shost = rig->session->host;
	cls_conn = tt->create_conn(cls_session, 0);
	KUNIT_ASSERT_NOT_NULL(test, cls_conn);
	rig->iscsi = cls_conn->dd_data;
	rig_add_disk(rig);

	rig->session->imm_data_en = !params->no_imm;
	rig->session->initial_r2t_en = !params->unsolicited;
	rig->session->first_burst = params->first_burst ?: 65536;
	rig->session->max_burst = 262144;
	rig->session->abort_timeout = 10;
	rig->session->lu_reset_timeout = 10;
	rig->iscsi->max_xmit_dlength = params->max_xmit ?: 8192;
	rig->iscsi->max_recv_dlength = 262144;
}

/**
 * rig_bind - lend the session the connection
 * @rig: rig
 *
 * Return: what the driver returns.
 */
int rig_bind(struct rig *rig)
{
	return reach_transport()->bind_conn(rig->session->cls_session,
					    rig->iscsi->cls_conn, rig->ep->id,
					    1);
}

static void rig_ask_for_login(struct rig *rig, const char *keys)
{
	KUNIT_ASSERT_EQ(rig->test, 0,
			rig_send_pdu(rig, ISCSI_OP_LOGIN | ISCSI_OP_IMMEDIATE,
				     ISCSI_FLAG_LOGIN_TRANSIT |
				     ISCSI_FULL_FEATURE_PHASE, 0, keys,
				     strlen(keys) + 1));
	fake_complete_sends(rig->fake);
}

static void rig_grant_login(struct rig *rig)
{
	struct rig_pdu pdu = {
		.opcode = ISCSI_OP_LOGIN_RSP,
		.flags = ISCSI_FLAG_LOGIN_TRANSIT | ISCSI_FULL_FEATURE_PHASE,
	};
	struct iser_slot *slot;

	slot = &rig->conn->slots[rig->iscsi->login_task->itt];
	pdu.itt = iser_slot_hdr(slot)->itt;
	rig_receive(rig, &pdu);
	KUNIT_ASSERT_TRUE(rig->test, iser_conn_is_up(rig->conn));
}

/**
 * rig_create - a session, as far up as wanted
 * @test: test
 * @params: what is to be different
 *
 * Return: the rig; the test has failed if there is none.
 */
struct rig *rig_create(struct kunit *test, const struct rig_params *params)
{
	enum rig_stage stop_at = params->stop_at;
	struct rig *rig = kunit_kzalloc(test, sizeof(*rig), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, rig);
	test->priv = rig;
	rig->test = test;
	rig->fake = rig_fake;
	fake_adapter_forget(rig->fake);
	rig_set_attrs(rig, params);
	rig_listen(rig);
	rig_connect(rig, stop_at);
	if (stop_at && stop_at <= RIG_UP)
		return rig;
	rig_add_session(rig, params);
	if (stop_at == RIG_UNBOUND)
		return rig;
	KUNIT_ASSERT_EQ(test, 0, rig_bind(rig));
	if (stop_at == RIG_BOUND)
		return rig;
	rig_ask_for_login(rig, "SessionType=Normal");
	if (stop_at == RIG_LOGGING_IN)
		return rig;
	rig_grant_login(rig);
	if (stop_at == RIG_LOGGED_IN)
		return rig;
	rig_start(rig);
	return rig;
}

/**
 * rig_login - go through a login of one exchange
 * @rig: rig
 * @keys: one key=value pair
 */
void rig_login(struct rig *rig, const char *keys)
{
	rig_ask_for_login(rig, keys);
	rig_grant_login(rig);
}

/**
 * rig_start - begin full-feature phase, and forget what was posted to get here
 * @rig: rig, logged in
 */
void rig_start(struct rig *rig)
{
	struct iscsi_cls_conn *cls_conn = rig->iscsi->cls_conn;

	KUNIT_ASSERT_EQ(rig->test, 0, reach_transport()->start_conn(cls_conn));
	rig->fake->nr_sends = 0;
	rig->fake->doorbells = 0;
}

/**
 * rig_disconnect - iscsid takes the connection down
 * @rig: rig
 */
void rig_disconnect(struct rig *rig)
{
	struct iscsi_endpoint *ep = rig->ep;

	rig->ep = NULL;
	rig->conn = NULL;
	reach_transport()->ep_disconnect(ep);
}

/**
 * rig_settle - wait until the driver's work items have run
 */
void rig_settle(void)
{
	flush_workqueue(iser_wq);
}

/**
 * rig_told - what iscsid was told of the connection since it was last asked
 * @rig: rig
 *
 * Return: an enum iscsi_err; 0 for nothing.
 */
int rig_told(struct rig *rig)
{
	struct {
		struct nlmsghdr nlh;
		struct iscsi_uevent ev;
	} msg;
	struct kvec vec = { &msg, sizeof(msg) };
	struct msghdr hdr = {};
	int told = 0;

	while (kernel_recvmsg(rig->iscsid, &hdr, &vec, 1, sizeof(msg),
			      MSG_DONTWAIT) > 0)
		if (msg.ev.type == ISCSI_KEVENT_CONN_ERROR)
			told = msg.ev.r.connerror.error;
	return told;
}

static void rig_destroy_session(struct rig *rig)
{
	struct iscsi_transport *tt = reach_transport();

	if (rig->iscsi) {
		struct iscsi_cls_conn *cls_conn = rig->iscsi->cls_conn;

		tt->stop_conn(cls_conn, STOP_CONN_TERM);
		tt->destroy_conn(cls_conn);
	}
	if (rig->session)
		tt->destroy_session(rig->session->cls_session);
}

/**
 * rig_exit - take everything down
 * @test: test
 */
void rig_exit(struct kunit *test)
{
	struct rig *rig = test->priv;

	if (!rig)
		return;
	test->priv = NULL;
	if (rig->ep)
		rig_disconnect(rig);
	rig_destroy_session(rig);
	rig_settle();
	if (rig->iscsid)
		sock_release(rig->iscsid);
	KUNIT_EXPECT_EQ_MSG(test, 0, rig->fake->mapped, "mappings are left");
	KUNIT_EXPECT_EQ_MSG(test, 0, rig->fake->mrs, "MRs are left");
	KUNIT_EXPECT_EQ_MSG(test, 0, rig->fake->qps, "queue pairs are left");
	KUNIT_EXPECT_EQ_MSG(test, 0, rig->fake->pds, "PDs are left");
	KUNIT_EXPECT_EQ_MSG(test, 0, rig->fake->changed,
			    "Sends changed before they completed");
}

struct rig_block {
	struct page *pages;
	unsigned int order;
};

static void rig_free_pages(void *block)
{
	__free_pages(((struct rig_block *)block)->pages,
		     ((struct rig_block *)block)->order);
}

/* Adjacent pages, given back when the test is over */
static struct page *rig_alloc_pages(struct kunit *test, unsigned int nr)
{
	struct rig_block *block = kunit_kzalloc(test, sizeof(*block),
						GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, block);
	block->order = get_order(nr * PAGE_SIZE);
	block->pages = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_COMP,
				   block->order);
	KUNIT_ASSERT_NOT_NULL(test, block->pages);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, rig_free_pages, block));
	return block->pages;
}

/**
 * rig_command - make a command
 * @rig: rig
 * @dir: direction of the data
 * @segs: scatter list, each element in a page of its own, pages adjacent
 * @nr: elements in it, 0 for a command without data
 *
 * Return: the command, not queued; freed when the test is over.
 */
struct scsi_cmnd *rig_command(struct rig *rig, enum dma_data_direction dir,
			      const struct rig_seg *segs, unsigned int nr)
{
	struct kunit *test = rig->test;
	struct scatterlist *sgl;
	struct scsi_cmnd *sc;
	struct request *rq;
	struct page *pages;
	unsigned int i;

	/* A command lies between its request and what libiscsi keeps of it */
	rq = kunit_kzalloc(test, sizeof(*rq) + sizeof(*sc) +
			   sizeof(struct iscsi_cmd), GFP_KERNEL);
	sgl = kunit_kcalloc(test, max(nr, 1u), sizeof(*sgl), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, rq);
	KUNIT_ASSERT_NOT_NULL(test, sgl);
	sc = blk_mq_rq_to_pdu(rq);
	sc->sense_buffer = kunit_kzalloc(test, SCSI_SENSE_BUFFERSIZE,
					 GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, sc->sense_buffer);
	sc->submitter = SUBMITTED_BY_SCSI_RESET_IOCTL;
	sc->device = rig->sdev;
	sc->sc_data_direction = dir;
	sc->flags = SCMD_LAST;
	sc->cmd_len = 10;
	sc->cmnd[0] = dir == DMA_TO_DEVICE ? WRITE_10 :
		      dir == DMA_FROM_DEVICE ? READ_10 : TEST_UNIT_READY;
	if (!nr)
		return sc;

	pages = rig_alloc_pages(test, nr);
	sg_init_table(sgl, nr);
	for (i = 0; i < nr; i++) {
		sg_set_page(&sgl[i], pages + i, segs[i].len, segs[i].offset);
		sc->sdb.length += segs[i].len;
	}
	sc->sdb.table.sgl = sgl;
	sc->sdb.table.nents = nr;
	sc->sdb.table.orig_nents = nr;
	return sc;
}

/**
 * rig_pages - make a command with whole pages, but for the last
 * @rig: rig
 * @dir: direction of the data
 * @len: bytes
 *
 * Return: the command, not queued.
 */
struct scsi_cmnd *rig_pages(struct rig *rig, enum dma_data_direction dir,
			    unsigned int len)
{
	unsigned int i, nr = DIV_ROUND_UP(len, PAGE_SIZE);
	struct rig_seg *segs;

	segs = kunit_kcalloc(rig->test, max(nr, 1u), sizeof(*segs), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(rig->test, segs);
	for (i = 0; i < nr; i++, len -= segs[i - 1].len)
		segs[i].len = min_t(unsigned int, len, PAGE_SIZE);
	return rig_command(rig, dir, segs, nr);
}

/**
 * rig_queue - the SCSI layer queues a command
 * @rig: rig
 * @sc: command
 *
 * Return: what libiscsi says, 0 if it has taken it.
 */
int rig_queue(struct rig *rig, struct scsi_cmnd *sc)
{
	return rig->shost->hostt->queuecommand(rig->shost, sc);
}

/**
 * rig_send - make a command and queue it
 * @rig: rig
 * @dir: direction of the data
 * @len: bytes, in whole pages but for the last
 *
 * Return: the command.
 */
struct scsi_cmnd *rig_send(struct rig *rig, enum dma_data_direction dir,
			   unsigned int len)
{
	struct scsi_cmnd *sc = rig_pages(rig, dir, len);

	/* Several in a row must not have to wait for MRs to be made */
	flush_delayed_work(&rig->conn->mr_grow);
	KUNIT_ASSERT_EQ(rig->test, 0, rig_queue(rig, sc));
	return sc;
}

/**
 * rig_task - libiscsi's task for a command
 * @sc: command
 *
 * Return: NULL when the command is finished.
 */
struct iscsi_task *rig_task(struct scsi_cmnd *sc)
{
	return iscsi_cmd(sc)->task;
}

/**
 * rig_send_pdu - iscsid, or libiscsi, sends a PDU that is no command
 * @rig: rig
 * @opcode: opcode
 * @flags: second octet
 * @itt: RESERVED_ITT if no response is expected, else anything
 * @data: data segment
 * @len: bytes in it
 *
 * A login or text request has been posted, too, when this returns.
 *
 * Return: 0 or a negative errno.
 */
int rig_send_pdu(struct rig *rig, u8 opcode, u8 flags, itt_t itt,
		 const char *data, unsigned int len)
{
	struct iscsi_hdr hdr = { .opcode = opcode, .flags = flags, .itt = itt };
	int err;

	hton24(hdr.dlength, len);
	err = reach_transport()->send_pdu(rig->iscsi->cls_conn, &hdr,
					  (char *)data, len);
	if (rig->conn)
		flush_delayed_work(&rig->conn->login_bell);
	return err;
}

/**
 * rig_receive - the target sends a PDU
 * @rig: rig
 * @pdu: PDU
 */
void rig_receive(struct rig *rig, const struct rig_pdu *pdu)
{
	unsigned int len = ISER_HEADERS_LEN + ALIGN(pdu->len, ISCSI_PAD_LEN);
	struct iscsi_scsi_rsp *rsp;
	struct iser_ctrl *ctrl;

	ctrl = kunit_kzalloc(rig->test, len, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(rig->test, ctrl);
	iser_ctrl_init(ctrl);
	rsp = (struct iscsi_scsi_rsp *)(ctrl + 1);
	rsp->opcode = pdu->opcode;
	rsp->flags = pdu->flags | ISCSI_FLAG_CMD_FINAL;
	rsp->response = pdu->reason;
	rsp->cmd_status = pdu->status;
	rsp->itt = pdu->itt;
	hton24(rsp->dlength, pdu->len);
	if (pdu->opcode == ISCSI_OP_NOOP_IN)
		((struct iscsi_nopin *)rsp)->ttt =
			cpu_to_be32(pdu->ttt ?: ISCSI_RESERVED_TAG);
	rsp->statsn = cpu_to_be32(++rig->statsn);
	rsp->exp_cmdsn = cpu_to_be32(rig->session->cmdsn);
	rsp->max_cmdsn = cpu_to_be32(rig->session->cmdsn + 1024);
	if (pdu->opcode == ISCSI_OP_SCSI_CMD_RSP)
		rsp->residual_count = cpu_to_be32(pdu->residual);
	memcpy(rsp + 1, pdu->data, pdu->len);
	KUNIT_ASSERT_TRUE_MSG(rig->test,
			      fake_receive(rig->fake, ctrl, len,
					   pdu->invalidates),
			      "no receive for %u bytes", len);
	kunit_kfree(rig->test, ctrl);
}

/**
 * rig_answer - the target answers a command: it went well
 * @rig: rig
 * @sc: command
 * @invalidates: key that the response invalidates, or NULL
 */
void rig_answer(struct rig *rig, struct scsi_cmnd *sc, const u32 *invalidates)
{
	struct rig_pdu pdu = {
		.opcode = ISCSI_OP_SCSI_CMD_RSP,
		.invalidates = invalidates,
	};

	KUNIT_ASSERT_FALSE_MSG(rig->test, finished(sc), "not answered yet");
	pdu.itt = rig_task(sc)->hdr->itt;
	rig_receive(rig, &pdu);
}
