# SPDX-License-Identifier: GPL-2.0-only
"""The unit tests (tests/kunit), as `make kunit` runs them, side by side with other guests.

Normally: a guest of its own, as the suites are the module and do not want another one.

Recovery: a failure shows the tests that failed and what the kernel reported.
"""

from iserlab import kunit
from iserlab.guest import Guest
from rig import BOOT

KERNELS = ("debug",)
CAPABLE = ("debug", "mainline")


def test_units(rig, tell):
    """All suites pass, and the kernel has nothing to report."""
    with Guest(rig.kernel, name="kunit", workdir=rig.logs, boot_timeout=BOOT) as guest:
        suites, found = kunit.run(guest)
    tests = sum(suite.total for suite in suites)
    tell(f"kunit: {len(suites)} suites, {tests} tests")
    assert not found, "\n".join(found)
    assert all(suite.ok for suite in suites), "\n".join(kunit.summary(suites))
