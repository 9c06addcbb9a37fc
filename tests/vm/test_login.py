# SPDX-License-Identifier: GPL-2.0-only
"""Discovery and login: what works, what is refused, and how that is said.

Normally: each test sets up the targets it wants on an empty host. A refusal has to be
quick and has to say why, to who called iscsiadm or in the kernel's log.
"""

import re

import pytest

from iserlab.target import Chap, Disk, Portal, Target
from rig import IQN, in_the_end, more

SAMPLE = {"6.1": 3}

ALICE = Chap("alice", "secret-of-alice")
MUTUAL = Chap("alice", "secret-of-alice", "target", "secret-of-target")
SOON = 20       # seconds in which iscsiadm has to give up, given the rig's patience
CLOSED_PORT = 3999
TGTDS = 8       # see refusal()


def portals(host):
    """A portal of each address family."""
    return {"IPv4": Portal(host.port.ipv4), "IPv6": Portal(host.port.ipv6),
            "link-local": Portal(host.port.link_local, 3261)}


def works(host, session):
    """Whether data goes to a session's disk and comes back."""
    host.guest.run(f"""
        set -e
        head -c 300K /dev/urandom >/tmp/data
        dd if=/tmp/data of={session.disk} bs=100k oflag=direct
        dd if={session.disk} bs=100k count=3 iflag=direct | cmp - /tmp/data""")
    return True


# discovery

def test_discovery_lists_every_target_and_portal(host):
    """SendTargets over iSER returns what the target offers, and nothing else."""
    both = (Portal(host.port.ipv4), Portal(host.port.ipv6))
    served = [Target(f"{IQN}-{name}", (Disk(name),), both) for name in "ab"]
    host.target.serve(*served)
    found = host.initiator.targets(host.portal)
    assert sorted(found) == sorted((str(portal), target.iqn) for target in served
                                   for portal in target.portals)


def test_discovery_needs_the_password_that_the_target_asks_for(host):
    """Refused without, and works with it. LIO may hang up before its answer is on the wire."""
    host.target.serve(Target(IQN))
    host.target.discovery_chap(ALICE)
    mark = host.guest.mark()
    refused = host.initiator.discover(host.portal, check=False)
    assert refused.status
    assert "authoriz" in refused.stderr or \
        f"{host.portal}: the target closed the connection" in host.guest.console(mark)
    assert host.initiator.targets(host.portal, ALICE) == [(str(host.portal), IQN)]


@pytest.mark.parametrize("where, reason", (
    ("closed port", "connection refused: nothing listens for iSER there"),
    ("TCP-only portal", "connection refused: nothing listens for iSER there"),
    ("nobody there", "nobody answers for this address"),
    ("no route", "no RDMA device reaches this address")))
def test_discovery_fails_soon_and_says_why(host, where, reason):
    """iscsiadm ends with an error and the kernel's log has the address and the reason."""
    portal = {"closed port": Portal(host.port.ipv4, CLOSED_PORT),
              "TCP-only portal": host.tcp_portal,
              "nobody there": Portal("10.0.0.77"),
              "no route": Portal("192.0.2.1")}[where]
    host.target.serve(Target(IQN, portals=(host.portal, host.tcp_portal)))
    mark = host.guest.mark()
    refused = host.initiator.discover(portal, check=False)
    assert refused.status and "connection failure" in refused.stderr
    assert refused.seconds < SOON
    assert f"iser: {portal}: {reason}" in host.guest.console(mark)


# login

@pytest.mark.parametrize("family", ("IPv4", "IPv6", "link-local"))
def test_login_over_each_address_family(host, family):
    """The session works, and sysfs shows where it is connected to."""
    portal = portals(host)[family]
    session = host.login(Target(IQN, portals=(portal,)))
    assert works(host, session)
    seen = host.initiator.attributes(session)
    assert (seen["persistent_address"], seen["port"]) == (portal.address, str(portal.port))


