# SPDX-License-Identifier: GPL-2.0-only
"""Wrong addresses, numbers, parameters and passwords: an error each time, and nothing stays.

Normally: a program plays a broken iscsid and says the same wrong thing a hundred times;
what the kernel holds before and after is compared. A round before that, not counted, lets
pools and caches grow to what they need.

Recovery: as everywhere, see rig.py.
"""

import itertools
import json

import pytest

from iserlab.target import Chap, Target
from rig import IQN, in_the_end, more

SAMPLE = {"6.1": 12, "6.12": 2}
TIMES = 100
ROUNDS = 3                  # a leak grows in each; a processor that keeps a slab more does so once
POOLED = 10                 # the RDMA core keeps completion queues, and may want a few more
LOGIN_AUTH_FAILED = "24"    # exit status of iscsiadm


@pytest.fixture(name="nothing_stays")
def fixture_nothing_stays(host):
    """Compares what the kernel holds before and after a call."""
    see = host.initiator

    def check(call, times=TIMES):
        leak = times * 8 // 10      # more objects than this were not given back
        objects = see.resources()
        call()
        objects["cq"] = see.resources()["cq"] + POOLED
        assert not in_the_end(lambda: more(objects, see.resources())), "stayed (before, after)"
        for _ in range(ROUNDS):
            memory = see.memory()
            result = call()
            stayed = in_the_end(lambda: more(objects, see.resources()) or
                                more(memory, see.memory(), leak))
            if not stayed:
                return result
        raise AssertionError(f"stayed (before, after): {stayed}")
    return check


def play(host, case, *words, times=TIMES):
    """A function that plays a case a hundred times and returns its outcomes."""
    return lambda: json.loads(host.program("netlink.py", case, times, *words,
                                           timeout=240).stdout)


def target_address(host):
    """A portal, as netlink.py wants it."""
    return f"4,{host.portal.address},{host.portal.port}"


NOWHERE = {
    "closed port": "4,10.0.0.1,3999",
    "TCP-only portal": "4,10.0.0.1,3262",
    "nobody there": "4,10.0.0.77,3260",
    "no route": "4,192.0.2.1,3260",
    "no route, IPv6": "6,2001:db8::1,3260",
    "port 0": "4,10.0.0.1,0",
    "multicast": "4,224.0.0.1,3260",
    "broadcast": "4,255.255.255.255,3260",
    "link-local without scope": "6,fe80::1,3260",
    "scope that is not there": "6,fe80::1%4711,3260",
    "no family": "0,,",
    "local socket": "1,,",
    "bogus family": "65535,,",
}


def test_addresses_that_lead_nowhere(host, nothing_stays):
    """The endpoint fails, each time, in time."""
    host.target.serve(Target(IQN, portals=(host.portal, host.tcp_portal)))
    outcomes = nothing_stays(play(host, "reach", *NOWHERE.values()))
    accepted = [name for name, where in NOWHERE.items() if max(outcomes[where]) >= 0]
    assert not accepted


@pytest.mark.parametrize("where", ("a target", "nobody there"))
def test_an_endpoint_that_is_given_back_while_it_connects(host, nothing_stays, where):
    """iscsid may change its mind at any time."""
    host.target.serve(Target(IQN))
    address = NOWHERE.get(where) or target_address(host)
    assert nothing_stays(play(host, "leave", address)) == {address: [0]}


def test_a_connect_that_blocks(host, nothing_stays):
    """Unlike iscsid, another program may wait in the kernel for its endpoint.

    Not a hundred times: for each one LIO waits 15 s for a login, one after the other.
    """
    host.target.serve(Target(IQN))
    up, down = target_address(host), NOWHERE["closed port"]
    outcomes = nothing_stays(play(host, "block", up, down, times=2))
    assert outcomes[up] == [0] and max(outcomes[down]) < 0


@pytest.mark.parametrize("case", ("strangers", "parameters", "early", "pdus"))
def test_requests_that_make_no_sense(host, nothing_stays, case):
    """Handles that never were; on a connection without a login: wrong values, order, PDUs."""
    host.target.serve(Target(IQN))
    where = target_address(host)
    assert max(nothing_stays(play(host, case, where))[where]) < 0


def test_sessions_of_odd_sizes(host, nothing_stays):
    """Refused or put right; either way they go away again."""
    host.target.serve(Target(IQN))
    where = target_address(host)
    outcomes = nothing_stays(play(host, "sizes", where))[where]
    assert 0 in outcomes and min(outcomes) < 0


@pytest.mark.timeout(3600)      # four rounds, which take long where all is checked
def test_a_wrong_password_again_and_again(host, nothing_stays):
    """No login works, and no session or memory stays."""
    times = TIMES // 2
    login = f"iscsiadm -m node -T {IQN} -l >&- 2>&-"

    def refused(left):
        """tgtd crashes sooner or later when it refuses; so it is started anew."""
        while left > 0:
            host.tgt.serve(Target(IQN, chap=Chap("alice", "secret-of-alice")))
            said = host.guest.run(f"for round in $(seq {left}); do {login}; echo $?; "
                                  "pidof tgtd >&- || exit 0; done", timeout=240).stdout.split()
            host.tgt.clear()
            assert "0" not in said
            left -= said.count(LOGIN_AUTH_FAILED)

    # tgtd registers all of its memory at the first connection: who has left until then crashes it
    soon = 2 * host.guest.kernel.patience
    host.initiator.record(IQN, host.portal, {"node.conn[0].timeo.login_timeout": soon},
                          Chap("alice", "not-her-password"))
    # to get warm, and those that count
    rounds = itertools.chain((times // 5,), itertools.repeat(times))
    nothing_stays(lambda: refused(next(rounds)), times)
    assert not host.initiator.sessions()


@pytest.mark.parametrize("name,value,fine", (
    ("node.session.cmds_max", 1, False), ("node.session.cmds_max", 5, False),
    ("node.session.cmds_max", 100000, True),
    ("node.session.queue_depth", 0, True), ("node.session.queue_depth", 100000, True),
    ("node.session.iscsi.FirstBurstLength", 0, True),
    ("node.session.iscsi.MaxBurstLength", 1, True),
    ("node.conn[0].iscsi.MaxRecvDataSegmentLength", 1, True),
    ("node.conn[0].iscsi.HeaderDigest", "CRC32C", True)))
def test_a_record_with_an_odd_value(host, name, value, fine):
    """The login fails in time, or the session works."""
    target = Target(IQN)
    host.target.serve(target)
    host.initiator.record(IQN, host.portal, {name: value})
    assert (host.initiator.try_login(IQN, host.portal).status == 0) == fine
    if not fine:
        assert not host.initiator.sessions()
    else:
        host.guest.run(f"""
            set -e
            until disk=$(ls -d /sys/class/iscsi_session/*/device/target*/*/block/*); do
                sleep 0.2
            done 2>&-
            udevadm settle
            disk=/dev/${{disk##*/}}
            head -c 4M /dev/urandom >/tmp/data
            dd if=/tmp/data of=$disk bs=1M oflag=direct
            cmp -n 4M /tmp/data {target.disks[0].path}
            dd if=$disk bs=1M count=4 iflag=direct | cmp - /tmp/data""")
