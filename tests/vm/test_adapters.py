# SPDX-License-Identifier: GPL-2.0-only
"""Adapters, targets and timing of all kinds, as a simulated adapter can be them.

Normally: the adapter becomes what the case says, and a session over it moves verified data
of all sizes without a fault, without breaking a rule of the verbs or of the wire, and with
nothing left at its end.

Recovery: what cannot work is refused with a reason, and leaves nothing.
"""

import re

import pytest

KERNELS = ("6.12",)     # all with --all
SAMPLE = 4
ALWAYS = ("test_discovery_on_an_adapter_that_is_quick",)

KINDS = {
    "usual": {},
    "MRs with gaps": {"sg_gaps": 1},
    "integrity handover": {"integrity": 1},
    "two pages in an MR": {"max_pages": 2},
    "17 pages in an MR": {"max_pages": 17},
    "one SGE": {"max_sge": 1},
    "two SGEs": {"max_sge": 2},
    "three SGEs": {"max_sge": 3},
    "shallow queues": {"max_qp_wr": 128},
    "short completion queue": {"max_cqe": 128},
    "few MRs": {"max_mr": 10},
    "one MR": {"max_mr": 1},
    "one vector": {"vectors": 1},
    "no local DMA lkey": {"local_dma_lkey": 0},
    "incoherent memory": {"dma_bounce": 1},
    "late acknowledgements": {"ack_delay_us": 3000, "resend": 1},
    "late interrupts": {"irq_delay_us": 2000},
    "quick": {"engine_prio": 100},
    "lazy": {"engine_prio": 19, "burst": 4096},
    "one at a time": {"burst": 1},
    "one RDMA Read at a time": {"max_rd_atom": 1},
    "slow to connect": {"connect_delay_us": 200000, "login_delay_us": 200000},
    "slow target": {"rsp_delay_us": 5000},
    "no remote invalidation": {"remote_inv": 0},
    "no remote invalidation, and saying so": {"remote_inv": 0, "rep_flags": 0},
    "no private data": {"remote_inv": 0, "rep_flags": -1},
    "all flags": {"rep_flags": 0xff},
    "no immediate data": {"imm_data": 0},
    "unsolicited data": {"initial_r2t": 0},
    "unsolicited data and nothing immediate": {"imm_data": 0, "initial_r2t": 0},
    "short bursts": {"initial_r2t": 0, "first_burst": 512, "max_burst": 512},
    "odd bursts": {"initial_r2t": 0, "first_burst": 5120, "max_burst": 8704},
    "long bursts": {"initial_r2t": 0, "first_burst": 1 << 20, "max_burst": (1 << 24) - 1},
    "short data segments": {"initial_r2t": 0, "recv_dsl": 512},
    "long data segments": {"recv_dsl": 262144},
    "several R2Ts at once": {"max_r2t": 8, "first_burst": 16384, "max_burst": 16384},
    "one command at a time": {"window": 1},
    "three commands at a time": {"window": 3},
    "blocks of 4096 bytes": {"block_size": 4096},
    "more blocks than 32 bits can count": {"capacity_mb": 3 << 20},
    "limited transfers": {"max_xfer_blocks": 64},
    "no write cache": {"wce": 0},
    "not thin": {"thin": 0},
}

UNFIT = {
    "no fast registration": {"mem_mgt": 0},
    "one page in an MR": {"max_pages": 1},
    "no queue": {"max_qp_wr": 64},
    "no completion queue": {"max_cqe": 64},
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_adapters_and_targets(sim, kind):
    """Data are right, the rules are kept, and there is nothing left."""
    sim.adapter(**KINDS[kind])
    session = sim.login()
    sim.io(session)
    sim.initiator.logout(session)
    counted = sim.hca.counters()
    assert sim.kept_the_rules()
    assert counted["cmds_write"] and counted["cmds_read"]
    assert counted["connects"] == 1, "the connection was lost meanwhile"
    assert not sim.left()


@pytest.mark.parametrize("kind", UNFIT)
def test_an_adapter_that_cannot_do_it(sim, kind):
    """The login fails soon, the log says why, and nothing is left."""
    sim.adapter(**UNFIT[kind])
    mark = sim.guest.mark()
    refused = sim.try_login()
    said = [line for line in sim.guest.console(mark).splitlines() if "] iser: " in line]
    assert refused.status
    assert re.search("can't carry iSER: |no room for another connection", "\n".join(said))
    assert not sim.initiator.sessions() and not sim.left()


def test_several_luns_and_portals(sim):
    """All that SendTargets lists can be logged in to at once."""
    sim.hca.set(portals=3, targets=2, luns=3)
    sim.adapter()
    found = sim.initiator.targets(sim.hca.portal())
    assert len(found) == 6
    sim.guest.run("iscsiadm -m node -l >/dev/null; udevadm settle", timeout=90)
    sessions = sim.initiator.sessions()
    assert len(sessions) == 6 and all(len(session.disks) == 3 for session in sessions)
    sim.initiator.clear()
    assert sim.kept_the_rules() and not sim.left()


def test_discovery_on_an_adapter_that_is_quick(sim):
    """Answers are there before a post comes back; iscsiadm, which would miss them, does not."""
    sim.hca.set(engine_prio=100)
    for _ in range(10):
        assert len(sim.initiator.targets(sim.hca.portal())) == 1
    assert sim.kept_the_rules() and not sim.left()


def test_a_processor_goes_while_a_session_is_down(sim):
    """Commands that were queued there wait for the session, and nobody for them."""
    session = sim.login()
    job = sim.start_io(session, size="16m", cpus_allowed=1)
    inflight = f"/sys/block/{session.disk[5:]}/inflight"
    sim.guest.run(f"while grep -Eq '^ *0 +0$' {inflight}; do :; done", timeout=30)
    sim.hca.power(False)
    try:
        sim.guest.run("echo 0 >/sys/devices/system/cpu/cpu1/online", timeout=30)
    finally:
        sim.hca.power(True)
        sim.guest.run("echo 1 >/sys/devices/system/cpu/cpu1/online", timeout=30)
    job.wait(timeout=120)
    assert sim.kept_the_rules()
