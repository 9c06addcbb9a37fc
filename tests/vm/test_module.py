# SPDX-License-Identifier: GPL-2.0-only
"""The module itself: that it is ours, what it accepts as parameters, loading and unloading.

Normally: no target is needed. Recovery: a host that is cleared has the module loaded.
"""

import re

import pytest

from iserlab.target import Target
from rig import IQN

KNOWN = ("always_register=N", "pi_enable=N", "debug_level=4", "max_sectors=512", "max_lun=16")
WRONG = ("max_lun=0", "max_lun=many", "max_sectors=0", "max_sectors=-1", "debug_level=x",
         "always_register=maybe", "pi_enable=2")
TRACING = "/sys/kernel/tracing"
# of one login, a read and a logout, as they come; %s is the connection
EVENTS = (r"iser_state: conn %s to \S+:3260 RESOLVING -> CONNECTING error 0",
          r"iser_cm_event: conn %s to \S+:3260 ESTABLISHED status 0",
          r"iser_send_control: conn %s opcode 0x3 tag",
          r"iser_recv: conn %s opcode 0x23 tag",
          r"iser_send_command: conn %s slot \d+ op 0x28 len 65536 immediate 0 .* rkey 0x[1-9a-f]",
          r"iser_recv: conn %s opcode 0x21 tag \S+ len \d+ invalidates",
          r"iser_invalidated: conn %s slot \d+ rkey \S+ by the target",
          r"iser_send_control: conn %s opcode 0x6 tag",
          r"iser_state: conn %s to \S+:3260 CLOSING -> CLOSED error")


def test_the_loaded_module_is_the_one_under_test(host):
    """modprobe takes ours, not the kernel's own, and iscsid finds its transport."""
    if host.built:
        assert host.initiator.identity() == host.built
    assert host.guest.read("/sys/class/iscsi_transport/iser/caps").strip()


def test_load_and_unload_twenty_times(host):
    """The transport goes each time. Whether memory stays is for kmemleak to say, if it is there."""
    host.initiator.unload()
    before = host.initiator.resources()
    host.guest.run("for round in $(seq 20); do modprobe ib_iser && rmmod ib_iser || exit; done",
                   timeout=120)
    assert host.initiator.resources() == before
    assert host.guest.run("[ -e /sys/class/iscsi_transport/iser ]", check=False).status == 1


def test_unloading_is_refused_while_a_session_is_up(host):
    """rmmod says that the module is in use, and the session does not notice."""
    session = host.login(Target(IQN))
    refused = host.initiator.unload(check=False)
    assert refused.status and "in use" in refused.stderr
    host.guest.run(f"dd if={session.disk} of=/dev/null bs=64k count=16 iflag=direct")

    host.initiator.logout(session)
    host.initiator.unload()


def test_parameters_that_administrators_know_are_accepted(host):
    """A modprobe.d file written for the kernel's own module does not stop ours."""
    host.initiator.unload()
    mark = host.guest.mark()
    host.initiator.load(" ".join(KNOWN))
    # the kernel takes those that a module does not have, too
    assert "unknown parameter" not in host.guest.said(mark)
    shown = host.guest.run("cd /sys/module/ib_iser/parameters && cat max_sectors max_lun").stdout
    assert shown.split() == ["512", "16"]


def test_parameters_are_shown(host):
    """/sys/module shows what is in force."""
    host.initiator.unload()
    host.initiator.load("max_lun=7 max_sectors=256")
    shown = host.guest.run("cd /sys/module/ib_iser/parameters && cat max_lun max_sectors").stdout
    assert shown.split() == ["7", "256"]


@pytest.mark.parametrize("parameter", WRONG)
def test_a_wrong_parameter_is_refused_and_named(host, parameter):
    """The module does not load, and the kernel's log says which parameter and why."""
    host.initiator.unload()
    mark = host.guest.mark()
    assert host.initiator.load(parameter, check=False).status
    assert f"{parameter}: must be" in host.guest.console(mark)


def test_events_tell_what_happens(host):
    """Tracing shows a session's whole life, and which connection each event is about."""
    host.guest.run(f"echo >{TRACING}/trace; echo 1 >{TRACING}/events/iser/enable")
    session = host.login(Target(IQN))
    host.guest.run(f"dd if={session.disk} of=/dev/null bs=64k count=1 iflag=direct")
    host.initiator.logout(session)
    host.guest.run(f"echo 0 >{TRACING}/events/iser/enable")
    text = host.guest.read(f"{TRACING}/trace")

    conn = re.search(r"iser_send_command: conn (\S+)", text)[1]
    for event in EVENTS:
        found = re.search(event % conn, text)
        assert found, f"no {event % conn} in what is left of\n{text}"
        text = text[found.end():]
