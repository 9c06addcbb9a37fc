/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The knobs, one line each
 *
 * Included where something is made of them, with SIM_KNOB() defined as is
 * fitting there; it is undefined at the end.
 *
 *	SIM_KNOB(name, when, default, lowest, highest, help)
 *
 * "when" is the moment at which a new value is taken up:
 *
 *	DEV	when the device is registered (debugfs file "power": 0, then 1)
 *	LOGIN	when the next connection is made and logs in
 *	NOW	at once
 */
SIM_KNOB(sg_gaps, DEV, 0, 0, 1,
	 "MRs without page alignment (IB_MR_TYPE_SG_GAPS)")
SIM_KNOB(integrity, DEV, 0, 0, 1,
	 "device says that it can hand over integrity; no MR of that kind is to be had")
SIM_KNOB(max_pages, DEV, 512, 1, 4096, "pages in one fast registration")
SIM_KNOB(max_sge, DEV, 16, 1, 32, "scatter/gather entries in one work request")
SIM_KNOB(max_qp_wr, DEV, 16384, 4, 65536, "depth of a send or receive queue")
SIM_KNOB(max_cqe, DEV, 65536, 4, 262144, "depth of a completion queue")
SIM_KNOB(max_mr, DEV, 65536, 1, 1048576, "memory regions of the device")
SIM_KNOB(max_qp, DEV, 1024, 1, 65536, "queue pairs of the device")
SIM_KNOB(vectors, DEV, 0, 0, 64, "completion vectors; 0: one for each CPU")
SIM_KNOB(max_rd_atom, DEV, 16, 1, 128, "RDMA Reads in flight on one queue pair")
SIM_KNOB(mem_mgt, DEV, 1, 0, 1, "device offers fast registration at all")
SIM_KNOB(local_dma_lkey, DEV, 1, 0, 1,
	 "device has a local DMA lkey; 0: get_dma_mr")
SIM_KNOB(poison_wc, NOW, 1, 0, 1,
	 "fill fields that a failed completion leaves open")
SIM_KNOB(link, NOW, 1, 0, 1,
	 "the wire; 0: nothing passes, nothing is acknowledged")
SIM_KNOB(retry_us, NOW, 0, 0, 4000000000U,
	 "link down that long is RETRY_EXC_ERR; 0: never")
SIM_KNOB(port_events, NOW, 1, 0, 1, "setting link also raises the port's event")
SIM_KNOB(ack_delay_us, NOW, 0, 0, 60000000,
	 "completion of a Send comes that late")
SIM_KNOB(resend, NOW, 0, 0, 1,
	 "at completion read the Send's buffers once more")
SIM_KNOB(close_delay_us, NOW, 0, 0, 600000000,
	 "CM tells of a lost connection that late")
SIM_KNOB(flush_delay_us, NOW, 0, 0, 60000000,
	 "a failed queue pair flushes that late; the CM may be first")
SIM_KNOB(connect_delay_us, NOW, 0, 0, 60000000,
	 "CM answers a connect that late")
SIM_KNOB(irq_delay_us, NOW, 0, 0, 1000000, "completion event comes that late")
SIM_KNOB(dma_bounce, NOW, 0, 0, 1,
	 "bounce new mappings: a forgotten dma_sync shows")
SIM_KNOB(burst, NOW, 64, 1, 4096,
	 "work requests of one QP before the next QP's turn")
SIM_KNOB(engine_prio, NOW, 0, -20, 100,
	 "nice value of the engine; 100: real-time")
SIM_KNOB(rsp_delay_us, NOW, 0, 0, 60000000, "target answers that late")
SIM_KNOB(login_delay_us, NOW, IS_ENABLED(CONFIG_PREEMPT) ? 50000 : 0, 0, 60000000,
	 "login and text answers come that late")
SIM_KNOB(odds, NOW, 4, 1, 65536,
	 "\"random\" gives one PDU in so many another structure, on some connections fewer")
SIM_KNOB(null_data, NOW, 0, 0, 1, "check memory but move no data")
SIM_KNOB(portals, NOW, 1, 1, 200, "addresses that the target listens on")
SIM_KNOB(targets, NOW, 1, 1, 64, "targets in the SendTargets answer")
SIM_KNOB(luns, NOW, 1, 1, 64, "logical units of each target")
SIM_KNOB(capacity_mb, NOW, 1024, 1, 4194304, "size of a logical unit")
SIM_KNOB(block_size, NOW, 512, 512, 4096, "logical block")
SIM_KNOB(wce, NOW, 1, 0, 1, "logical unit tells of a volatile write cache")
SIM_KNOB(thin, NOW, 1, 0, 1, "logical unit offers UNMAP and WRITE SAME(16)")
SIM_KNOB(max_xfer_blocks, NOW, 0, 0, 65535,
	 "maximum transfer length; 0: none told")
SIM_KNOB(window, LOGIN, 128, 1, 4096, "commands that MaxCmdSN leaves open")
SIM_KNOB(remote_inv, LOGIN, 1, 0, 1,
	 "target invalidates with its Send where allowed")
SIM_KNOB(rep_flags, LOGIN, 0x80, -1, 255,
	 "byte 0 of the reply's private data; -1: none sent")
SIM_KNOB(imm_data, LOGIN, 1, 0, 1, "offer ImmediateData=Yes")
SIM_KNOB(initial_r2t, LOGIN, 1, 0, 1, "offer InitialR2T=Yes")
SIM_KNOB(first_burst, LOGIN, 65536, 512, 16777215, "FirstBurstLength")
SIM_KNOB(max_burst, LOGIN, 262144, 512, 16777215, "MaxBurstLength")
SIM_KNOB(max_r2t, LOGIN, 1, 1, 255, "MaxOutstandingR2T")
SIM_KNOB(recv_dsl, LOGIN, 8192, 512, 262144, "TargetRecvDataSegmentLength")

#undef SIM_KNOB
