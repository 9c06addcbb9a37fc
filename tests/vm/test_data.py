# SPDX-License-Identifier: GPL-2.0-only
"""Data: what was written is what is there, for all sizes, alignments and depths.

Normally: fio verifies what it reads by crc32c; a part of the LUN was written on the
target's side before, so reads are checked against what never went through the
initiator. Lengths at the edges of immediate data, first burst and max burst, and odd
memory layouts, are compared on the target's side byte by byte.

Recovery: as everywhere, see rig.py; fio jobs are bounded by size.
"""

import itertools
import json

import pytest

from iserlab import variants
from iserlab.target import Disk, Target
from rig import IQN, LAYOUTS

SAMPLE = {"6.1": 3, "6.12": 2}

KIB = 1024
SIZES = ("512", "1536", "4k", "12800", "64k", "100k", "512k", "1m")
UNALIGNED = {"64k+4": ("64k", 4), "64k+512": ("64k", 512), "1m+2052": ("1m", 2052)}
REQUESTS = {"512k": 24, "1m": 12}   # of a size; 64 of the smaller ones
AREA = 16 << 20

FIO = """
[global]
filename={device}
ioengine={engine}
iodepth={depth}
direct=1
thread=1
verify=crc32c
verify_interval=512
verify_fatal=1
allow_file_create=0
"""
READ = "rw=randread\noffset=0\nsize={area}\nio_size={bytes}\n"
WRITE = "rw=randwrite\noffset={area}\nsize={bytes}\n"
LAY = ("fio --name=lay --filename=$STORE --rw=write --bs=256k --size={area} --ioengine=psync "
       "--thread --verify=crc32c --verify_interval=512 --do_verify=0 --allow_file_create=0 "
       "--output=/dev/null")


def jobs(workload):
    """The sections of a fio job file: for each size one job, or two that run at once."""
    parts = {"read": [READ], "write": [WRITE], "mixed": [READ, WRITE]}[workload]
    lines = []
    for name in (*SIZES, *UNALIGNED):
        size, align = UNALIGNED.get(name, (name, 0))
        count = REQUESTS.get(size, 64)
        length = int(size.rstrip("km")) * {"k": KIB, "m": KIB * KIB}.get(size[-1], 1)
        for number, part in enumerate(parts):
            lines += [f"[{name}]", f"bs={size}", *([] if number else ["stonewall"]),
                      *([f"mem_align={align}"] if align else []),
                      part.format(area=AREA, bytes=length * count)]
    return "\n".join(lines)


@pytest.fixture(name="laid")
def fixture_laid(lun):
    """The LUN, with an area that was written on the target's side."""
    if not getattr(lun, "laid", False):
        lun.run(LAY.format(area=AREA))
        lun.laid = True
    return lun


@pytest.mark.parametrize("engine", ("libaio", "io_uring"))
@pytest.mark.parametrize("depth", (1, 32))
@pytest.mark.parametrize("workload", ("read", "write", "mixed"))
def test_verified_io(laid, engine, depth, workload):
    """Every size and alignment, verified."""
    text = FIO.format(device=laid.device, engine=engine, depth=depth) + jobs(workload)
    done = laid.run("cat >/tmp/job.fio && fio --output=/tmp/fio.json --output-format=json "
                    "/tmp/job.fio; cat /tmp/fio.json", input=text, timeout=300)
    results = json.loads(done.stdout[done.stdout.index("{"):])["jobs"]
    expected = len(SIZES) + len(UNALIGNED)
    assert len(results) == expected * (2 if workload == "mixed" else 1)
    failed = [job["jobname"] for job in results if job["error"]]
    assert not failed, done.stderr
    assert all(job["read"]["io_bytes"] for job in results)


IMMEDIATE, FIRST_BURST, MAX_BURST = 8 * KIB, 64 * KIB, 256 * KIB
EDGES = sorted({512, 4 * KIB, 2 * MAX_BURST,
                *(edge + off for edge in (IMMEDIATE, FIRST_BURST, MAX_BURST)
                  for off in (-512, 0, 512))})
