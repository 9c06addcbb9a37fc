# SPDX-License-Identifier: GPL-2.0-only
"""That the simulated adapter sees what is wrong, and what is done, and that others can use it.

Normally: a variant of the module that breaks one rule (variants.py, or below) is to move data, and
the adapter counts that violation, on which other tests rely. Of our module it counts for each read
what has to be done, and no more. And the kernel's own module moves data over it.

Recovery: the next test gets our module back.
"""

import contextlib

import pytest

import test_adapters
from iserlab import simhca, variants
from iserlab.paths import LabError
from rig import NO_PINGS, Sim, in_the_end

KERNELS = ("6.12", "debug")     # all with --all
SAMPLE = {"6.12": 8}
ALWAYS = ("test_a_read_takes_what_it_needs",)

LATE = test_adapters.KINDS["late acknowledgements"]
ENDPOINT, MR, QUEUE, RESPONSE, TASK, TRANSPORT = (
    f"{variants.TOP}/{name}.c"
    for name in ("endpoint", "mr", "queue", "response", "task", "transport"))
WIRE = "include/iser/wire.h"

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
# What the target will send some time later has come.
EARLY_NUMBERS = (
    (TASK, "	iser_chain_send(conn, slot, task, hdr_len,",
     "	be32_add_cpu(&((struct iscsi_scsi_req *)task->hdr)->exp_statsn, 9);\n"
     "	iser_chain_send(conn, slot, task, hdr_len,"),
)
# Headers are where those of the last command but one may be still in use.
TWO_BUFFERS = ((TASK, "if (++conn->tx_next == conn->nr_tx)", "if (++conn->tx_next == 2)"),)
# A key lives on when its command ends, and is registered again.
FORGOTTEN_KEYS = variants.ALONE + (
    (RESPONSE, "	} else {\n		iser_mr_invalidate(conn, task);\n",
     "	} else if (it->rkey_live) {\n"
     "		it->rkey_live = false;\n		__iscsi_put_task(task);\n"),
)
# The memory is described once more, right behind the doorbell.
RESTAGED = (
    (TASK, "	if (task->sc->flags & SCMD_LAST)\n		iser_doorbell(conn);\n",
     "	iscsi_get_task(task);\n	iser_doorbell(conn);\n"
     "	if (it->mr)\n		ib_map_mr_sg(it->mr->mr, scsi_sglist(task->sc), plan->nents, NULL,\n"
     "			     SZ_4K);\n"
     "	iscsi_put_task(task);\n"),
)
# The memory is given back before the adapter has seen the command.
UNMAPPED_EARLY = (
    (TASK, "	if (task->sc->flags & SCMD_LAST)\n		iser_doorbell(conn);\n",
     "	if (it->mapped)\n		ib_dma_unmap_sg(conn->device, scsi_sglist(task->sc),\n"
     "				scsi_sg_count(task->sc),\n				task->sc->sc_data_direction);\n"
     "	it->mapped = false;\n"
     "	if (task->sc->flags & SCMD_LAST)\n		iser_doorbell(conn);\n"),
)
# The target's invalidation is not thought to be enough.
INVALIDATED_TWICE = (
    (RESPONSE, "		it->rkey_live = false;\n		conn->stats.inv_remote++;\n"
     "		iser_sq_release(conn, 1);\n		__iscsi_put_task(task);\n",
     "		iser_mr_invalidate(conn, task);\n"),
)
UNMAPPED_TWICE = (
    (TASK, "			sc->sc_data_direction);\n}",
     "			sc->sc_data_direction);\n"
     "	ib_dma_unmap_sg(it->conn->device, scsi_sglist(sc), scsi_sg_count(sc),\n"
     "			sc->sc_data_direction);\n}"),
)
# The buffer behind the last one is handed over.
SYNCED_ELSEWHERE = (
    (TASK, "	slot->send.num_sge = 1 + data_sge;\n",
     "	slot->send.num_sge = 1 + data_sge;\n"
     "	ib_dma_sync_single_for_device(conn->device, slot->sge[0].addr + PAGE_SIZE,\n"
     "				      slot->sge[0].length, DMA_TO_DEVICE);\n"),
)
# Once, the first receives go, for which the adapter may still have a use.
UNMAPPED_RECEIVES = (
    (TASK, "	slot->send.num_sge = 1 + data_sge;\n",
     "	static bool done;\n\n	slot->send.num_sge = 1 + data_sge;\n"
     "	if (data_sge && !done) {\n		done = true;\n"
     "		ib_dma_unmap_single(conn->device, conn->rx_ring.chunks[0].dma,\n"
     "				    conn->rx_ring.chunk_len, DMA_BIDIRECTIONAL);\n	}\n"),
)
# A Send is posted to a queue pair that is not connected.
POSTED_EARLY = (
    (QUEUE, "	conn->qp = conn->cm_id->qp;\n",
     "	conn->qp = conn->cm_id->qp;\n"
     "	ib_post_send(conn->qp, &(struct ib_send_wr){ .opcode = IB_WR_SEND }, NULL);\n"),
)
# The key opens the page behind the data, too.
PAGE_TOO_MUCH = (
    (MR, "	sg_dma_len(sg) -= skip;\n",
     "	sg_dma_len(sg) -= skip;\n	if (nents == 1)\n		sg_dma_len(sg) += SZ_4K;\n"),
    (MR, "	sg_dma_len(sg) += skip;\n",
     "	sg_dma_len(sg) += skip;\n	if (nents == 1)\n		sg_dma_len(sg) -= SZ_4K;\n"),
)
# The protection domain stays when the device goes, and a buffer that is mapped.
LEFT_BEHIND = (
    (QUEUE, "		ib_dealloc_pd(conn->pd);\n		conn->pd = NULL;\n	}\n}",
     "		conn->pd = NULL;\n	}\n}"),
    (QUEUE, "	iser_ring_destroy(conn->device, &conn->login_tx);\n", ""),
)
# Data segments are as long as if the target had not said how much it takes.
LONG_SEGMENTS = ((TRANSPORT, "	if (!session->initial_r2t_en) {\n",
                  "	iscsi->max_xmit_dlength = SZ_8K;\n	if (!session->initial_r2t_en) {\n"),)
