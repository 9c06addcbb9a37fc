/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The points where a fault can be put, one line each
 *
 * Included where a list is made of it, with SIM_POINT() defined as is
 * fitting there; it is undefined at the end.
 */

/* reached in the consumer's context */
SIM_POINT(alloc_pd)
SIM_POINT(create_cq)
SIM_POINT(create_qp)
SIM_POINT(modify_qp)
SIM_POINT(alloc_mr)
SIM_POINT(map_mr)
SIM_POINT(post_send)
SIM_POINT(post_recv)
SIM_POINT(dma_map)
SIM_POINT(wr)				/* execution of any work request */
SIM_POINT(wr_send)
SIM_POINT(wr_reg)
SIM_POINT(wr_inv)
SIM_POINT(recv)				/* a PDU about to land in a receive buffer */
SIM_POINT(connect)
SIM_POINT(pdu)				/* any PDU that the target received */
SIM_POINT(login)
SIM_POINT(text)
SIM_POINT(cmd)				/* any SCSI command */
SIM_POINT(read)
SIM_POINT(write)
SIM_POINT(dataout)
SIM_POINT(tmf)
SIM_POINT(nop)
SIM_POINT(logout)
SIM_POINT(rsp)				/* any PDU that the target is about to send */
SIM_POINT(rsp_login)
SIM_POINT(rsp_text)
SIM_POINT(rsp_cmd)
SIM_POINT(rsp_read)
SIM_POINT(rsp_write)
SIM_POINT(rsp_tmf)
SIM_POINT(rsp_nop)
SIM_POINT(rsp_logout)
SIM_POINT(rsp_ping)			/* a NOP-In of the target's own */
SIM_POINT(rsp_async)
SIM_POINT(rsp_reject)
SIM_POINT(now)				/* as soon as the rule is written */

#undef SIM_POINT
