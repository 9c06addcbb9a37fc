# SPDX-License-Identifier: GPL-2.0-only
"""Adapters, targets and timing of all kinds, as a simulated adapter can be them.

Normally: the adapter becomes what the case says, and a session over it moves verified data
of several sizes without a fault, without breaking a rule of the verbs or of the wire, and with
nothing left at its end. What its disks say that they can do they can, and the kernel knows it.

Recovery: what cannot work is refused with a reason, and leaves nothing.
"""

import re
import struct

import pytest

KERNELS = ("6.12", "debug")     # all with --all
SAMPLE = {"6.12": 4}
ALWAYS = ("test_discovery_on_an_adapter_that_is_quick", "test_memory_layouts")

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
    "no remote invalidation, and saying so": {"rep_flags": 0xc0},
    "no private data": {"remote_inv": 0, "rep_flags": -1},
    "all flags": {"rep_flags": 0xff},
    "no immediate data": {"imm_data": 0},
    "unsolicited data": {"initial_r2t": 0},
    "unsolicited data and nothing immediate": {"imm_data": 0, "initial_r2t": 0},
    "short bursts": {"initial_r2t": 0, "first_burst": 512, "max_burst": 512},
    "odd bursts": {"initial_r2t": 0, "first_burst": 5120, "max_burst": 8704},
    "long bursts": {"initial_r2t": 0, "first_burst": 1 << 20, "max_burst": (1 << 24) - 1},
    "short data segments": {"initial_r2t": 0, "recv_dsl": 512},
    "long data segments": {"recv_dsl": 65536},
    "long unsolicited data segments": {"initial_r2t": 0, "recv_dsl": 16384},
    "bursts alike": {"first_burst": 16384, "max_burst": 16384},
    "one command at a time": {"window": 1},
    "three commands at a time": {"window": 3},
    "blocks of 4096 bytes": {"block_size": 4096},
    "more blocks than 32 bits can count": {"capacity_mb": 3 << 20},
    "limited transfers": {"max_xfer_blocks": 64},
    "no write cache": {"wce": 0},
    "not thin": {"thin": 0},
}

INVALID_OPCODE = 9      # what sg3-utils make of that sense

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
    # else iscsid offers 8192
    session = sim.login(**{"node.conn[0].iscsi.MaxXmitDataSegmentLength": 1 << 18})
    assert sim.initiator.show(session)["MaxXmitDataSegmentLength"] == \
        str(KINDS[kind].get("recv_dsl", 8192))
    sim.io(session)
    counted = sim.hca.counters()
    assert counted["cmds_write"] and counted["cmds_read"]
    assert counted["connects"] == 1, "the connection was lost meanwhile"
    assert not counted["pdus_waited"], "a real adapter of this kind would have hung up"
    sim.ends_well(session)


@pytest.mark.parametrize("kind", ("MRs with gaps", "incoherent memory"))
def test_memory_layouts(sim, kind):
    """Buffers that start anywhere, and lists of pieces with holes between them.

    Not in commands of a page each: two of a buffer would share a cache line, which the kernel's own
    check of mappings takes for a mistake of the driver.
    """
    sim.adapter(**KINDS[kind])
    session = sim.login()
    sim.layouts(session)
    assert sim.hca.counters()["connects"] == 1, "the connection was lost meanwhile"
    sim.ends_well(session)


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


def test_a_list_of_targets_in_several_messages(sim):
    """iscsiadm asks for the next piece until it has all of them."""
    sim.hca.set(portals=4, targets=64)
    sim.hca.fault(at="rsp_text", count=0, do="delay", us=1)
    found = sim.initiator.targets(sim.hca.portal())
    assert len(found) == 256 and set(found) == {
        (f"{sim.hca.portal(portal)}:3260", sim.hca.iqn(target))
        for portal in range(4) for target in range(64)}
    assert sim.hca.hits()[0] > 1, "it was one message"
    assert sim.kept_the_rules() and not sim.left()


@pytest.mark.parametrize("has", (False, True))
def test_what_a_disk_can_do(sim, has):
    """A volatile cache and thin provisioning: the kernel learns it, and who asks for the page."""
    sim.adapter(thin=has, wce=has)
    session = sim.login()
    disk = f"/sys/block/{session.disk[5:]}"
    told = sim.guest.run(f"cat {disk}/device/scsi_disk/*/cache_type "
                         f"{disk}/device/scsi_disk/*/provisioning_mode").stdout.split("\n")
    assert told[:2] == (["write back", "unmap"] if has else ["write through", "full"])
    assert bool(int(sim.guest.read(f"{disk}/queue/discard_max_bytes"))) == has

    caching = bytes((0x08, 18, 4 * has, *bytes(17)))
    control = bytes((0x0a, 10, 0, 0x10, *bytes(8)))
    for page, expected in ((0x08, caching), (0x0a, control), (0x3f, caching + control)):
        ask = f"sg_raw --binary --request=192 {session.disk}"
        six = sim.guest.run(f"{ask} 1a 00 {page:02x} 00 c0 00").output
        ten = sim.guest.run(f"{ask} 5a 00 {page:02x} 00 00 00 00 00 c0 00").output
        assert six == bytes((3 + len(expected), 0, 0x10, 0)) + expected
        assert ten == bytes((0, 6 + len(expected), 0, 0x10, 0, 0, 0, 0)) + expected
    sim.ends_well(session)