# A bit that nobody knows.
RESERVED_BIT = ((WIRE, "	ctrl->flags |= ISER_WSV;", "	ctrl->flags |= ISER_WSV | 0x01;"),)
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
    "wrong ExpStatSN": (EARLY_NUMBERS, {}, ("v_statsn",)),
    "too many SGEs": (((QUEUE, "	.max_send_sge	= 1 + lim->data_sge,", "	.max_send_sge	= 1,"),), {},
                      ("v_post_wr",)),
    "long data segments": (LONG_SEGMENTS, test_adapters.KINDS["short data segments"],
                           ("v_terms",)),
    "reserved bits": (RESERVED_BIT, {}, ("v_proto",)),
    # until half of its commands are there, however slow the machine
    "full send queue": (SMALL_SQ, LATE | {"ack_delay_us": 50000}, ("v_sq_overflow",)),
    "full receive queue": (SMALL_RQ, {}, ("v_rq_overflow",)),
    "keys that live are registered": (FORGOTTEN_KEYS, {}, ("v_mr_reg_valid",)),
    "described anew before it is registered": (RESTAGED, {"engine_prio": 19},
                                               ("v_mr_restaged",)),
    "unmapped before it is used": (UNMAPPED_EARLY, {}, ("v_dma_unmapped", "v_mr_unmapped")),
    "keys that are dead are invalidated": (INVALIDATED_TWICE, {}, ("v_inv_invalid",)),
    "a page too much": (PAGE_TOO_MUCH, {}, ("v_mr_excess_range",)),
    "one key for all memory": (variants.GLOBAL_KEY, {}, ("v_mr_excess_range",)),
    "posted too early": (POSTED_EARLY, {}, ("v_post_state",)),
    "full completion queue": (SMALL_CQ, {"max_cqe": 128, "irq_delay_us": 2000},
                              ("v_cq_overflow",)),
}
# the same, which a kernel that checks mappings itself has to report, too
MAPPINGS = {
    "receives are unmapped": (UNMAPPED_RECEIVES, {}, ("v_unmap_posted",)),
    "unmapped twice": (UNMAPPED_TWICE, {}, ("v_unmap_unknown",)),
    "synchronised without a mapping": (SYNCED_ELSEWHERE, {}, ("v_sync_unknown",)),
}
# it reports so many times
DMA_ERRORS = "/sys/kernel/debug/dma-api/num_errors"
# what the kernel's own module does
KNOWN = {"v_mr_excess_rights", "v_unmap_live_rkey"}


@pytest.fixture(name="mappings")
def fixture_mappings(sim, rig):
    """Says whether the kernel has reported a mapping, or does no such thing. That is no failure."""
    checks = sim.guest.kernel.checks
    again = f"echo 1 >{DMA_ERRORS}" if checks else "true"
    sim.guest.run(again)
    mark = sim.guest.mark()
    yield lambda: not checks or any("DMA-API" in line for line in sim.guest.reports(mark))
    if sim.guest.running:
        sim.guest.run(again)
    others = [report for report in rig.reports() if "DMA-API" not in report]
    assert not others, "\n".join(others)
    rig.begin()