def test_login_and_logout_twenty_times(host):
    """Each time the disk comes and goes; nothing piles up, and the log tells of no error."""
    target, mark = Target(IQN), host.guest.mark()
    host.initiator.logout(host.login(target))
    before = host.initiator.resources()
    host.guest.run("""
        set -e
        shopt -s nullglob
        disks() { set -- /sys/class/scsi_device/*/device/block/*; echo $#; }
        for round in $(seq 20); do
            iscsiadm -m node -l >/dev/null
            until [ $(disks) = 1 ]; do sleep 0.1; done
            iscsiadm -m node -u >/dev/null
            until [ $(disks) = 0 ]; do sleep 0.1; done
        done""", timeout=180)
    # a target in the same guest may not have been done with the first session just before
    assert not in_the_end(lambda: more(before, host.initiator.resources())), "(before, after)"
    said = host.guest.said(mark)
    assert "session with" in said
    assert not re.search(r"\] iser: (?!.*session with)|conn error", said)


def test_iscsiadm_shows_the_session(host):
    """`iscsiadm -m session -P3` shows transport, state, negotiated values and the disk."""
    session = host.login(Target(IQN))
    shown = host.initiator.show(session)
    expected = {"Iface Transport": "iser", "iSCSI Connection State": "LOGGED IN",
                "iSCSI Session State": "LOGGED_IN", "Current Portal": f"{host.portal},1",
                "HeaderDigest": "None", "DataDigest": "None", "FirstBurstLength": "65536",
                "MaxBurstLength": "262144", "MaxXmitDataSegmentLength": "8192",
                "ImmediateData": host.target.IMMEDIATE_DATA,
                "InitialR2T": "Yes", "MaxOutstandingR2T": "1"}
    assert {name: shown.get(name) for name in expected} == expected
    assert int(shown["MaxRecvDataSegmentLength"]) >= 128
    assert f"Attached scsi disk {session.disk.removeprefix('/dev/')}" in host.guest.run(
        "iscsiadm -m session -P3").stdout


def test_iscsiadm_shows_statistics(host):
    """`iscsiadm -m session -s` counts the commands and their data."""
    session = host.login(Target(IQN))
    before = host.initiator.statistics(session)
    host.guest.run(f"""dd if={session.disk} of=/dev/null bs=64k count=16 iflag=direct &&
        dd if=/dev/zero of={session.disk} bs=64k count=8 oflag=direct""")
    counted = host.initiator.statistics(session)
    for name, least in (("scsicmd_pdus", 24), ("scsirsp_pdus", 24),
                        ("rxdata_octets", 16 << 16), ("txdata_octets", 8 << 16)):
        assert least <= counted[name] - before[name] < 2 * least, name


@pytest.mark.parametrize("chap", (ALICE, MUTUAL), ids=("CHAP", "mutual CHAP"))
def test_login_with_a_password(host, chap):
    """CHAP, one way and both ways."""
    target = Target(IQN, chap=chap)
    assert works(host, host.login(target, chap=chap))


WRONG = {
    "wrong password": (ALICE, Chap("alice", "not-her-password"), "authorization failure"),
    "wrong name": (ALICE, Chap("mallory", "secret-of-alice"), "authorization failure"),
    "no password": (ALICE, None, "authorization failure"),
    "wrong target": (MUTUAL, Chap("alice", "secret-of-alice", "target", "not-its-secret"),
                     "non-retryable iSCSI login failure"),
}


def refusal(host, served, name, chap, said):
    """What iscsiadm says when tgt refuses a login.

    tgtd spoils a list of its own if a login request arrives before it has looked at the
    completion of its last answer. It then crashes, or leaves the request unanswered and
    crashes when we disconnect: over the kernel's own ib_iser, too. Another one may do better.
    """
    host.initiator.record(name, host.portal, chap=chap)
    for _ in range(TGTDS):
        host.tgt.serve(served)
        refused = host.initiator.try_login(name, host.portal)
        if said in refused.stderr:
            break
        host.tgt.clear()
    return refused


@pytest.mark.parametrize("case", WRONG)
def test_login_is_refused(host, case):
    """The refusal comes at once, says what is wrong, and leaves no session."""
    asked, told, said = WRONG[case]
    refused = refusal(host, Target(IQN, chap=asked), IQN, told, said)
    assert refused.status and said in refused.stderr
    assert refused.seconds < SOON
    assert not host.initiator.sessions()


