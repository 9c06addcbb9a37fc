// SPDX-License-Identifier: GPL-2.0-only
/*
 * What iscsiadm --stats shows.
 *
 * Normal operation: the protocol counters are libiscsi's; the custom ones are
 * the connection's own, but for the aborts, which are the session's. The
 * connection's start again with every connection, as its objects do. Recovery:
 * without a connection, they read zero.
 */
#include <linux/string.h>
#include "iser.h"

static void iser_add_stat(struct iscsi_stats *stats, const char *name,
			  u64 value)
{
	struct iscsi_stats_custom *custom = &stats->custom[stats->custom_length];

	strscpy(custom->desc, name, sizeof(custom->desc));
	custom->value = value;
	stats->custom_length++;
}

/**
 * iser_get_stats - counters of a connection
 * @cls_conn: iSCSI connection
 * @stats: filled in; has room for %ISCSI_STATS_CUSTOM_MAX custom counters
 *
 * Context: may sleep.
 */
void iser_get_stats(struct iscsi_cls_conn *cls_conn, struct iscsi_stats *stats)
{
	struct iscsi_conn *iscsi = cls_conn->dd_data;
	struct iser_stats own = {};
	unsigned int mrs = 0;

	spin_lock_bh(&iscsi->session->frwd_lock);
	if (iser_link(iscsi)->conn) {
		own = iser_link(iscsi)->conn->stats;
		mrs = iser_link(iscsi)->conn->nr_mrs;
	}
	spin_unlock_bh(&iscsi->session->frwd_lock);

	stats->txdata_octets = iscsi->txdata_octets;
	stats->rxdata_octets = iscsi->rxdata_octets;
	stats->scsicmd_pdus = iscsi->scsicmd_pdus_cnt;
	stats->dataout_pdus = iscsi->dataout_pdus_cnt;
	stats->scsirsp_pdus = iscsi->scsirsp_pdus_cnt;
	stats->datain_pdus = iscsi->datain_pdus_cnt;
	stats->r2t_pdus = iscsi->r2t_pdus_cnt;
	stats->tmfcmd_pdus = iscsi->tmfcmd_pdus_cnt;
	stats->tmfrsp_pdus = iscsi->tmfrsp_pdus_cnt;
	stats->digest_err = 0;
	stats->timeout_err = 0;

	stats->custom_length = 0;
	iser_add_stat(stats, "eh_abort_cnt", iscsi->eh_abort_cnt);
	iser_add_stat(stats, "tx_queue_full", own.tx_busy);
	iser_add_stat(stats, "mr_pool_empty", own.mr_busy);
	iser_add_stat(stats, "mrs_allocated", mrs);
	iser_add_stat(stats, "rkeys_invalidated_remote", own.inv_remote);
	iser_add_stat(stats, "rkeys_invalidated_local", own.inv_local);
	iser_add_stat(stats, "writes_solicited_only", own.solicited_only);
}
