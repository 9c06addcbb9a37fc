/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The gauges: how many objects of a kind exist now, one line each
 *
 * Included where a list is made of it, with SIM_GAUGE() defined as is
 * fitting there; it is undefined at the end.
 */

SIM_GAUGE(pds)
SIM_GAUGE(cqs)
SIM_GAUGE(qps)
SIM_GAUGE(mrs)
SIM_GAUGE(mrs_peak)
SIM_GAUGE(rkeys_live)
SIM_GAUGE(dma_mapped)
SIM_GAUGE(connections)
SIM_GAUGE(sessions)
SIM_GAUGE(tasks)

#undef SIM_GAUGE
