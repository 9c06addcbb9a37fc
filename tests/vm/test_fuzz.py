# SPDX-License-Identifier: GPL-2.0-only
"""A target that does something bad at every turn, chosen by a sequence of numbers.

Normally: I/O of many kinds, discoveries, logouts and logins run over a simulated adapter, whose
target mutates what it sends, completes what it executes with errors, and loses connections, again
and again. Its pace changes, the wire goes down, and now and then the device is gone. Data may be
wrong meanwhile and commands may fail, as the target is free to lie; the kernel must not mind. Then
the target behaves again, and so does everything.

Recovery: a failure names the seed; `make fuzz SEED=...` begins with the same sequence.
"""

import random
import time

import pytest

from iserlab import reports

KERNELS = ("debug",)
IDLE = 300      # seconds without anything bad would show nothing
# More sessions than processors, as some of them always wait; and not for long for one that is lost,
# as iscsid does nothing else while the last words of a session wait for it.
SESSIONS = {"node.session.nr_sessions": 6, "node.session.timeo.replacement_timeout": 3}

# Rules that are broken for a good reason. A target that lies about StatSN is told its own lies, and
# one that says in a login what it does not remember gets data that it did not want. A login or text
# request may give way to the next one, see iser_xmit_login(). And who is told that a login goes on
# goes on with it.
EXCUSED = {"v_statsn", "v_terms", "v_resend_login", "v_login"}

# One of what is rare, as chance could leave it out of a short run; and then chance. What ends a
# connection is rare: each costs a login, and what else could be tried on it.
RULES = """
at=cmd nth=90 do=port_down val=300000
at=cmd nth=120 do=dev_fatal
at=cmd nth=150 do=remove
at=rsp_login nth=5 every=12 count=0 do=random seed={seed}
at=rsp_text nth=1 every=2 count=0 do=random
at=rsp_logout nth=1 every=2 count=0 do=random
at=connect nth=4 every=12 count=0 do=random
at=rsp_read nth=9 every=301 count=0 do=flood val=64
at=rsp nth=2 every=2 count=0 do=random
at=recv nth=300 every=1009 count=0 do=random
at=wr nth=400 every=1511 count=0 do=random
at=cmd nth=50 every=211 count=0 do=random
"""

# The SCSI layer allocates as much for the list of LUNs as the target says that it takes, and warns
# if that cannot be: for this long it does not ask for it (BLIST_NOREPORTLUN).
NO_REPORT_LUNS = 1 << 18
SCAN_FLAGS = "/sys/module/scsi_mod/parameters/default_dev_flags"
UDEV = "/lib/systemd/systemd-udevd"

# What all jobs begin with. A process takes long to begin and to end where all is checked: none does
# only to wait or to compare.
JOB = """
exec >/dev/null 2>&1
exec {never}<> <(:)
pause() { read -rt "$1" <&$never; }
is() { read -r found <"$2" && [ "$found" = "$1" ]; }
"""

# Errors are expected. What matters is that it is of all kinds and never ends. What the SCSI layer
# fails by itself is of no use: a disk that it has given up is made to run again; but not while its
# queue is stopped, as that reads from the disk, and could wait for good. A file where a disk's
# node was until now would be in the way of the next one. A connection may not live as long as fio
# takes to begin; dd gets some unsolicited data through.
LOAD = """
cd /tmp
while :; do
    disks=(/sys/block/sd*)
    name=${{disks[{number}]##*/}}
    disk=/dev/$name
    device=/sys/block/$name/device
    session=$device/../../iscsi_session
    is LOGGED_IN $session/*/state || {{ pause 2; continue; }}
    echo 5 >$device/timeout
    timeout 20 dd if=/dev/zero of=$disk bs=64k count=20 oflag=direct
    timeout 60 fio --name=io --thread --filename=$disk --rw=randrw --size=256m --number_ios=3000 \\
        --bssplit=512/20:4k/40:16k/20:64k/15:1m/5 --iodepth=32 --ioengine=libaio --direct=1 \\
        --continue_on_error=all --allow_file_create=0 &
    while ! pause 1 && kill -0 $!; do
        is offline $device/state && is LOGGED_IN $session/*/state && echo running >$device/state
    done
    timeout 20 dd if=$disk of=/dev/null bs=64k count=20
    timeout 20 sg_inq $disk
    timeout 20 sg_vpd -p 0xb0 $disk
    timeout 20 sg_raw -r 4096 $disk 28 00 ff ff ff fe 00 00 01 00
    timeout 20 sg_unmap --force --lba=8 --num=64 $disk
    timeout 20 sg_reset --device $disk
done
"""

