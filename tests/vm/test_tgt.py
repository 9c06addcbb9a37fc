# SPDX-License-Identifier: GPL-2.0-only
"""tgt in place of LIO: those tests of other files that tgt can be the target of.

Normally: the fixtures `lun` and `host` of this file serve with tgt, `tcp` is another target of the
same daemon with the same store; the tests are the same. tgt never invalidates remotely and takes
immediate data only if told to, see iserlab/tgt.py.

What is left out, as tgt has it not, or not like this: portals of its own, several addresses in
SendTargets (it names the one that was asked; a link-local one without its scope), refusals of
which it does not die (test_login.py has those), one target over iSER and TCP at once.

InitialR2T=No is negotiated. But if a write came in several unsolicited PDUs, and nothing of it has
to be fetched, tgt gathers it in the buffer of the last one, and what that one brought is lost,
whoever sends it: the kernel's own module sees the same.

Recovery: as everywhere, see rig.py; a failed test ends the daemon.
"""

import pytest

import test_conformance
import test_data
import test_filesystem
import test_login
import test_module
import test_scsi
from iserlab.target import BlockDisk, Portal, Target
from rig import IQN

# without the conformance suite, which takes minutes
SAMPLE = {"6.1": 13, "6.12": 13, "debug": 26}

test_conformance_is_that_of_iscsi_tcp = test_conformance.test_conformance_is_that_of_iscsi_tcp
fixture_laid = test_data.fixture_laid
test_verified_io = test_data.test_verified_io
test_memory_layouts = test_data.test_memory_layouts
test_files_survive_a_remount = test_filesystem.test_files_survive_a_remount
test_login_and_logout_twenty_times = test_login.test_login_and_logout_twenty_times
test_login_with_a_password = test_login.test_login_with_a_password
test_iscsiadm_shows_the_session = test_login.test_iscsiadm_shows_the_session
test_iscsiadm_shows_statistics = test_login.test_iscsiadm_shows_statistics
test_four_sessions_to_one_target = test_login.test_four_sessions_to_one_target
test_two_targets_with_four_luns_each_at_once = \
    test_login.test_two_targets_with_four_luns_each_at_once
test_unloading_is_refused_while_a_session_is_up = \
    test_module.test_unloading_is_refused_while_a_session_is_up
test_report_luns = test_scsi.test_report_luns
test_inquiry_and_capacity = test_scsi.test_inquiry_and_capacity
test_vital_product_data = test_scsi.test_vital_product_data
test_unmap_makes_zeros = test_scsi.test_unmap_makes_zeros
test_write_same = test_scsi.test_write_same
test_sense_data_arrives = test_scsi.test_sense_data_arrives
test_short_read_reports_the_residual = test_scsi.test_short_read_reports_the_residual
test_reset_under_verified_io = test_scsi.test_reset_under_verified_io


@pytest.fixture
def lun(rig, no_kernel_reports):
    """A LUN of tgt that is logged in over iSER."""
    del no_kernel_reports
    host = rig.host()
    return host.standing_lun(host.tgt)


@pytest.fixture
def host(host):  # pylint: disable=redefined-outer-name
    """A guest that serves with tgt, with nothing on it."""
    lio, host.target = host.target, host.tgt
    yield host
    host.target = lio


@pytest.fixture
def tcp(lun):  # pylint: disable=redefined-outer-name
    """A session over TCP with another target, whose LUN is on the same store."""
    portal = Portal(lun.host.port.ipv4, iser=False)
    target = Target(f"{IQN}-tcp", (BlockDisk("disk0", device=lun.store),), (portal,))
    lun.host.tgt.serve(target)
    (session,) = lun.host.tcp.login(target.iqn, portal)
    return session


@pytest.mark.parametrize("family", ("ipv4", "ipv6"))
def test_discovery(host, family):  # pylint: disable=redefined-outer-name
    """SendTargets over iSER: every target, at the address that was asked."""
    portal = Portal(getattr(host.port, family))
    targets = [Target(f"{IQN}-{name}") for name in "ab"]
    host.target.serve(*targets)
    found = host.initiator.targets(portal)
    assert sorted(found) == [(str(portal), target.iqn) for target in targets]


@pytest.mark.parametrize("family", ("ipv4", "ipv6", "link_local"))
def test_login_over_each_address_family(host, family):  # pylint: disable=redefined-outer-name
    """The session works, and sysfs shows where it is connected to."""
    portal = Portal(getattr(host.port, family))
    session = host.login(Target(IQN), portal)
    assert test_login.works(host, session)
    assert host.initiator.attributes(session)["persistent_address"] == portal.address


@pytest.mark.parametrize("immediate", ("Yes", "No"))
def test_solicited_writes(host, immediate):  # pylint: disable=redefined-outer-name
    """With InitialR2T=Yes: at most immediate data are unsolicited."""
    test_data.test_writes_at_the_edges_of_bursts(host, immediate, "Yes")


@pytest.mark.parametrize("immediate", ("Yes", "No"))
def test_unsolicited_writes(host, monkeypatch, immediate):
    # pylint: disable=redefined-outer-name
    """With InitialR2T=No: right in one PDU, or if longer than a first burst; else as above."""
    monkeypatch.setattr(test_data, "EDGES", [
        edge for edge in test_data.EDGES
        if not test_data.IMMEDIATE < edge <= test_data.FIRST_BURST])
    test_data.test_writes_at_the_edges_of_bursts(host, immediate, "No")
    (session,) = host.initiator.sessions()
    lost = host.program("direct.py", session.disk, Target(IQN).disks[0].path,
                        test_data.IMMEDIATE + 512, check=False)
    assert f"what was written differs at byte {test_data.IMMEDIATE} " in lost.stderr
