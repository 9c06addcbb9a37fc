/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What can happen at a point, one line each
 *
 * Included where a list is made of it, with SIM_VERB() defined as is
 * fitting there; it is undefined at the end.
 */

SIM_VERB(none)
SIM_VERB(fail)				/* verbs call returns an error */
SIM_VERB(wc)				/* work request completes with a status */
SIM_VERB(hold)				/* never happens (until the QP fails) */
SIM_VERB(delay)
SIM_VERB(drop)				/* PDU is ignored, or not sent */
SIM_VERB(check)				/* CHECK CONDITION */
SIM_VERB(status)			/* SCSI status */
SIM_VERB(response)			/* TMF response, logout response, iSCSI response */
SIM_VERB(login)				/* login status class and detail */
SIM_VERB(reject)
SIM_VERB(early)				/* response before the data */
SIM_VERB(nodata)			/* response without the data */
SIM_VERB(partial)			/* only part of the data, good status */
SIM_VERB(dup)				/* PDU twice */
SIM_VERB(set)				/* bytes at an offset of the PDU, iSER header first */
SIM_VERB(xor)
SIM_VERB(trunc)
SIM_VERB(extend)
SIM_VERB(itt)				/* other initiator task tag */
SIM_VERB(stale)				/* tag of the command answered before */
SIM_VERB(swap)				/* tag of another command that waits */
SIM_VERB(inv)				/* wrong use of Send with Invalidate */
SIM_VERB(touch)				/* RDMA to the command's memory after its response */
SIM_VERB(close)				/* orderly disconnect */
SIM_VERB(abort)				/* connection lost */
SIM_VERB(refuse)			/* connect is refused */
SIM_VERB(qp_fatal)
SIM_VERB(qp_error)			/* QP fails without an event */
SIM_VERB(cq_error)
SIM_VERB(dev_fatal)			/* event only */
SIM_VERB(remove)			/* device is unregistered */
SIM_VERB(port_down)
SIM_VERB(port_up)
SIM_VERB(nopin)
SIM_VERB(async)
SIM_VERB(key)				/* login or text answer with another key=value */
SIM_VERB(random)			/* something bad, depending on the seed only */
SIM_VERB(flood)				/* PDU, and mutations of it right behind */

#undef SIM_VERB
