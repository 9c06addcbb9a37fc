# SPDX-License-Identifier: GPL-2.0-only
"""That the simulated adapter sees what is wrong, and that others than ours can use it.

Normally: a variant of the module that breaks one rule (variants.py) moves data, and the adapter
counts that violation, on which other tests rely. And the kernel's own module moves data over it.

Recovery: the next test gets our module back.
"""

import pytest

import test_adapters
from iserlab import variants

KERNELS = ("6.12",)     # all with --all
SAMPLE = 3

LATE = test_adapters.KINDS["late acknowledgements"]
# name: (edits, kind of adapter and target, what is seen of it)
BROKEN = {
    "keys outlive their commands": (variants.ALONE + variants.LIVE_KEYS, {},
                                    ("v_unmap_live_rkey", "v_itt_live_rkey")),
    "Sends outlive their commands": (variants.UNWAITED_SENDS, LATE, ("v_unmap_in_flight",)),
    "all rights": (variants.ALL_RIGHTS, {}, ("v_mr_excess_rights",)),
}
# what the kernel's own module does
KNOWN = {"v_mr_excess_rights", "v_unmap_live_rkey"}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_rule_is_seen(sim, what):
    """The I/O may work all the same."""
    edits, kind, seen = BROKEN[what]
    sim.use(variants.of(edits))
    sim.adapter(**kind)
    session = sim.login()
    # the second time with tasks that the first time left behind
    for depth in (32, 1):
        sim.start_io(session, iodepth=depth, verify=False).wait(timeout=120, check=False)
    counted = sim.hca.counters()
    missing = [name for name in seen if not counted[name]]
    assert not missing, "\n".join(sim.hca.violations())


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