# iscsid gives a session up when a login is refused for good, as a mad target may do. One that found
# no disk does nothing more.
COME_AND_GO = """
useless() { ! [ -d "$1"/device/target*/*/block ]; }
while ! pause 5; do
    sessions=(/sys/class/iscsi_session/*)
    chance=${sessions[RANDOM % ${#sessions[@]}]}
    for session in "${sessions[@]}"; do
        is LOGGED_IN "$session/state" && { [ "$session" = "$chance" ] || useless "$session"; } &&
            iscsiadm -m session -r "${session##*session}" -u
    done
    timeout 10 iscsiadm -m node -l
done
"""

# Nobody takes back what a discovery has in the kernel if iscsiadm is killed: this ends by itself.
ASKING = "/run/asking"
ASK = """
ask="iscsiadm -m discoverydb -t st -p {portal} -I iser"
$ask -o new
$ask -o update -n discovery.sendtargets.timeo.login_timeout -v 5 \\
    -n discovery.sendtargets.timeo.active_timeout -v 5
while [ -e {asking} ]; do
    $ask -o nonpersistent -D
    pause 3
done
"""

# What is gone comes again: the device, and the wire of a connection that ended meanwhile.
MEND = """
while ! pause 1; do
    echo 1 >{power}
    echo link=1 >{knobs}
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


def of_all_kinds(counted):
    """Whether the structure of PDUs was bad often enough, and I/O of all kinds met that."""
    return counted["pdus_odd"] > counted["pdus_fuzzed"] // 64 and \
        counted["bytes_unsolicited"] and counted["connects"] > 1


@pytest.mark.breaks_rules       # looks itself, see EXCUSED
@pytest.mark.timeout(6 * 3600)
def test_a_target_that_is_mad(sim, request, tell):
    """Never a report, never a leak, and all is well afterwards."""
    option = request.config.getoption
    seed = option("seed") or random.SystemRandom().randrange(1, 2 ** 31)
    print(f"fuzz: seed {seed}")
    # else a login with unsolicited data would be a matter of chance
    sim.hca.set(initial_r2t=0)
    sessions = sim.initiator.login(sim.hca.iqn(), sim.hca.portal(), SESSIONS)
    # whatever udev looks at comes late, or never, and a queue of that would be long in the end
    sim.guest.run(f"echo {NO_REPORT_LUNS} >{SCAN_FLAGS}; udevadm control --exit")
    sim.guest.write(ASKING, "")
    asking = sim.guest.spawn(JOB + ASK.format(asking=ASKING, portal=sim.hca.portal()))
    jobs = [sim.guest.spawn(JOB + LOAD.format(number=number)) for number in range(len(sessions))]
    jobs += [sim.guest.spawn(JOB + COME_AND_GO), sim.guest.spawn(JOB + MEND.format(
        power=sim.hca.file("power"), knobs=sim.hca.file("knobs")))]
    end = time.monotonic() + option("seconds")

    def enough():
        late, counted = time.monotonic() - end, sim.hca.counters()
        return late > 0 and counted["pdus_fuzzed"] >= option("count") and \
            (late > IDLE or of_all_kinds(counted) and all(sim.hca.hits()))

    try:
        go_mad(sim, seed, enough, [asking, *jobs])
    finally:
        counted, hits = sim.hca.counters(), sim.hca.hits()
        sim.hca.calm()
        sim.guest.run(f"rm {ASKING}; echo 0 >{SCAN_FLAGS}; {UDEV} --daemon")
        for job in jobs:
            job.kill()
    tell(f"fuzz: seed {seed}: {counted['pdus_fuzzed']} PDUs mutated of {counted['pdus_out']}, "
         f"{counted['pdus_odd']} of them in structure, and {counted['pdus_flooded']} in floods; "
         f"{counted['fuzzed']} bad choices, {counted['connects']} connections, "
         f"{counted['cmds']} commands, {counted['discoveries']} discoveries, "
         f"{counted['logouts']} logouts, {counted['bytes_unsolicited']} bytes unsolicited")
    for job in (asking, *jobs):
        job.wait(timeout=300, check=False)
    sim.hca.power(True)
    sim.initiator.clear()
    sim.io(sim.login())
    sim.initiator.clear()
    assert not set(sim.hca.counters().violations) - EXCUSED, "\n".join(sim.hca.violations())
    assert not sim.left()
    leaks = sim.guest.leaks()
    assert not leaks, leaks
    assert all(hits), f"rules that never acted: {hits}"
    assert of_all_kinds(counted)
