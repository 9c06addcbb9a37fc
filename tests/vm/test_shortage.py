# SPDX-License-Identifier: GPL-2.0-only
"""Memory runs out, at each place of the module that needs any, in turn.

Normally: a target is asked what it has; a session is made, moves data, much at once and with
Data-Outs, too, is reset, loses its connection, moves data again and goes. Twice that is only
watched, for the places; then one allocation below one of them fails in each of these parts.
Until then commands may fail; at the end data are right, the rules of the verbs were kept, and
nothing is left. And so for each allocation of the module's load.

Recovery: a failure names the place and how many allocations went well there before. Lost
memory shows at the life after that which lost it, as kmemleak has to see it twice; at the end
it is too late for some, to which old memory still points by chance.
"""

import contextlib
import itertools
from collections import Counter

import pytest

from iserlab import reports, shortage

KERNELS = ("debug",)
CAPABLE = ("debug", "mainline")
SAMPLE = 2
FEW = 16        # by default one of so many places, or allocations at load
EACH = 8        # allocations below a place fail one by one, then in powers of two,
OFTEN = 64      # until there are no more, or that many
# places that there have to be, or the kernel's tracing did not find them
AT_LEAST = {"failslab": 20, "fail_page_alloc": 3}

SHELL = """
cd /tmp
disk() {{
    until disk=/sys/class/iscsi_session/*/device/target*/*/block/* && [ -e $disk ]; do
        sleep 0.1
    done
    disk=/dev/$(basename $disk)
}}
wrong() {{ echo WRONG DATA; }}
move() {{
    dd if=data of=$disk bs=64k oflag=direct && dd if=$disk of=got bs=8k count=32 iflag=direct &&
        {{ cmp got data || wrong; }}
}}
at_once() {{
    fio --name=io --thread --filename=$disk --rw=randwrite --bs=32k --size=1m --iodepth=32 \
        --ioengine=libaio --direct=1 --verify=crc32c --allow_file_create=0 --output=/dev/null \
        2>said
    set -- $?
    grep verify: said && wrong
    return $1
}}
discover() {{ iscsiadm -m discovery -t st -p {portal} -I iser -o nonpersistent; }}
"""
# A session's life. Its parts are short of memory one by one. In the end discovery and I/O have to
# work; before that they may fail, but what did not fail is right.
LIFE = {
    "discovery": "head -c 256k /dev/urandom >data; discover || discover",
    "login": "iscsiadm -m node -l || iscsiadm -m node -l; disk",
    "I/O": "disk; at_once; move; true",
    "recovery": """
disk
sg_reset --device $disk
echo at=now do=qp_fatal >{faults}
{{ move || move; }} && {{ at_once || at_once; }}
""",
    "logout": "iscsiadm -m session -u; true",
}


# The iSCSI class tells iscsid of an error once, and not at all if it has no memory for that;
# no transport can know. The session is lost then.
NOT_TOLD = "gracefully ignored conn error"
SETTINGS = {"node.session.timeo.replacement_timeout": 15}


def live(sim, short=contextlib.nullcontext):
    """A session's whole life, each part of it short of something; whether it ended well.

    With a new device, as what the RDMA core keeps for one, completion queues, is had only once.
    """
    sim.hca.power(False)
    sim.hca.power(True)
    words = {"faults": sim.hca.file("faults"), "portal": sim.hca.portal()}
    worked = True
    for part in LIFE.values():
        with short():
            done = sim.guest.run((SHELL + part).format(**words), timeout=600, check=False)
        assert "WRONG DATA" not in done.stdout, done.stdout
        worked &= not done.status
    return worked


def must_live(sim):
    """With nothing against it."""
    assert live(sim)


def all_is_well(sim, worked, mark):
    """Whether that was a good end, and nothing is left."""
    sim.initiator.log_out()
    sim.guest.look_for_leaks()
    log = sim.guest.console(mark)
    # then it has to work without a shortage
    assert worked or NOT_TOLD in log and live(sim)
    assert not reports.find(log)
    assert sim.kept_the_rules()
    assert not sim.left()


def load_once(sim, nth):
    """Load it, short of memory or not; whether that happened."""
    sim.guest.mark(f"load, allocation {nth}")
    sim.initiator.unload()
    loaded, short = shortage.load(sim.guest, nth)
    assert loaded or short
    if not loaded:
        assert sim.guest.run("[ -e /sys/class/iscsi_transport/iser ]", check=False).status
        sim.initiator.load()
    return short


@pytest.mark.timeout(1800)
def test_memory_runs_out_at_load(sim, sampled, tell):
    """The module is loaded, or is not and leaves nothing; then it can be."""
    tried = 0
    with shortage.only_at_load(sim.guest):
        for nth in itertools.count(1, FEW if sampled else 1):
            if not load_once(sim, nth):
                break
            tried += 1
    tell(f"load: {tried} of {nth - 1} allocations failed")
    assert tried > 4
    sim.io(sim.login())
    sim.initiator.log_out()
    leaks = sim.guest.leaks()
    assert not leaks, leaks


def following(nth):
    """The allocation below a place that fails next."""
    return nth + 1 if nth < EACH else 2 * nth


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("kind", shortage.KINDS)
def test_memory_runs_out(sim, request, sampled, tell, kind):
    """Once at some of the places, with --kernel at each, with --all several times."""
    often = OFTEN if request.config.getoption("all") else 1
    step = FEW if sampled else 1
    sim.hca.set(initial_r2t=0)
    sim.initiator.record(sim.hca.iqn(), sim.hca.portal(), SETTINGS)
    places = shortage.places(sim.guest, kind, lambda: must_live(sim))
    memory = shortage.Shortage(sim.guest, kind)
    tried, failed = 0, Counter()
    assert len(places) >= AT_LEAST[kind]
    for name, place in list(places.items())[::step]:
        nth = 1
        while nth <= often:
            mark = sim.guest.mark(f"{kind}: {name}, allocation {nth}")
            before = memory.times
            worked = live(sim, lambda: memory.exhausted(place, nth))
            times = memory.times - before
            failed[name] += times
            tried += 1
            print(f"{kind}: {name}, allocation {nth}: {times} times")
            all_is_well(sim, worked, mark)
            nth = following(nth) if times else often + 1
    tell(f"{kind}: of {len(places)} places every {step}.: {tried} lives, "
         f"{failed.total()} parts of them short of memory")
    leaks = sim.guest.leaks()
    assert not leaks, leaks
    never = [name for name, times in failed.items() if not times]
    assert not never, f"never short of memory: {never}"
