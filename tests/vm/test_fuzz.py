# SPDX-License-Identifier: GPL-2.0-only
"""A target that does something bad at every turn, chosen by a sequence of numbers.

Normally: I/O of many kinds runs over a simulated adapter, whose target mutates what it
sends, completes what it executes with errors, and loses connections, again and again. Data
may be wrong meanwhile and commands may fail, as the target is free to lie; the kernel must
not mind. Then the target behaves again, and so does everything.

Recovery: a failure names the seed; `make fuzz SEED=...` begins with the same sequence.
"""

import random
import time

import pytest

from iserlab import reports

KERNELS = ("debug",)
IDLE = 300      # seconds without anything bad would show nothing
SESSIONS = {"node.session.nr_sessions": 3, "node.session.timeo.replacement_timeout": 15}

RULES = """
at=rsp_login nth=5 every=5 count=0 do=random seed={seed}
at=connect nth=4 every=4 count=0 do=random
at=rsp_read nth=9 every=13 count=0 do=flood val=64
at=rsp nth=2 every=2 count=0 do=random
at=recv nth=300 every=307 count=0 do=random
at=wr nth=400 every=401 count=0 do=random
at=cmd nth=50 every=53 count=0 do=random
"""

# Errors are expected. What matters is that it is of all kinds and never ends.
LOAD = """
exec >&- 2>&-
cd /tmp
while :; do
    disks=(/sys/block/sd*)
    name=$(basename "${{disks[{number}]}}")
    disk=/dev/$name
    echo 5 >/sys/block/$name/device/timeout || {{ sleep 1; continue; }}
    for bytes in 512 4096 65536 1048576; do
        timeout 20 dd if=$disk of=/dev/null bs=$bytes count=40 iflag=direct
        timeout 20 dd if=/dev/zero of=$disk bs=$bytes count=20 oflag=direct conv=nocreat
    done
    timeout 20 sg_inq $disk
    timeout 20 sg_vpd -p 0xb0 $disk
    timeout 20 sg_raw -r 4096 $disk 28 00 ff ff ff fe 00 00 01 00
    timeout 20 sg_unmap --lba=8 --num=64 $disk
    timeout 20 sg_reset --device $disk
    timeout 20 fio --name=io --thread --filename=$disk --rw=randrw --bs=8k --size=1m \\
        --iodepth=32 --ioengine=libaio --direct=1 --continue_on_error=all
done
"""

# iscsid gives a session up when a login is refused for good, as a mad target may do.
LOG_IN = """
exec >&- 2>&-
while :; do
    sleep 5
    iscsiadm -m node -l
done
"""


def go_mad(sim, seed, enough, jobs):
    """Run jobs over a target that does something bad at every turn, until it is enough."""
    mark = sim.guest.mark(f"fuzz: seed {seed}")
    sim.hca.rules(*RULES.format(seed=seed).strip().splitlines())
    mutated, since = 0, time.monotonic()
    while not enough():
        time.sleep(5)
        end = sim.guest.console_log.stat().st_size
        assert not reports.find(sim.guest.console(mark)), f"seed {seed}"
        mark = end
        assert all(job.poll() is None for job in jobs), f"seed {seed}"
        before, mutated = mutated, sim.hca.counters()["pdus_fuzzed"]
        since = since if mutated == before else time.monotonic()
        assert time.monotonic() - since < IDLE, f"nothing was mutated for {IDLE} s; seed {seed}"


@pytest.mark.timeout(6 * 3600)
def test_a_target_that_is_mad(sim, request, tell):
    """Never a report, never a leak, and all is well afterwards."""
    option = request.config.getoption
    seed = option("seed") or random.SystemRandom().randrange(1, 2 ** 31)
    print(f"fuzz: seed {seed}")
    sessions = sim.initiator.login(sim.hca.iqn(), sim.hca.portal(), SESSIONS)
    jobs = [sim.guest.spawn(LOAD.format(number=number)) for number in range(len(sessions))]
    jobs.append(sim.guest.spawn(LOG_IN))
    end = time.monotonic() + option("seconds")
    try:
        go_mad(sim, seed, lambda: time.monotonic() > end and
               sim.hca.counters()["pdus_fuzzed"] >= option("count"), jobs)
    finally:
        counted = sim.hca.counters()
        sim.hca.calm()
        for job in jobs:
            job.kill()
    tell(f"fuzz: seed {seed}: {counted['pdus_fuzzed']} PDUs mutated of {counted['pdus_out']}, "
         f"and {counted['pdus_flooded']} in floods; {counted['fuzzed']} bad choices, "
         f"{counted['connects']} connections, {counted['cmds']} commands")
    for job in jobs:
        job.wait(timeout=300, check=False)
    sim.initiator.clear()
    sim.io(sim.login())
    sim.initiator.clear()
    # a target that lies about StatSN is told its own lies
    broken = [note for note in sim.hca.violations() if not note.startswith("v_proto")]
    assert not broken, "\n".join(broken)
    assert not sim.left()
    leaks = sim.guest.leaks()
    assert not leaks, leaks
    assert counted["fuzzed"] and counted["connects"] > 1