def test_login_to_a_target_that_is_not_there(host):
    """The portal does not know the target and says so."""
    said = "non-retryable iSCSI login failure"
    refused = refusal(host, Target(IQN), f"{IQN}-missing", None, said)
    assert refused.status and said in refused.stderr
    assert refused.seconds < SOON
    assert not host.initiator.sessions()


def test_login_is_refused_by_hanging_up(host):
    """LIO may hang up before its answer is on the wire: an error in time, and a hint."""
    host.target.serve(Target(IQN, chap=ALICE))
    host.initiator.record(IQN, host.portal, chap=Chap("alice", "not-her-password"))
    mark = host.guest.mark()
    refused = host.initiator.try_login(IQN, host.portal)
    assert refused.status and refused.seconds < SOON
    assert "authorization" in refused.stderr or \
        f"{host.portal}: the target closed the connection" in host.guest.console(mark)
    assert not host.initiator.sessions()


@pytest.mark.parametrize("where", ("closed port", "TCP-only portal"))
def test_login_where_nobody_speaks_iser(host, where):
    """An error in time, no hang, no session left; then a login that should work does."""
    target = Target(IQN, portals=(host.portal, host.tcp_portal))
    portal = {"closed port": Portal(host.port.ipv4, CLOSED_PORT),
              "TCP-only portal": host.tcp_portal}[where]
    host.target.serve(target)
    host.initiator.record(IQN, portal)
    mark = host.guest.mark()
    refused = host.initiator.try_login(IQN, portal)
    assert refused.status and refused.seconds < SOON + 10
    assert str(portal) in host.guest.console(mark)
    assert not host.initiator.sessions()
    assert works(host, *host.initiator.login(IQN, host.portal))


# many at once

def test_four_sessions_to_one_target(host):
    """nr_sessions=4: four sessions, each with a disk, all of them the same LUN."""
    target = Target(IQN)
    host.target.serve(target)
    sessions = host.initiator.login(IQN, host.portal, {"node.session.nr_sessions": 4})
    assert len(sessions) == 4
    disks = " ".join(session.disk for session in sessions)
    host.guest.run(f"""
        set -e
        head -c 1M /dev/urandom >/tmp/data
        part=0
        for disk in {disks}; do
            dd if=/tmp/data of=$disk bs=256k count=1 skip=$part seek=$part oflag=direct &
            jobs+=($!)
            part=$((part + 1))
        done
        for job in "${{jobs[@]}}"; do wait $job; done
        for disk in {disks}; do dd if=$disk bs=1M count=1 iflag=direct | cmp - /tmp/data; done
        cmp -n 1M /tmp/data {target.disks[0].path}""")


def test_two_targets_with_four_luns_each_at_once(host):
    """Eight disks written at the same time: what was written to each is in its own store."""
    targets = [Target(f"{IQN}-{name}", tuple(Disk(f"{name}{lun}", 16) for lun in range(4)))
               for name in "ab"]
    host.target.serve(*targets)
    pairs = []
    for target in targets:
        (session,) = host.initiator.login(target.iqn, host.portal, luns=4)
        pairs += [(session.disks[lun], disk.path)
                  for lun, disk in enumerate(target.disks, host.target.FIRST_LUN)]
    jobs = "\n".join(f"copy {disk} {store} & jobs+=($!)" for disk, store in pairs)
    host.guest.run(f"""
        copy() {{
            data=/tmp/data.${{1##*/}}
            head -c 2M /dev/urandom >$data
            dd if=$data of=$1 bs=128k oflag=direct && cmp -n 2M $data $2
        }}
        {jobs}
        for job in "${{jobs[@]}}"; do wait $job || exit; done""", timeout=120)


def test_iscsi_tcp_and_iser_side_by_side(host):
    """A session of each kind to the same LUN; each sees what the other wrote."""
    target = Target(IQN, portals=(host.portal, host.tcp_portal))
    over_iser = host.login(target)
    (over_tcp,) = host.tcp.login(IQN, host.tcp_portal)
    host.guest.run(f"""
        set -e
        for pair in "{over_iser.disk} {over_tcp.disk}" "{over_tcp.disk} {over_iser.disk}"; do
            set -- $pair
            head -c 1M /dev/urandom >/tmp/data
            dd if=/tmp/data of=$1 bs=1M oflag=direct
            dd if=$2 bs=1M count=1 iflag=direct | cmp - /tmp/data
        done""")
