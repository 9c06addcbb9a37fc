# SPDX-License-Identifier: GPL-2.0-only
"""tgt in place of LIO: those tests of other files that tgt can be the target of.

Normally: the fixtures `lun` and `host` of this file serve with tgt; the tests are the same. tgt
never invalidates remotely and takes no immediate data, see iserlab/tgt.py.

What is left out, as tgt has it not, or not like this: UNMAP and WRITE SAME, portals of its own,
several address families in SendTargets, refusals of which it does not die (test_login.py has
those), the same LUN over TCP at once, and with it what the conformance suite compares. Writes at
the edges of bursts are in test_data.py; without InitialR2T tgt loses the end of one that fits
into a first burst, whoever sends it: the kernel's own module sees the same.

Recovery: as everywhere, see rig.py; a failed test ends the daemon.
"""

import pytest

import test_data
import test_filesystem
import test_login
import test_module
import test_scsi
from iserlab.target import Target
from rig import IQN

SAMPLE = 10

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


def test_discovery(host):  # pylint: disable=redefined-outer-name
    """SendTargets over iSER."""
    targets = [Target(f"{IQN}-{name}") for name in "ab"]
    host.target.serve(*targets)
    found = host.initiator.targets(host.portal)
    assert sorted(iqn for _, iqn in found) == [target.iqn for target in targets]
