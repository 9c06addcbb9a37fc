/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything that simhca counts, one line each
 *
 * Included where a list is made of it, with SIM_COUNTER() defined as is
 * fitting there; it is undefined at the end.
 *
 * Plain counters tell what the consumer of the verbs and the iSCSI initiator
 * did.  Violations (their names begin with v_) count what a correct consumer
 * never does; the first ones of each kind also leave a line in the debugfs
 * file "violations".
 */

/* what was handed to the adapter */
SIM_COUNTER(post_send_calls)		/* doorbells of send queues */
SIM_COUNTER(post_send_wrs)
SIM_COUNTER(post_recv_calls)		/* doorbells of receive queues */
SIM_COUNTER(post_recv_wrs)
SIM_COUNTER(wr_send)
SIM_COUNTER(wr_send_sges)
SIM_COUNTER(wr_reg_mr)
SIM_COUNTER(wr_local_inv)
SIM_COUNTER(wr_rdma)
SIM_COUNTER(wr_signaled)
SIM_COUNTER(wr_send_signaled)
SIM_COUNTER(wr_flushed)
SIM_COUNTER(engine_runs)		/* batches of work that the adapter did */

/* what came back */
SIM_COUNTER(cqes)
SIM_COUNTER(cqes_send)
SIM_COUNTER(cqes_recv)
SIM_COUNTER(cqes_error)
SIM_COUNTER(cqes_polled)
SIM_COUNTER(poll_calls)
SIM_COUNTER(notify_calls)
SIM_COUNTER(interrupts)

/* memory */
SIM_COUNTER(dma_map_single)
SIM_COUNTER(dma_unmap_single)
SIM_COUNTER(dma_map_sg)			/* calls */
SIM_COUNTER(dma_map_sg_entries)
SIM_COUNTER(dma_unmap_sg)
SIM_COUNTER(dma_sync)
SIM_COUNTER(dma_alloc)
SIM_COUNTER(mr_alloc)
SIM_COUNTER(mr_free)
SIM_COUNTER(mr_map)
SIM_COUNTER(mr_registered)
SIM_COUNTER(mr_invalidated_local)
SIM_COUNTER(mr_invalidated_remote)

/* connections */
SIM_COUNTER(connects)
SIM_COUNTER(connects_refused)
SIM_COUNTER(closes)
SIM_COUNTER(logins)
SIM_COUNTER(logins_failed)
SIM_COUNTER(discoveries)
SIM_COUNTER(logouts)

/* the target */
SIM_COUNTER(pdus_in)
SIM_COUNTER(pdus_out)
SIM_COUNTER(pdus_waited)		/* had to wait for a receive buffer (RNR) */
SIM_COUNTER(sends_with_inv)
SIM_COUNTER(cmds)
SIM_COUNTER(cmds_read)
SIM_COUNTER(cmds_write)
SIM_COUNTER(cmds_other)
SIM_COUNTER(cmds_failed)
SIM_COUNTER(tmfs)
SIM_COUNTER(tasks_aborted)
SIM_COUNTER(nops_in)			/* pings that the target sent */
SIM_COUNTER(nops_out)			/* pings and answers that it received */
SIM_COUNTER(bytes_rdma_write)
SIM_COUNTER(bytes_rdma_read)
SIM_COUNTER(bytes_immediate)
SIM_COUNTER(bytes_unsolicited)
SIM_COUNTER(faults_injected)
SIM_COUNTER(provoked)			/* violations that a fault of ours led to */
SIM_COUNTER(fuzzed)			/* choices of the verb random */
SIM_COUNTER(pdus_fuzzed)		/* mutated PDUs sent in place of others */
SIM_COUNTER(pdus_odd)			/* those of them with another structure */
SIM_COUNTER(pdus_flooded)		/* and on top of others, by "flood" */
SIM_COUNTER(events)			/* asynchronous events raised */

/* violations: memory that the consumer took back too early */
SIM_COUNTER(v_dma_unmapped)		/* the adapter touched an unmapped address */
SIM_COUNTER(v_dma_direction)		/* or one mapped for the other direction */
SIM_COUNTER(v_unmap_live_rkey)		/* unmapped while a valid rkey covers it */
SIM_COUNTER(v_unmap_in_flight)		/* unmapped while a Send was unfinished */
SIM_COUNTER(v_unmap_posted)		/* unmapped while a receive was posted */
SIM_COUNTER(v_unmap_unknown)		/* unmapped what was not mapped */
SIM_COUNTER(v_sync_unknown)
SIM_COUNTER(v_dma_leak)			/* mappings left at the end */
SIM_COUNTER(v_itt_live_rkey)		/* task tag reused while its old rkey lived */
SIM_COUNTER(v_resend_changed)		/* Send changed before it was acknowledged */
SIM_COUNTER(v_resend_login)		/* likewise, a login or text request */

/* violations: registrations */
SIM_COUNTER(v_mr_bad_key)		/* key of no MR, or of an invalid one */
SIM_COUNTER(v_mr_pd)			/* MR of another protection domain */
SIM_COUNTER(v_mr_rights)		/* access that the MR does not grant */
SIM_COUNTER(v_mr_range)			/* access outside the MR */
SIM_COUNTER(v_mr_reg_valid)		/* REG_MR of an MR that is still valid */
SIM_COUNTER(v_mr_unmapped)		/* REG_MR of memory that is not mapped */
SIM_COUNTER(v_mr_restaged)		/* ib_map_mr_sg while its REG_MR was queued */
SIM_COUNTER(v_inv_invalid)		/* LOCAL_INV of a key that is not valid */
SIM_COUNTER(v_mr_excess_rights)		/* advertised more rights than needed */
SIM_COUNTER(v_mr_excess_range)		/* advertised more bytes than needed */

/* violations: queues */
SIM_COUNTER(v_sq_overflow)
SIM_COUNTER(v_rq_overflow)
SIM_COUNTER(v_cq_overflow)
SIM_COUNTER(v_post_state)		/* posted in a state that forbids it */
SIM_COUNTER(v_post_wr)			/* malformed work request */
SIM_COUNTER(v_object_leak)		/* objects left when the device went */

/* violations: the wire */
SIM_COUNTER(v_cmdsn)			/* posting order is not CmdSN order */
SIM_COUNTER(v_statsn)			/* confirms a StatSN that was not sent yet */
SIM_COUNTER(v_terms)			/* data of a kind or length not agreed on */
SIM_COUNTER(v_login)			/* a login goes on when it is over */
SIM_COUNTER(v_proto)			/* what else of the RFCs is looked at */

#undef SIM_COUNTER