def breaks(sim, edits, kind, seen):
    """I/O with a module that does so; it may work all the same, and not even the login need to."""
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


@pytest.mark.breaks_rules
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_rule_is_seen(sim, what):
    """The adapter counts it."""
    breaks(sim, *BROKEN[what])


@pytest.mark.breaks_rules
@pytest.mark.parametrize("what", MAPPINGS)
def test_a_broken_mapping_is_seen(sim, mappings, what):
    """By a kernel that checks them, too."""
    breaks(sim, *MAPPINGS[what])
    assert mappings()


@pytest.mark.breaks_rules
def test_a_request_that_gives_way_is_seen(sim):
    """Of logins and text requests, and nothing else, ours does so: see iser_xmit_login()."""
    # later than the answer to the login, and before that to the text
    sim.hca.set(ack_delay_us=300000, resend=1)
    sim.hca.fault(at="rsp_text", do="delay", us=1000000)
    assert sim.initiator.targets(sim.hca.portal())
    assert set(sim.hca.counters().violations) == {"v_resend_login"}


@pytest.mark.breaks_rules
def test_a_login_that_goes_on_is_seen(sim):
    """Of an initiator that is told so: the response says that it is not the last."""
    sim.hca.fault(at="rsp_login", do="set", off=29, bytes="04")
    sim.try_login()
    assert set(sim.hca.counters().violations) == {"v_login"}


def test_data_of_a_rejected_command_are_no_violation(sim):
    """They were on their way."""
    sim.hca.set(initial_r2t=0)
    session = sim.login(**NO_PINGS)
    sim.hurry(session)
    sim.hca.fault(at="write", do="reject", val=4)
    sim.guest.run(f"dd if=/dev/zero of={session.disk} bs=64k count=1 oflag=direct")
    assert all(sim.hca.hits()) and sim.hca.counters()["bytes_unsolicited"]
    assert not sim.hca.violations()


def test_a_request_that_gets_lost_is_no_violation(sim):
    """What follows it has the number that it should have."""
    session = sim.login(**NO_PINGS)
    sim.hurry(session)
    sim.hca.fault(at="wr_send", do="drop")
    sim.guest.run(f"dd if={session.disk} of=/dev/null bs=4k count=3 iflag=direct")
    assert all(sim.hca.hits()) and sim.hca.counters()["tmfs"]
    assert not sim.hca.violations()


def test_a_reject_that_is_made_another_answer(sim):
    """The rejected command has gone, so it is not forgotten twice."""
    session = sim.login(**NO_PINGS)
    sim.hurry(session)
    sim.hca.rules("at=read do=reject val=4", "at=rsp_reject do=swap")
    sim.guest.run(f"dd if={session.disk} of=/dev/null bs=4k count=3 iflag=direct")
    assert all(sim.hca.hits())
    sim.hca.calm()
    sim.io(session)
    sim.ends_well(session)


@pytest.mark.parametrize("rule", ("at=rsp_login do=key", "at=rsp_login do=key bytes=00",
                                  f"at=rsp_login do=key bytes={'3d' * 48}", "at=read",
                                  "do=drop", "at=never do=drop", "at=read do=nothing"))
def test_a_rule_that_makes_no_sense(sim, rule):
    """Refused."""
    with pytest.raises(LabError, match="Invalid argument|No such file"):
        sim.hca.rules(rule)
    assert not sim.hca.hits()


def test_blocks_that_straddle_pages(sim):
    """No disk for Linux, but they end where they should."""
    sim.adapter(block_size=520)
    session = sim.login()
    sim.guest.run(f"""
        set -e
        head -c 520 /dev/urandom >/tmp/block
        cat $(yes /tmp/block | head -n 32 || true) >/tmp/blocks
        sg_write_same --10 --in=/tmp/block --lba=0 --num=32 --xferlen=520 {session.disk}
        sg_raw --request=16640 --outfile=/tmp/got {session.disk} 28 00 00 00 00 00 00 00 20 00
        cmp /tmp/got /tmp/blocks""")
    sim.ends_well(session)


@pytest.mark.parametrize("subpage, there", (("00", True), ("ff", True), ("05", False)))
def test_mode_pages_have_no_subpages(sim, subpage, there):
    """Who asks for one is told so."""
    session = sim.login()
    asked = sim.guest.run(f"sg_raw --request=64 {session.disk} 1a 00 0a {subpage} 40 00",
                          check=False)
    assert ("Invalid field in cdb" in asked.stdout + asked.stderr) == (not there)
    sim.ends_well(session)