NEGOTIATED = list(itertools.product(("Yes", "No"), repeat=2))


@pytest.mark.parametrize("immediate,initial_r2t", NEGOTIATED,
                         ids=[f"ImmediateData={a},InitialR2T={b}" for a, b in NEGOTIATED])
def test_writes_at_the_edges_of_bursts(host, immediate, initial_r2t):
    """Each byte of each write lands where it belongs, and not one beside it."""
    wanted = {"ImmediateData": immediate, "InitialR2T": initial_r2t}
    target = Target(IQN, parameters=tuple(wanted.items()))
    session = host.login(target, settings={f"node.session.iscsi.{name}": value
                                           for name, value in wanted.items()})
    shown = host.initiator.show(session)
    assert {name: shown[name] for name in wanted} == wanted
    assert (shown["FirstBurstLength"], shown["MaxBurstLength"]) == \
        (str(FIRST_BURST), str(MAX_BURST))
    host.program("direct.py", session.disk, target.disks[0].path, *EDGES)


def test_memory_layouts(lun):
    """Buffers that start anywhere, and lists of pieces with holes between them."""
    lun.host.program("direct.py", lun.device, lun.store, *LAYOUTS)


def test_no_scheduler_is_in_front_of_the_target(lun):
    """It has one of its own, and there is one queue of commands to it."""
    said = lun.run("cd /sys/block/${DEVICE#/dev/} && ls mq && cat queue/scheduler").stdout
    assert said.split()[:2] == ["0", "[none]"]


def test_more_commands_than_the_session_has(host):
    """Four LUNs, each of which could use all: they wait for each other, and nothing is lost."""
    target = Target(IQN, tuple(Disk(f"disk{number}", 16) for number in range(4)))
    session = host.login(target, settings={"node.session.cmds_max": 32,
                                           "node.session.queue_depth": 128})
    fio = "fio --rw=randwrite --bs=4k --size=4m --ioengine=libaio --iodepth=64 --direct=1 " \
        "--verify=crc32c --thread --allow_file_create=0 --output=/dev/null"
    disks = session.disks.values()
    assert len(disks) == len(target.disks)
    for disk in disks:
        each, all_of_them = host.guest.run(f"""cd /sys/block/{disk.removeprefix("/dev/")}/device
            cat queue_depth ../../../scsi_host/host*/can_queue""").stdout.split()
        assert each == all_of_them
    jobs = " ".join(f"--name={disk} --filename={disk}" for disk in disks)
    host.guest.run(f"{fio} {jobs}", timeout=180)


def invalidates_itself(host, session, target):
    """All keys are dead in the end, and it was not the target who killed them."""
    host.program("direct.py", session.disk, target.disks[0].path, *EDGES,
                 *(f"{length}:gaps" for length in EDGES))
    if host.stock:
        return True     # it does not count
    counted = host.initiator.statistics(session)
    return counted["rkeys_invalidated_local"] and not counted["rkeys_invalidated_remote"]


def test_a_target_that_never_invalidates(host):
    """tgt: all writes are solicited, and each registration is invalidated on our side."""
    target = Target(IQN)
    host.tgt.serve(target)
    (session,) = host.initiator.login(IQN, host.portal)
    assert invalidates_itself(host, session, target)


def test_a_target_that_is_told_not_to_invalidate(host):
    """LIO does what the initiator says that it is capable of."""
    host.use(variants.of(variants.ALONE))
    target = Target(IQN)
    assert invalidates_itself(host, host.login(target), target)


def test_a_target_that_invalidates(host):
    """LIO: nothing is left to be done on our side."""
    target = Target(IQN)
    session = host.login(target)
    assert not invalidates_itself(host, session, target)
    counted = host.initiator.statistics(session)
    assert counted["rkeys_invalidated_remote"] and not counted["rkeys_invalidated_local"]
