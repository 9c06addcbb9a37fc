// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tables that open-iscsi and the SCSI layer call, and the callbacks that
 * make sessions and iSCSI connections.
 *
 * Normal operation: iscsid connects an endpoint, makes a session on it (with a
 * SCSI host of its own, whose limits are the device's), makes a connection,
 * binds, passes login PDUs through, sets what was negotiated, and starts it.
 *
 * Recovery: iscsid (or the kernel, if there is none) disconnects, stops, binds
 * another endpoint to the same connection and logs in again. Stop and destroy
 * see to it that the RDMA connection is torn down first, in whatever order
 * they are called.
 */
#include <linux/module.h>
#include <linux/dma-mapping.h>
#include <linux/sched/mm.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_host.h>
#include "iser.h"

static ISER_SHT_CONST struct scsi_host_template iser_sht;
static struct iscsi_transport iser_transport;
static struct scsi_transport_template *iser_scsi_transport;

/* Limits come from the device, as far as the administrator lets them */
static void iser_host_limits(struct Scsi_Host *shost, struct iser_conn *conn)
{
	struct iser_limits *lim = &conn->limits;

	shost->max_sectors = lim->sectors;
	shost->sg_tablesize = lim->mr_pages;
	shost->virt_boundary_mask = lim->virt_boundary;
	shost->max_segment_size = ib_dma_max_seg_size(conn->device);
	shost->max_cmd_len = ISER_MAX_CDB;
	shost->max_lun = iser_max_lun;
	shost->max_id = 0;
	shost->max_channel = 0;
}

static struct Scsi_Host *iser_host_create(struct iser_conn *conn,
					  u16 cmds_max, u16 qdepth)
{
	struct Scsi_Host *shost;
	int cmds;

	shost = iscsi_host_alloc(&iser_sht, sizeof(struct iser_host), false);
	if (!shost)
		return NULL;
	shost->transportt = iser_scsi_transport;
	iser_host_limits(shost, conn);

	shost->can_queue = conn->limits.cmds;
	/* What it takes for the limit of all tasks is one of commands */
	cmds = iscsi_host_get_max_scsi_cmds(shost,
					    min_t(unsigned int, cmds_max ?:
						  ISCSI_DEF_XMIT_CMDS_MAX,
						  conn->limits.cmds));
	if (cmds < 0)
		goto free_host;
	shost->can_queue = cmds;
	/* A signed short in the host: what iscsid cut to 16 bits need not fit */
	shost->cmd_per_lun = min_t(unsigned int, qdepth, cmds);
	if (iscsi_host_add(shost, NULL))
		goto free_host;
	/* The target has one of its own */
	shost->tag_set.flags |= BLK_MQ_F_NO_SCHED_BY_DEFAULT;
	return shost;

free_host:
	iscsi_host_free(shost);
	return NULL;
}

/* The endpoint is up and its device stays while its mutex is held */
static struct iscsi_cls_session *
iser_session_create_locked(struct iser_conn *conn, u16 cmds_max, u16 qdepth,
			   u32 initial_cmdsn)
{
	struct iscsi_cls_session *cls_session;
	struct iser_host *host;
	struct Scsi_Host *shost;

	if (!iser_conn_is_up(conn))
		return NULL;
	shost = iser_host_create(conn, cmds_max, qdepth);
	if (!shost) {
		iser_err(conn, "can't make a SCSI host for %u commands, of which %s can carry %u\n",
			 cmds_max, dev_name(&conn->device->dev),
			 conn->limits.cmds);
		return NULL;
	}
	cls_session = iscsi_session_setup(&iser_transport, shost,
					  shost->can_queue + ISCSI_MGMT_CMDS_MAX,
					  0, sizeof(struct iser_task),
					  initial_cmdsn, 0);
	if (!cls_session) {
		iser_err(conn, "no memory for a session of %u commands\n",
			 shost->can_queue);
		iscsi_host_remove(shost, false);
		iscsi_host_free(shost);
		return NULL;
	}
	host = iscsi_host_priv(shost);
	host->session = cls_session->dd_data;
	return cls_session;
}

static struct iscsi_cls_session *
iser_session_create(struct iscsi_endpoint *ep, u16 cmds_max, u16 qdepth,
		    u32 initial_cmdsn)
{
	struct iscsi_cls_session *cls_session;
	struct iser_conn *conn;

	if (!ep) {
		pr_err_ratelimited("iser: a session needs a connected endpoint; is iscsid older than 2.0-872?\n");
		return NULL;
	}
	conn = iser_ep_conn_get(ep);
	if (!conn)
		return NULL;
	mutex_lock(&conn->mutex);
	cls_session = iser_session_create_locked(conn, cmds_max, qdepth,
						 initial_cmdsn);
	mutex_unlock(&conn->mutex);
	iser_conn_put(conn);
	return cls_session;
}

/*
 * The session is last, and holds the host until then: it has the reference to
 * this module, and freeing a host can take a while.
 */
static void iser_session_destroy(struct iscsi_cls_session *cls_session)
{
	struct Scsi_Host *shost = iscsi_session_to_shost(cls_session);

	iscsi_session_remove(cls_session);
	iscsi_host_remove(shost, false);
	iscsi_host_free(shost);
	iscsi_session_free(cls_session);
}

static struct iscsi_cls_conn *
iser_conn_create(struct iscsi_cls_session *cls_session, u32 cid)
{
	return iscsi_conn_setup(cls_session, sizeof(struct iser_link), cid);
}

/* Take down what the iSCSI connection has borrowed, and give it back */
static void iser_unbind(struct iscsi_conn *iscsi)
{
	struct iser_conn *conn;

	spin_lock_bh(&iscsi->session->frwd_lock);
	conn = iser_link(iscsi)->conn;
	if (conn)
		kref_get(&conn->ref);
	spin_unlock_bh(&iscsi->session->frwd_lock);
	if (!conn)
		return;
	iser_conn_close(conn);
	iser_conn_unlink(iscsi);
	iser_conn_put(conn);
}

static void iser_conn_destroy(struct iscsi_cls_conn *cls_conn)
{
	iser_unbind(cls_conn->dd_data);
	iscsi_conn_teardown(cls_conn);
}

static int iser_transport_bind(struct iscsi_cls_session *cls_session,
			       struct iscsi_cls_conn *cls_conn, u64 ep_handle,
			       int is_leading)
{
	struct iscsi_endpoint *ep;
	struct iser_conn *conn;
	int err;

	err = iscsi_conn_bind(cls_session, cls_conn, is_leading);
	if (err)
		return err;
	ep = iscsi_lookup_endpoint(ep_handle);
	if (!ep)
		return -EINVAL;
	conn = iser_ep_conn_get(ep);
	iscsi_put_endpoint(ep);
	if (!conn)
		return -ENOTCONN;
	err = iser_conn_bind(conn, cls_conn->dd_data);
	iser_conn_put(conn);
	return err;
}

/* What only a session that moves data needs. Context: conn->mutex held. */
static int iser_start_full_feature(struct iser_conn *conn,
				   struct iscsi_conn *iscsi)
{
	struct iscsi_session *session = iscsi->session;
	int err;

	if (conn->discovery)
		return 0;
	if (!conn->rx_posted) {
		iser_err(conn, "started before a login has ended\n");
		return -EINVAL;
	}
	if (!iscsi->max_xmit_dlength) {
		iser_err(conn, "started without MaxXmitDataSegmentLength\n");
		return -EINVAL;
	}
	if (!session->initial_r2t_en) {
		err = iser_dataout_create(conn);
		if (err) {
			iser_err(conn, "no memory for unsolicited data\n");
			return err;
		}
	}
	/* With none at all nothing would ever move; with one it can grow */
	err = iser_mr_grow(conn, min_t(unsigned int, ISER_MR_FIRST,
				       conn->nr_slots));
	return conn->nr_mrs ? 0 : err;
}

/* Say what there is now. Context: may sleep. */
static void iser_announce(struct iser_conn *conn, struct iscsi_conn *iscsi)
{
	struct iscsi_session *session = iscsi->session;

	mutex_lock(&conn->mutex);
	if (iser_conn_is_up(conn) && !conn->discovery)
		iser_info(conn, "session with %s over iSER on %s port %u, from %pISc, %u commands\n",
			  session->targetname ?: "an unnamed target",
			  dev_name(&conn->device->dev), conn->cm_id->port_num,
			  &iser_link(iscsi)->local, session->scsi_cmds_max);
	mutex_unlock(&conn->mutex);
}

static int iser_conn_start(struct iscsi_cls_conn *cls_conn)
{
	struct iscsi_conn *iscsi = cls_conn->dd_data;
	struct iser_conn *conn = iser_link(iscsi)->conn;
	unsigned int noio;
	int err = -ENOTCONN;

	if (!conn)
		return -ENOTCONN;
	noio = memalloc_noio_save();
	mutex_lock(&conn->mutex);
	if (iser_conn_is_up(conn))
		err = iser_start_full_feature(conn, iscsi);
	WRITE_ONCE(conn->started, !err);
	mutex_unlock(&conn->mutex);
	memalloc_noio_restore(noio);
	err = err ?: iscsi_conn_start(cls_conn);
	if (!err)
		iser_announce(conn, iscsi);
	return err;
}

static void iser_conn_stop(struct iscsi_cls_conn *cls_conn, int flag)
{
	iser_unbind(cls_conn->dd_data);
	iscsi_conn_stop(cls_conn, flag);
}

/*
 * libiscsi hands a login response to iscsid before it has finished with the
 * login task, all under back_lock. A quick iscsid must not find it in use.
 */
static int iser_send_pdu(struct iscsi_cls_conn *cls_conn, struct iscsi_hdr *hdr,
			 char *data, u32 data_size)
{
	struct iscsi_conn *iscsi = cls_conn->dd_data;

	spin_lock_bh(&iscsi->session->back_lock);
	spin_unlock_bh(&iscsi->session->back_lock);
	return iscsi_conn_send_pdu(cls_conn, hdr, data, data_size);
}

/* Values that the data path divides by or relies on; libiscsi reads decimals */
static int iser_check_param(struct iscsi_conn *iscsi, enum iscsi_param param,
			    const char *buf)
{
	struct iscsi_cls_session *cls = iscsi->session->cls_session;
	int value;

	switch (param) {
	case ISCSI_PARAM_HDRDGST_EN:
	case ISCSI_PARAM_DATADGST_EN:
	case ISCSI_PARAM_IFMARKER_EN:
	case ISCSI_PARAM_OFMARKER_EN:
		if (!kstrtoint(buf, 10, &value) && !value)
			return 0;
		iscsi_cls_session_printk(KERN_ERR, cls,
					 "iser: the target insists on digests or markers, which iSER does not have: set HeaderDigest and DataDigest to None\n");
		return -EPROTO;
	case ISCSI_PARAM_MAX_RECV_DLENGTH:
	case ISCSI_PARAM_MAX_XMIT_DLENGTH:
	case ISCSI_PARAM_FIRST_BURST:
	case ISCSI_PARAM_MAX_BURST:
		if (!kstrtoint(buf, 10, &value) && value > 0)
			return 0;
		iscsi_cls_session_printk(KERN_ERR, cls,
					 "iser: parameter %d is %s, must be a positive number\n",
					 param, buf);
		return -EINVAL;
	default:
		return 0;
	}
}

static int iser_set_param(struct iscsi_cls_conn *cls_conn,
			  enum iscsi_param param, char *buf, int buflen)
{
	int err = iser_check_param(cls_conn->dd_data, param, buf);

	return err ?: iscsi_set_param(cls_conn, param, buf, buflen);
}

static int iser_get_conn_param(struct iscsi_cls_conn *cls_conn,
			       enum iscsi_param param, char *buf)
{
	struct iscsi_conn *iscsi = cls_conn->dd_data;
	struct sockaddr_storage local;

	if (param != ISCSI_PARAM_LOCAL_PORT)
		return iscsi_conn_get_param(cls_conn, param, buf);
	spin_lock_bh(&iscsi->session->frwd_lock);
	local = iser_link(iscsi)->local;
	spin_unlock_bh(&iscsi->session->frwd_lock);
	return iscsi_conn_get_addr_param(&local, param, buf);
}

static int iser_get_ep_param(struct iscsi_endpoint *ep, enum iscsi_param param,
			     char *buf)
{
	struct iser_conn *conn = ep->dd_data;

	return iscsi_conn_get_addr_param(&conn->remote, param, buf);
}

static int iser_get_host_param(struct Scsi_Host *shost,
			       enum iscsi_host_param param, char *buf)
{
	struct iser_host *host = iscsi_host_priv(shost);
	struct sockaddr_storage local = {};

	if (param != ISCSI_HOST_PARAM_IPADDRESS)
		return iscsi_host_get_param(shost, param, buf);
	if (!host->session)
		return -ENOTCONN;
	spin_lock_bh(&host->session->frwd_lock);
	if (host->session->leadconn)
		local = iser_link(host->session->leadconn)->local;
	spin_unlock_bh(&host->session->frwd_lock);
	if (!local.ss_family)
		return -ENOTCONN;
	return iscsi_conn_get_addr_param(&local, (enum iscsi_param)param, buf);
}

static umode_t iser_host_attr_is_visible(int param)
{
	switch (param) {
	case ISCSI_HOST_PARAM_NETDEV_NAME:
	case ISCSI_HOST_PARAM_HWADDRESS:
	case ISCSI_HOST_PARAM_INITIATOR_NAME:
	case ISCSI_HOST_PARAM_IPADDRESS:
		return 0444;
	default:
		return 0;
	}
}

static umode_t iser_conn_attr_is_visible(int param)
{
	switch (param) {
	case ISCSI_PARAM_MAX_RECV_DLENGTH:
	case ISCSI_PARAM_MAX_XMIT_DLENGTH:
	case ISCSI_PARAM_HDRDGST_EN:
	case ISCSI_PARAM_DATADGST_EN:
	case ISCSI_PARAM_CONN_ADDRESS:
	case ISCSI_PARAM_CONN_PORT:
	case ISCSI_PARAM_LOCAL_PORT:
	case ISCSI_PARAM_EXP_STATSN:
	case ISCSI_PARAM_PERSISTENT_ADDRESS:
	case ISCSI_PARAM_PERSISTENT_PORT:
	case ISCSI_PARAM_PING_TMO:
	case ISCSI_PARAM_RECV_TMO:
	case ISCSI_PARAM_INITIAL_R2T_EN:
	case ISCSI_PARAM_MAX_R2T:
	case ISCSI_PARAM_IMM_DATA_EN:
	case ISCSI_PARAM_FIRST_BURST:
	case ISCSI_PARAM_MAX_BURST:
	case ISCSI_PARAM_PDU_INORDER_EN:
	case ISCSI_PARAM_DATASEQ_INORDER_EN:
	case ISCSI_PARAM_ERL:
	case ISCSI_PARAM_TARGET_NAME:
	case ISCSI_PARAM_TPGT:
	case ISCSI_PARAM_USERNAME:
	case ISCSI_PARAM_PASSWORD:
	case ISCSI_PARAM_USERNAME_IN:
	case ISCSI_PARAM_PASSWORD_IN:
	case ISCSI_PARAM_FAST_ABORT:
	case ISCSI_PARAM_ABORT_TMO:
	case ISCSI_PARAM_LU_RESET_TMO:
	case ISCSI_PARAM_TGT_RESET_TMO:
	case ISCSI_PARAM_IFACE_NAME:
	case ISCSI_PARAM_INITIATOR_NAME:
	case ISCSI_PARAM_DISCOVERY_SESS:
		return 0444;
	default:
		return 0;
	}
}

static umode_t iser_attr_is_visible(int param_type, int param)
{
	switch (param_type) {
	case ISCSI_HOST_PARAM:
		return iser_host_attr_is_visible(param);
	case ISCSI_PARAM:
		return iser_conn_attr_is_visible(param);
	default:
		return 0;
	}
}

/*
 * Without this the SCSI layer would clear before each command what libiscsi
 * sets for each; a command that is new is clear already
 */
static int iser_init_cmd_priv(struct Scsi_Host *shost, struct scsi_cmnd *sc)
{
	return 0;
}

static ISER_SHT_CONST struct scsi_host_template iser_sht = {
	.module			= THIS_MODULE,
	.name			= "iSCSI Initiator over iSER",
	.proc_name		= "iscsi_iser",
	.queuecommand		= iscsi_queuecommand,
	.commit_rqs		= iser_commit_rqs,
	.change_queue_depth	= scsi_change_queue_depth,
	.eh_timed_out		= iscsi_eh_cmd_timed_out,
	.eh_abort_handler	= iser_eh_abort,
	.eh_device_reset_handler = iser_eh_device_reset,
	.eh_target_reset_handler = iser_eh_target_reset,
	.cmd_size		= sizeof(struct iscsi_cmd),
	.init_cmd_priv		= iser_init_cmd_priv,
	.cmd_per_lun		= ISCSI_DEF_CMD_PER_LUN,
	.this_id		= -1,
	.track_queue_depth	= 1,
};

static struct iscsi_transport iser_transport = {
	.owner			= THIS_MODULE,
	.name			= "iser",
	.caps			= CAP_RECOVERY_L0 | CAP_MULTI_R2T |
				  CAP_TEXT_NEGO,
	.create_session		= iser_session_create,
	.destroy_session	= iser_session_destroy,
	.create_conn		= iser_conn_create,
	.bind_conn		= iser_transport_bind,
	.unbind_conn		= iscsi_conn_unbind,
	.start_conn		= iser_conn_start,
	.stop_conn		= iser_conn_stop,
	.destroy_conn		= iser_conn_destroy,
	.attr_is_visible	= iser_attr_is_visible,
	.set_param		= iser_set_param,
	.get_conn_param		= iser_get_conn_param,
	.get_ep_param		= iser_get_ep_param,
	.get_session_param	= iscsi_session_get_param,
	.get_host_param		= iser_get_host_param,
	.set_host_param		= iscsi_host_set_param,
	.send_pdu		= iser_send_pdu,
	.get_stats		= iser_get_stats,
	.alloc_pdu		= iser_alloc_pdu,
	.init_task		= iser_init_task,
	.xmit_task		= iser_xmit_task,
	.cleanup_task		= iser_cleanup_task,
	.parse_pdu_itt		= iser_parse_pdu_itt,
	.session_recovery_timedout = iscsi_session_recovery_timedout,
	.ep_connect		= iser_ep_connect,
	.ep_poll		= iser_ep_poll,
	.ep_disconnect		= iser_ep_disconnect,
};

/**
 * iser_transport_register - offer "iser" to open-iscsi
 *
 * Context: may sleep.
 * Return: 0 or a negative errno.
 */
int iser_transport_register(void)
{
	iser_scsi_transport = iscsi_register_transport(&iser_transport);
	return iser_scsi_transport ? 0 : -ENOMEM;
}

/**
 * iser_transport_unregister - withdraw it; no session is left
 *
 * Context: may sleep.
 */
void iser_transport_unregister(void)
{
	iscsi_unregister_transport(&iser_transport);
}