@pytest.mark.breaks_rules
def test_what_is_left_behind_is_seen(sim, rig):
    """Objects when the device goes, and mappings when the adapter does: the log says so."""
    leaks = sim.guest.leaks()
    assert not leaks, leaks
    sim.use(variants.of(LEFT_BEHIND))
    mark = sim.guest.mark()
    sim.initiator.logout(sim.login())
    sim.hca.power(False)
    assert sim.hca.counters()["v_object_leak"]
    sim.guest.run("rmmod simhca")
    assert all(any(name in report for report in sim.guest.reports(mark))
               for name in ("v_object_leak", "v_dma_leak"))
    # what was to be reported is no failure, and what was to be lost is no leak
    rig.switch_off(Sim)


@pytest.mark.parametrize("remote_inv", (1, 0))
def test_a_read_takes_what_it_needs(sim, remote_inv):
    """One at a time: a registration and a Send, which is one doorbell; a response; a mapping.

    One in 64 work requests asks for a completion (ISER_SIGNAL_EVERY), and receives go back by 16
    (ISER_RX_BATCH). A key that the target leaves alive takes another work request.
    """
    sim.adapter(remote_inv=remote_inv)
    session = sim.login(**NO_PINGS)
    reads, local = 320, 0 if remote_inv else 320
    with sim.hca.counting() as counted:
        sim.guest.run(f"dd if={session.disk} of=/dev/null bs=4k count={reads} iflag=direct")
    expected = {
        "cmds": reads, "cmds_read": reads, "pdus_in": reads, "pdus_out": reads,
        "sends_with_inv": reads - local, "bytes_rdma_write": 4096 * reads,
        "post_send_calls": reads + local, "post_send_wrs": 2 * reads + local,
        "wr_send": reads, "wr_send_sges": reads, "wr_reg_mr": reads, "wr_local_inv": local,
        "wr_send_signaled": reads // 32, "wr_signaled": reads // 32 + local,
        "cqes_send": reads // 32 + local, "cqes_recv": reads, "cqes_error": 0,
        "post_recv_calls": reads // 16, "post_recv_wrs": reads,
        "mr_alloc": 0, "mr_map": reads, "mr_registered": reads,
        "mr_invalidated_local": local, "mr_invalidated_remote": reads - local,
        "dma_map_sg": reads, "dma_map_sg_entries": reads, "dma_unmap_sg": reads,
        "dma_map_single": 0, "dma_alloc": 0, "dma_sync": 0}
    assert {name: counted[name] for name in expected} == expected
    assert reads <= counted["interrupts"] <= reads + counted["cqes_send"]
    sim.ends_well(session)


def test_no_more_queue_pairs_than_there_are(sim):
    """While the only one is in use, there is no other; later it is there again."""
    sim.adapter(max_qp=1)
    session = sim.login()
    assert sim.initiator.discover(sim.hca.portal(), check=False).status
    sim.initiator.logout(session)
    assert sim.initiator.targets(sim.hca.portal())
    assert sim.kept_the_rules() and not sim.left()


def test_each_pdu_is_met_once(sim):
    """Whatever it is: a rule for any acts as often as there are some."""
    session = sim.login(**NO_PINGS)
    sim.hca.reset()
    sim.hca.rules("at=pdu count=0 do=cq_error")
    sim.guest.run(f"dd if={session.disk} of=/dev/null bs=64k count=9 iflag=direct")
    counted = sim.hca.counters()
    assert counted["cmds"] >= 9 and sim.hca.hits() == [counted["pdus_in"]]


def odd_ones(sim, seed):
    """Which of some answers are mutated in their structure: after each of them, how many were.

    Of a new adapter, as that also depends on the number of the queue pair.
    """
    sim.guest.run("rmmod simhca")
    sim.hca = simhca.load(sim.guest)
    session = sim.login(**NO_PINGS)
    sim.hurry(session)
    sim.hca.set(odds=1)
    sim.hca.reset()
    counted = []
    for said in (f"seed={seed}", *[""] * 23):
        sim.hca.rules("clear", f"at=rsp_read do=random {said}")
        sim.guest.run(f"dd if={session.disk} of=/dev/null count=1 bs=4k iflag=direct",
                      check=False)
        assert all(sim.hca.hits())
        counted.append(sim.hca.counters()["pdus_odd"])
    sim.initiator.clear()
    return counted


def test_a_seed_repeats(sim):
    """Where the events come in the same order, the same PDUs are chosen."""
    one, again, other = odd_ones(sim, 7), odd_ones(sim, 7), odd_ones(sim, 8)
    assert one == again != other


@pytest.mark.breaks_rules
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
        assert not in_the_end(sim.left)     # it frees its MRs in the background
    finally:
        sim.initiator.clear()
        sim.initiator.unload()
        sim.initiator.load()
