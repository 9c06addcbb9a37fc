# SPDX-License-Identifier: GPL-2.0-only
"""libiscsi's conformance suite: what it finds over iSER it finds over TCP.

Normally: the whole suite runs on the standing LUN, on one kernel by default, as it takes long.

Recovery: as everywhere, see rig.py.
"""

import re

import pytest

from rig import IQN

KERNELS = ("6.12",)
# The test of EXTENDED COPY sends 1 MiB whatever the limit of the device is that it was told, and
# LIO has a work item on its stack for it, which DEBUG_OBJECTS reports below a lock of its own.
WITHOUT_COPY = "shopt -s nullglob; " \
    "for each in /sys/kernel/config/target/core/*/*/attrib/emulate_3pc; do " \
    "echo 0 >$each || exit; done"


@pytest.fixture(name="tcp")
def fixture_tcp(lun):
    """A session with the same LUN over TCP, which the test has to end."""
    (session,) = lun.host.tcp.login(IQN, lun.host.tcp_portal)
    return session


def conformance(disk, guest, tests):
    """Run some of libiscsi's tests to their end; (those that failed, all, what it said)."""
    said = guest.run(f"iscsi-test-cu --dataloss --verbose --test={tests} {disk}", check=False,
                     timeout=600).stdout
    assert "Run Summary" in said, said[-2000:]
    suite, test, failed, ran = None, None, set(), set()
    for found in re.finditer(r"^Suite: (\S+)|^  Test: (\S+) \.\.\.|(passed|FAILED)$", said,
                             re.MULTILINE):
        if found[1]:
            suite = found[1]
        elif found[2]:
            assert test in ran | {None}, f"{test} has no verdict"
            test = f"SCSI.{suite}.{found[2]}"
        else:
            ran.add(test)
            if found[3] == "FAILED":
                failed.add(test)
    assert test in ran, f"{test} has no verdict"
    return failed, ran, said


def test_conformance_is_that_of_iscsi_tcp(lun, tcp):
    """No test of libiscsi's suite fails over iSER that passes over TCP on the same LUN.

    Those that fail in the whole suite are repeated alone over both, as what went before
    may be the reason.
    """
    guest = lun.host.guest
    guest.run(WITHOUT_COPY)
    failed, ran, _ = conformance(lun.device, guest, "SCSI")
    assert len(ran) > 150
    only_iser = []
    for test in sorted(failed):
        failed_alone, ran, said = conformance(lun.device, guest, test)
        assert ran == {test}
        if not failed_alone:
            continue
        failed_tcp, ran, _ = conformance(tcp.disk, guest, test)
        assert ran == {test}
        if not failed_tcp:
            only_iser.append(said)
    lun.host.tcp.logout(tcp)
    assert not only_iser, "\n".join(only_iser)