def test_disks_that_are_not_thin_keep_their_blocks(sim):
    """UNMAP and WRITE SAME are refused, and change nothing."""
    sim.adapter(thin=0)
    session = sim.login()
    sim.guest.run(f"""
        head -c 64k /dev/urandom >/tmp/data
        dd if=/tmp/data of={session.disk} bs=64k oflag=direct""")
    for command in ("sg_unmap --force --lba=8 --num=8", "sg_write_same --16 --lba=8 --num=8",
                    "sg_write_same --10 --lba=8 --num=8"):
        refused = sim.guest.run(f"{command} {session.disk}", check=False)
        assert refused.status == INVALID_OPCODE, refused.stderr
    sim.guest.run(f"cmp -n 64k {session.disk} /tmp/data")
    sim.ends_well(session)


def test_unmap_and_write_same(sim):
    """Blocks become zeros, or what they are to be, and not their neighbours: in pages and parts."""
    session = sim.login()
    sim.guest.run(f"""
        set -e
        was() {{ dd if=$1 of=/tmp/data bs=512 seek=$2 count=$3 conv=notrunc; }}
        head -c 64k /dev/urandom >/tmp/data
        head -c 512 /dev/urandom >/tmp/block
        cat $(yes /tmp/block | head -n 32 || true) >/tmp/blocks
        dd if=/tmp/data of={session.disk} bs=64k oflag=direct
        sg_unmap --force --lba=3,25 --num=20,2 {session.disk}
        was /dev/zero 3 20; was /dev/zero 25 2
        sg_write_same --16 --unmap --lba=30 --num=9 {session.disk}
        was /dev/zero 30 9
        sg_write_same --10 --in=/tmp/block --lba=50 --num=11 --xferlen=512 {session.disk}
        was /tmp/blocks 50 11
        sg_write_same --16 --in=/tmp/block --lba=70 --num=17 --xferlen=512 {session.disk}
        was /tmp/blocks 70 17
        dd if={session.disk} bs=64k count=1 iflag=direct | cmp - /tmp/data""")
    sim.ends_well(session)


def cdb(what, size, place, blocks=8):
    """Eight blocks are to be read or written by a command of that many bytes."""
    code = {6: 0x08, 10: 0x28, 12: 0xa8, 16: 0x88}[size] + (2 if what == "write" else 0)
    if size == 6:
        return struct.pack(">IBx", code << 24 | place, blocks).hex(" ")
    form = {10: ">BxIxHx", 12: ">BxIIxx", 16: ">BxQIxx"}[size]
    return struct.pack(form, code, place, blocks).hex(" ")


def test_reads_and_writes_of_all_sizes_of_commands(sim):
    """Those with 6, 10, 12 and 16 bytes mean the same blocks, and the last any of 64 bits."""
    sim.adapter(capacity_mb=3 << 20)
    session = sim.login()
    places = {6: 0x1ffff0, 10: 0xfffffff0, 12: 0x80000008, 16: (1 << 32) + 8}
    for size, place in places.items():
        sim.guest.run(f"""
            set -e
            dd if={session.disk} of=/tmp/low bs=4k skip=1 count=1 iflag=direct
            head -c 4k /dev/urandom >/tmp/data
            sg_raw --send=4096 --infile=/tmp/data {session.disk} {cdb("write", size, place)}
            sg_raw --request=4096 --outfile=/tmp/got {session.disk} {cdb("read", size, place)}
            cmp /tmp/data /tmp/got
            dd if={session.disk} bs=4k skip={place // 8} count=1 iflag=direct | cmp - /tmp/data
            dd if={session.disk} bs=4k skip=1 count=1 iflag=direct | cmp - /tmp/low""")
    sim.ends_well(session)


@pytest.mark.parametrize("blocks", (8, 256))
def test_commands_of_32_octets(sim, blocks):
    """The rest of them is in an additional header, between what each PDU has and its data."""
    session = sim.login()
    where = f"00 00 {100:016x} {100:08x} 00 00 00 00 {blocks:08x}"
    read, write = (f"7f 00 00 00 00 00 00 18 00 {action} {where}" for action in ("09", "0b"))
    read, write = (" ".join(re.findall("..", cdb.replace(" ", ""))) for cdb in (read, write))
    size = 512 * blocks
    sim.guest.run(f"""
        set -e
        head -c {size} /dev/urandom >/tmp/data
        sg_raw --send={size} --infile=/tmp/data {session.disk} {write}
        dd if={session.disk} bs=512 skip=100 count={blocks} iflag=direct | cmp - /tmp/data
        sg_raw --request={size} --outfile=/tmp/read {session.disk} {read}
        cmp /tmp/read /tmp/data""")
    refused = sim.guest.run(f"sg_raw {session.disk} {read.replace(' 00 09 ', ' ff ff ', 1)}",
                            check=False)
    assert "Invalid field in cdb" in refused.stdout + refused.stderr
    assert sim.hca.counters()["connects"] == 1, "the connection was lost meanwhile"
    sim.ends_well(session)


def test_discovery_on_an_adapter_that_is_quick(sim):
    """Answers are there before a post comes back; iscsiadm, which would miss them, does not."""
    sim.hca.set(engine_prio=100)
    for _ in range(10):
        found = sim.initiator.discover(sim.hca.portal())
        assert len(found.stdout.splitlines()) == 1
        # it asks again when it has missed something, after 30 seconds
        assert found.seconds < 10 * sim.guest.kernel.patience
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
        assert job.poll() is None
    finally:
        sim.hca.power(True)
        sim.guest.run("echo 1 >/sys/devices/system/cpu/cpu1/online", timeout=30)
    job.wait(timeout=120)
    assert sim.kept_the_rules()
