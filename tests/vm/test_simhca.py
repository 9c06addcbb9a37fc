# SPDX-License-Identifier: GPL-2.0-only
"""That the simulated adapter sees what is wrong, and that others than ours can use it.

Normally: a variant of the module that breaks one rule (variants.py, or below) is to move data, and
the adapter counts that violation, on which other tests rely. And the kernel's own module moves data
over it.

Recovery: the next test gets our module back.
"""

import contextlib

import pytest

import test_adapters
from iserlab import variants
from iserlab.paths import LabError

KERNELS = ("6.12",)     # all with --all
SAMPLE = 8

LATE = test_adapters.KINDS["late acknowledgements"]
ENDPOINT, MR, QUEUE, TASK = (f"{variants.TOP}/{name}.c"
                             for name in ("endpoint", "mr", "queue", "task"))

# The queue pair is of one protection domain, and the MRs are of another.
TWO_DOMAINS = (
    (QUEUE, "	conn->qp = conn->cm_id->qp;\n",
     "	conn->qp = conn->cm_id->qp;\n	conn->pd = ib_alloc_pd(device, 0);\n"),
    (QUEUE, "	if (conn->qp)\n		rdma_destroy_qp(conn->cm_id);\n",
     "	if (conn->qp) {\n		struct ib_pd *pd = conn->qp->pd;\n\n"
     "		rdma_destroy_qp(conn->cm_id);\n		ib_dealloc_pd(pd);\n	}\n"),
)
# All is mapped to be written to by the adapter, even what it is to read.
ONE_DIRECTION = (
    (TASK, "sc->sc_data_direction);\n	if (!plan->nents)", "DMA_FROM_DEVICE);\n	if (!plan->nents)"),
    (TASK, "			sc->sc_data_direction);\n}", "			DMA_FROM_DEVICE);\n}"),
)
# A queue that overflowed has no room for the drain's own before completions were polled.
PATIENT = (
    (ENDPOINT, "	ib_drain_qp(conn->qp);\n	ib_drain_qp(conn->qp);\n",
     "	schedule_timeout_uninterruptible(HZ / 10);\n"
     "	ib_drain_qp(conn->qp);\n	ib_drain_qp(conn->qp);\n"),
)
SMALL_SQ = PATIENT + variants.ALL_SIGNALLED + (
    (QUEUE, "	.max_send_wr	= lim->sq,", "	.max_send_wr	= 32,"),
)
SMALL_RQ = PATIENT + ((QUEUE, "	.max_recv_wr	= lim->rq,", "	.max_recv_wr	= 32,"),)
# More entries than the adapter has are thought to be in the completion queue.
SMALL_CQ = (
    (QUEUE, "cqe = attr->max_cqe;", "cqe = 65536;"),
    (QUEUE, "conn->cq_size = lim->sq + lim->rq;", "conn->cq_size = 128;"),
)
# Commands with immediate data are numbered as if they came later.
LATE_NUMBERS = (
    (TASK, "	iser_chain_send(conn, slot, task, hdr_len,",
     "	be32_add_cpu(&((struct iscsi_scsi_req *)task->hdr)->cmdsn, plan->imm_sge);\n"
     "	iser_chain_send(conn, slot, task, hdr_len,"),
)
# Headers are where those of the last command but one may be still in use.
TWO_BUFFERS = ((TASK, "if (++conn->tx_next == conn->nr_tx)", "if (++conn->tx_next == 2)"),)
ADVERTISED = "iser_ctrl_write(&slot->headers.ctrl, imr->mr->rkey"
# name: (edits, kind of adapter and target, what is seen of it)
BROKEN = {
    "keys outlive their commands": (variants.ALONE + variants.LIVE_KEYS, {},
                                    ("v_unmap_live_rkey", "v_itt_live_rkey")),
    "Sends outlive their commands": (variants.UNWAITED_SENDS, LATE, ("v_unmap_in_flight",)),
    "all rights": (variants.ALL_RIGHTS, {}, ("v_mr_excess_rights",)),
    "headers change before they are acknowledged": (TWO_BUFFERS, LATE, ("v_resend_changed",)),
    "wrong rights": (((MR, "		IB_ACCESS_REMOTE_READ;\n", "		IB_ACCESS_LOCAL_WRITE;\n"),), {},
                     ("v_mr_rights",)),
    "wrong key": (((TASK, ADVERTISED, f"{ADVERTISED} ^ 0x80"),), {}, ("v_mr_bad_key",)),
    "wrong address": (((TASK, f"{ADVERTISED}, imr->mr->iova", f"{ADVERTISED}, imr->mr->iova + 8"),),
                      {}, ("v_mr_range",)),
    "two protection domains": (TWO_DOMAINS, {}, ("v_mr_pd",)),
    "wrong direction": (ONE_DIRECTION, {}, ("v_dma_direction",)),
    "wrong CmdSN": (LATE_NUMBERS, {}, ("v_cmdsn",)),
    "too many SGEs": (((QUEUE, "	.max_send_sge	= 1 + lim->data_sge,", "	.max_send_sge	= 1,"),), {},
                      ("v_post_wr",)),
    "full send queue": (SMALL_SQ, LATE, ("v_sq_overflow",)),
    "full receive queue": (SMALL_RQ, {}, ("v_rq_overflow",)),
    "full completion queue": (SMALL_CQ, {"max_cqe": 128, "irq_delay_us": 2000},
                              ("v_cq_overflow",)),
}
# what the kernel's own module does
KNOWN = {"v_mr_excess_rights", "v_unmap_live_rkey"}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_rule_is_seen(sim, what):
    """The I/O may work all the same, and not even the login need to."""
    edits, kind, seen = BROKEN[what]
    sim.use(variants.of(edits))
    sim.adapter(**kind)
    with contextlib.suppress(LabError):
        session = sim.login()
        # the second time with tasks that the first time left behind
        for depth in (32, 1):
            sim.start_io(session, iodepth=depth, verify=False).wait(timeout=120, check=False)
        sim.initiator.logout(session)
    counted = sim.hca.counters()
    missing = [name for name in seen if not counted[name]]
    assert not missing, "\n".join(sim.hca.violations())


def test_no_more_queue_pairs_than_there_are(sim):
    """While the only one is in use, there is no other; later it is there again."""
    sim.adapter(max_qp=1)
    session = sim.login()
    assert sim.initiator.discover(sim.hca.portal(), check=False).status
    sim.initiator.logout(session)
    assert sim.initiator.targets(sim.hca.portal())
    assert sim.kept_the_rules() and not sim.left()


def test_the_kernels_own_module(sim):
    """It moves verified data, too; of the rules it breaks those that are known."""
    sim.initiator.unload()
    try:
        sim.guest.run("insmod $(find /lib/modules/$(uname -r)/kernel/drivers/infiniband/ulp/iser "
                      "-name 'ib_iser.ko*')")
        session = sim.login()
        sim.io(session)
        sim.initiator.logout(session)
        broken = set(sim.hca.counters().violations)
        assert not broken - KNOWN, "\n".join(sim.hca.violations())
        assert not sim.left()
    finally:
        sim.initiator.clear()
        sim.initiator.unload()
        sim.initiator.load()
