# SPDX-License-Identifier: GPL-2.0-only
"""What an adapter, a wire or a target can do wrong, one at a time, at a chosen moment.

Normally: verified I/O runs over a simulated adapter while a fault happens. Whatever it is,
the I/O comes to its end without an error and with the right data: because nobody had to
notice, or because the connection was dropped, with a reason in the log, and made anew. Then
the session goes, the rules of the verbs were kept, and nothing is left. Faults at a login
may make it fail; the next one works.

Recovery: a fault that did not happen fails the test.
"""

import math
import re
import time

import pytest

from iserlab.guest import CommandFailed
from rig import NO_PINGS, in_the_end

KERNELS = ("debug",)
SAMPLE = 36
# what nothing else reaches
ALWAYS = ("test_the_connection_is_lost_during_a_reset", "test_a_reset_is_given_up",
          "test_no_memory_for_unsolicited_data")


@pytest.fixture(autouse=True)
def leaks_are_looked_for(rig, sampled):
    """After each test, to know which it was; for a sample the look at the end is enough."""
    yield
    if not sampled:
        rig.look_for_leaks("sim")


# Nobody has to notice: the session stays as it is.
HARMLESS = {
    "target does not invalidate": "at=rsp nth=4 count=9 do=inv mode=none",
    "response is late": "at=rsp nth=4 count=9 do=delay us=20000",
    "target is busy": "at=cmd nth=4 count=3 do=status status=8",
    "queue of the target is full": "at=cmd nth=4 count=3 do=status status=40",
    "target failed": "at=cmd nth=4 count=3 do=response val=1",
    "unit attention": "at=cmd nth=4 count=3 do=check key=6 asc=0x29 ascq=0",
    "acknowledgement is late": "at=wr_send nth=4 count=9 do=delay us=20000",
    "registration is late": "at=wr_reg nth=4 count=9 do=delay us=20000",
    "ping of the target": "at=rsp_write nth=3 do=nopin val=0",
    "event of which nobody knows": "at=rsp_write nth=3 do=async val=0x77 off=0 val2=0",
    "event of a vendor": "at=rsp_write nth=3 do=async val=255 off=0 val2=0",
    "headers with flags of an initiator": "at=rsp nth=4 count=9 do=set off=0 bytes=1c",
    "reserved fields are in use": "at=rsp_cmd nth=4 count=9 do=xor off=36 bytes=ffffffffffffffff",
    # real ones tell of the queue pair's end, too
    "event of the completion queue": "at=rsp_read nth=3 do=cq_error",
    "event of the adapter": "at=rsp_read nth=3 do=dev_fatal",
    "port goes and comes": "at=rsp_write nth=3 do=port_down val=300000",
    "port comes and was there": "at=rsp_write nth=3 do=port_up",
    "no memory can be described now": "at=map_mr nth=9 count=5 do=fail errno=ENOMEM",
    "no MR can be mapped now": "at=dma_map nth=9 count=5 do=fail errno=ENOMEM",
    "the window does not open": "at=rsp nth=4 count=3 do=set off=60 bytes=00000000",
}

# The connection is dropped, and the log says why: the reason, and what leads to it.
REASONS = {
    # what arrives is no PDU
    "shorter than its headers": {
        "nothing": "at=rsp_read nth=3 do=trunc val=0",
        "iSER header only": "at=rsp_read nth=3 do=trunc val=28",
        "part of the iSER header": "at=rsp_write nth=3 do=trunc val=27",
        "part of the iSCSI header": "at=rsp_read nth=3 do=trunc val=75",
        "half a ping": "at=rsp_write nth=3 do=nopin val=0;at=rsp_ping do=trunc val=60",
        "half an event": "at=rsp_write nth=3 do=async val=4 off=0 val2=0;"
                         "at=rsp_async do=trunc val=60",
        "half a Reject": "at=rsp_write nth=3 do=reject val=4;at=rsp_reject do=trunc val=60",
    },
    "message longer than its data segment": {
        "longer than it says": "at=rsp_write nth=3 do=extend val=13",
    },
    "data segment longer than the message": {
        "shorter than it says": "at=rsp_read nth=3 do=set off=33 bytes=000030",
        "data segment of 16 MiB": "at=rsp_read nth=3 do=set off=33 bytes=ffffff",
        "additional headers": "at=rsp_read nth=3 do=set off=32 bytes=04",
    },
    "local length error": {
        "longer than any buffer": "at=rsp_write nth=3 do=extend val=8000",
        "receive is in error": "at=recv nth=5 do=wc status=LOC_LEN_ERR",
    },
    "unknown iSER message type": {
        "iSER header of nothing": "at=rsp_write nth=3 do=set off=0 bytes=00",
    },
    "Hello message": {
        "Hello of iSER": "at=rsp_write nth=3 do=set off=0 bytes=20",
        "HelloReply of iSER": "at=rsp_write nth=3 do=set off=0 bytes=30",
    },
    # or none that may come
    "opcode that no target may send": {
        "opcode that there is not": "at=rsp_read nth=3 do=set off=28 bytes=3e",
        "opcode of an initiator": "at=rsp_read nth=3 do=set off=28 bytes=01",
    },
    "Data-In or R2T": {
        "Data-In": "at=rsp_read nth=3 do=set off=28 bytes=25",
        "R2T": "at=rsp_write nth=3 do=set off=28 bytes=31",
    },
    "opcode does not answer the request": {
        "login response": "at=rsp_write nth=3 do=set off=28 bytes=23",
        "text response": "at=rsp_write nth=3 do=set off=28 bytes=24",
    },
    "Reject of what was not sent": {
        "Reject of no request": "at=rsp_write nth=3 do=reject val=4",
    },
    "refused by the iSCSI layer": {
        "ping with data": "at=rsp_write nth=3 do=nopin val=40",
        "no tag": "at=rsp_read nth=3 do=itt val=0xffffffff",
    },
    # or for nobody
    "no request with this tag is waiting": {
        "tag that there is not": "at=rsp_read nth=3 do=itt val=0xdeadbeef",
        "tag beyond the last": "at=rsp_write nth=3 do=itt val=0x0fff",
        "tag that was answered": "at=rsp_read nth=5 do=stale",
        "response twice": "at=rsp_read nth=3 do=dup",
        "response twice, later": "at=rsp_write nth=3 do=dup us=3000",
    },
    # or invalidates what it may not
    "invalidates a key that is not its own": {
        "Reject that invalidates": "at=rsp_read nth=3 do=set off=28 bytes=3f",
        "says it invalidated": "at=rsp_read nth=3 do=inv mode=lie val=0x12345678",
    },
    "QP access error": {
        "response twice, invalidating twice": "at=rsp_read nth=3 do=dup mode=stale",
        "invalidates what is invalid": "at=rsp_read nth=3 do=inv mode=stale",
        "data after the response": "at=read nth=3 do=touch us=2000",
        "response before the data": "at=read nth=3 do=early us=2000",
        "response before data are fetched": "at=write nth=3 do=early us=2000",
    },
    # the target goes
    "the target closed the connection": {
        "target closes": "at=rsp_write nth=3 do=close",
        "target closes between": "at=write nth=4 do=close",
        "target is lost": "at=rsp_read nth=3 do=abort",
        "connection will be dropped": "at=rsp_write nth=3 do=async val=2 off=0 val2=0;"
                                      "at=rsp_write nth=6 do=close",
        "all will be dropped": "at=rsp_write nth=3 do=async val=3 off=0 val2=0;"
                               "at=rsp_write nth=6 do=close",
        # which is all that can be seen of these
        "queue pair fails without a word": "at=rsp_write nth=3 do=qp_error",
        "queue pair fails at a registration": "at=wr_reg nth=6 do=qp_error",
    },
    # mutated, so that nobody knows which of them is the first that does not belong there
    "protocol error: |receive failed": {
        "target sends more than we asked for": "at=rsp_write nth=3 do=flood val=600",
    },
    # the adapter fails
    "QP fatal error": {
        "queue pair fails": "at=rsp_read nth=3 do=qp_fatal",
        "queue pair fails at a Send": "at=wr_send nth=6 do=qp_fatal",
    },
    "receive failed: general error": {
        "receive is lost": "at=recv nth=5 do=wc status=GENERAL_ERR",
    },
    "can't post to the send queue: error -12": {
        "Send cannot be posted": "at=post_send nth=5 do=fail errno=ENOMEM",
    },
    "can't post receives: error -22": {
        "receive cannot be posted": "at=post_recv nth=2 do=fail errno=EINVAL",
    },
    "memory registration failed: local access": {
        "registration has no rights": "at=wr_reg nth=5 do=wc status=LOC_ACCESS_ERR",
    },
    "local invalidate failed: ": {
        "key was invalidated without a word": "at=rsp_read nth=3 do=inv mode=silent",
    },
    "Send failed: local protection": {
        "Send has no rights": "at=wr_send nth=5 do=wc status=LOC_PROT_ERR",
    },
    "Send failed: transport retry counter exceeded": {
        "Send is never answered": "at=wr_send nth=5 do=wc status=RETRY_EXC_ERR",
    },
    "Send failed: RNR retry counter exceeded": {
        "no buffer at the target": "at=wr_send nth=5 do=wc status=RNR_RETRY_EXC_ERR",
    },
    "Send failed: remote operation": {
        "target rejects a Send": "at=wr_send nth=5 do=wc status=REM_OP_ERR",
    },
    "Send failed: remote access": {
        "target's access is refused": "at=wr_send nth=5 do=wc status=REM_ACCESS_ERR",
    },
}

FATAL = [(what, rules, reason) for reason, cases in REASONS.items()
         for what, rules in cases.items()]

# By which a target says that data are there, which are not.
LIES = ("response before the data", "response before data are fetched")
# Where accesses of the target's own making fail, which the adapter does not put down to us.
PROVOKED = ("data after the response", "key was invalidated without a word", *LIES)

# Verbs that say no while a session is made, and PDUs that are wrong then. May fail, or not; by what
# the log says of it, if anything.
SILENT = ""
AT_LOGIN = {
    "no room for another connection: error -12": {
        "no PD": "at=alloc_pd do=fail errno=ENOMEM",
        "no CQ": "at=create_cq count=0 do=fail errno=ENOMEM",
        "no QP": "at=create_qp count=0 do=fail errno=ENOMEM",
    },
    "no more than 0 memory regions for this session: error -12": {
        "no MR": "at=alloc_mr count=0 do=fail errno=ENOMEM",
    },
    "no memory for the queues of a session": {
        "no DMA": "at=dma_map do=fail errno=ENOMEM",
    },
    "can't post receives: error -22": {
        "no receive": "at=post_recv do=fail errno=EINVAL",
    },
    "can't post to the send queue: error -22": {
        "no Send": "at=post_send do=fail errno=EINVAL",
    },
    "nothing listens for iSER there": {
        "refused": "at=connect do=refuse errno=ECONNREFUSED",
        "refused with private data": "at=connect do=refuse errno=ECONNREFUSED bytes=00ff00ff",
    },
    "refused by the target: reset by remote host": {
        "reset": "at=connect do=refuse errno=ECONNRESET",
    },
    "the connection can't be set up": {
        "cannot be reached": "at=connect do=refuse errno=EIO",
    },
    "the target does not answer": {
        "no answer to a connect": "at=connect do=drop us=500000",
    },
    "simhca0 is being removed": {
        "adapter goes while it connects": "at=connect do=remove",
        "adapter goes during login": "at=login do=remove",
        "adapter goes after login": "at=rsp_login do=remove",
    },
    "QP fatal error": {
        "QP fails at once": "at=connect do=qp_fatal",
        "QP fails during login": "at=login do=qp_fatal",
    },
    "the target closed the connection": {
        "closed at once": "at=connect do=close",
        "lost at once": "at=connect do=abort",
        "closed during login": "at=login do=close",
        "lost during login": "at=login do=abort",
        "closed after login": "at=rsp_login do=close us=20000",
        "first command never answered": "at=cmd do=close",
    },
    "shorter than its headers": {
        "login response of nothing": "at=rsp_login do=trunc val=0",
        "half a login response": "at=rsp_login do=trunc val=60",
    },
    "no request with this tag is waiting": {
        "login response with a wrong tag": "at=rsp_login do=itt val=0x1234",
        "login response twice": "at=rsp_login do=dup",
    },
    "login request failed: local protection": {
        "login request has no rights": "at=wr_send do=wc status=LOC_PROT_ERR",
    },
    "receive failed: general error": {
        "login response is lost": "at=recv do=wc status=GENERAL_ERR",
    },
    "local length error": {
        "login response too long": "at=rsp_login do=extend val=9000",
    },
    "data segment longer than the message": {
        "login response with a wrong length": "at=rsp_login do=set off=33 bytes=00ffff",
    },
    "opcode does not answer the request": {
        "command response during login": "at=rsp_login do=set off=28 bytes=21",
        "text response during login": "at=rsp_login do=set off=28 bytes=24",
        "login is rejected": "at=rsp_login do=set off=28 bytes=3f",
    },
    SILENT: {
        "no QP at first": "at=create_qp count=2 do=fail errno=ENOMEM",
        "QP cannot be used": "at=modify_qp do=fail errno=EINVAL",
        "slow connect": "at=connect do=delay us=500000",
        "connect that nobody waits for any more": "at=connect do=delay us=20000000",
        "no login response": "at=rsp_login do=drop",
        "ping during login": "at=login do=nopin val=0;at=rsp_login do=delay us=200000",
        "login refused": "at=rsp_login do=login class=2 detail=1",
        "login refused for now": "at=rsp_login do=login class=3 detail=1",
        "login with a status that there is not": "at=rsp_login do=login class=9 detail=9",
        "login response with digests": "at=rsp_login do=key text=HeaderDigest:CRC32C",
        "login response with a key of nobody's": "at=rsp_login do=key text=Nonsense:Yes",
        "login response with what is no key": f"at=rsp_login do=set off=76 bytes={38 * '41'}00",
        "login response with stages that there are not": "at=rsp_login do=set off=29 bytes=8a",
        "login response that is and is not complete": "at=rsp_login do=set off=29 bytes=c1",
        "login response of another version": "at=rsp_login do=set off=30 bytes=0505",
        "login response of another session": "at=rsp_login do=xor off=36 bytes=ffffffffffff",
        "login response of no session": "at=rsp_login do=set off=42 bytes=0000",
    },
}
NO_LOGIN = ("no CQ", "no QP", "no MR", "no DMA", "login refused", "login response with digests",
            "login with a status that there is not")
MAYBE = [(what, rules, said) for said, cases in AT_LOGIN.items() for what, rules in cases.items()]

# The same while a session gets another connection, but for what makes iscsid give up, and for CQs,
# which the core keeps. The queues of the old one are drained first, each twice, by a receive.
AT_RECONNECT = {what: (rules, said) for what, rules, said in MAYBE if what in (
    "no PD", "no QP", "no MR", "no DMA", "QP cannot be used", "refused", "reset",
    "cannot be reached", "no answer to a connect", "adapter goes while it connects",
    "QP fails during login", "closed at once", "lost during login", "half a login response",
    "no login response", "login refused for now", "login response is lost")}
# as often as it takes for fewer commands than the session has
AT_RECONNECT["short queues"] = ("at=create_qp count=3 do=fail errno=ENOMEM",
                                "has no room for this session at the moment")
AT_RECONNECT["no receive"] = ("at=post_recv nth=3 do=fail errno=EINVAL", "can't post receives")

# While somebody asks what there is.
AT_DISCOVERY = {
    "no text response": "at=rsp_text do=drop",
    "half a text response": "at=rsp_text do=trunc val=60",
    "text response with a wrong tag": "at=rsp_text do=itt val=0x1234",
    "text response twice": "at=rsp_text do=dup",
    "text response too long": "at=rsp_text do=extend val=9000",
    "text response with a wrong length": "at=rsp_text do=set off=33 bytes=00ffff",
    "text response that is something else": "at=rsp_text do=set off=28 bytes=21",
    "text response with what is no key": f"at=rsp_text do=set off=76 bytes={11 * '41'}",
    "text response that does not end": "at=rsp_text do=set off=157 bytes=41",
    "text response that is and is not complete": "at=rsp_text do=set off=29 bytes=c0",
    "text response that is neither": "at=rsp_text do=set off=29 bytes=00",
    "text response that is complete and has a tag": "at=rsp_text do=set off=48 bytes=00000001",
    "text is rejected": "at=text do=reject val=4",
    "adapter goes during discovery": "at=text do=remove",
    "closed during discovery": "at=text do=close",
    "QP fails during discovery": "at=text do=qp_fatal",
}

# At the end of a session.
AT_LOGOUT = {
    "no logout response": "at=rsp_logout do=drop",
    "half a logout response": "at=rsp_logout do=trunc val=50",
    "logout response twice": "at=rsp_logout do=dup",
    "logout response with a wrong tag": "at=rsp_logout do=itt val=0x1234",
    "logout response that is something else": "at=rsp_logout do=set off=28 bytes=24",
    "logout is refused": "at=rsp_logout do=response val=1",
    "logout is answered as nobody knows": "at=rsp_logout do=response val=0x77",
    "logout is rejected": "at=rsp_logout do=set off=28 bytes=3f",
    "closed instead of an answer": "at=logout do=close",
    "lost instead of an answer": "at=logout do=abort",
    "QP fails at the end": "at=logout do=qp_fatal",
    "adapter goes at the end": "at=logout do=remove",
}


def reached(sim, want, mapped=math.inf):
    """What is wanted and what there is; in time, as much of it, and no more mapped."""
    deadline = time.monotonic() + 30
    while True:
        wanted, gauges = want(), sim.hca.counters()
        there = wanted.items() <= gauges.items()
        if time.monotonic() > deadline or there and gauges["dma_mapped"] <= mapped:
            return wanted, gauges
        time.sleep(0.5)


def begin(sim):
    """Forget what was counted; remember what there is while nothing is under way."""
    wanted, sim.had = reached(sim, lambda: {"rkeys_live": 0, "tasks": 0})
    assert wanted.items() <= sim.had.items() and sim.kept_the_rules()
    sim.hca.reset()


def add(sim, rules):
    """Begin with rules, written as one text, and without any others."""
    begin(sim)
    sim.hca.rules("clear", *rules.split(";"))


def happened(sim):
    """Whether each of the rules acted."""
    return all(sim.hca.hits())


def happens(sim, seconds):
    """The same in time: I/O of others, who look what is on the disk, may have been hit."""
    deadline = time.monotonic() + seconds
    while not happened(sim) and time.monotonic() < deadline:
        time.sleep(0.5)
    return happened(sim)


def settles(sim, sessions=1):
    """Nothing is under way any more, no key is alive, and each session has what one needs.

    As much as before of what is always the same, and no more memory regions than it knows of. No
    more is mapped; but less if what the login needed was mapped then.
    """
    def want():
        return {"rkeys_live": 0, "tasks": 0, "cqs": sim.had["cqs"],
                **dict.fromkeys(("pds", "qps", "connections", "sessions"), sessions),
                # the session makes more by and by
                "mrs": sum(sim.initiator.statistics(session)["mrs_allocated"]
                           for session in sim.initiator.sessions())}

    wanted, found = reached(sim, want, sim.had["dma_mapped"])
    assert {name: found[name] for name in wanted} == wanted
    assert found["dma_mapped"] <= sim.had["dma_mapped"]


# An adapter that was pulled is there again after a while.
COME_BACK = """
until grep -q 0 {power}; do sleep 1; done
sleep 5
echo 1 >{power}
"""


def back_on(sim):
    """Faults and knobs are forgotten, and the adapter is there if it was pulled."""
    sim.hca.calm()
    sim.hca.power(True)


def wait_for(sim, counter, seconds=60):
    """Wait until something has been counted, since counting began."""
    sim.guest.run(f"until grep -q '^{counter}=[1-9]' {sim.hca.file('counters')}; "
                  "do sleep 0.2; done", timeout=seconds)


def ends_well(sim, session):
    """Data are right over the session, which then goes and leaves nothing."""
    sim.hca.calm()
    sim.io(session, size="512k")
    sim.ends_well(session)


@pytest.mark.parametrize("what", HARMLESS)
def test_what_nobody_has_to_notice(simlun, what):
    """The session stays, without a word."""
    sim = simlun
    mark = sim.guest.mark()
    add(sim, HARMLESS[what])
    sim.io(sim.standing)
    assert happened(sim) and sim.kept_the_rules()
    assert not sim.hca.counters()["connects"]
    assert "] iser: " not in sim.guest.said(mark)
    settles(sim)


@pytest.mark.parametrize("what, rules, reason", FATAL, ids=[each[0] for each in FATAL])
def test_what_ends_a_connection(simlun, what, rules, reason):
    """It is made anew, the log says why, and no I/O fails."""
    sim = simlun
    mark = sim.guest.mark()
    add(sim, rules)
    sim.io(sim.standing, verify=what not in LIES)
    assert happened(sim) and sim.kept_the_rules()
    counted = sim.hca.counters()
    assert counted["connects"] == 1 and bool(counted["provoked"]) == (what in PROVOKED)
    said = re.findall(r"\] iser: \S+: (?!session with)(.*)", sim.guest.console(mark))
    # the CM may be heard before the adapter says why
    assert re.search(reason, "\n".join(said[:2]))
    if what in LIES:
        sim.io(sim.standing)
    settles(sim)


def test_the_key_of_another_command_is_invalidated(simlun):
    """Of one that the target still has: we notice."""
    sim = simlun
    mark = sim.guest.mark()
    add(sim, "at=read nth=5 do=hold;at=rsp_read nth=9 do=inv mode=other")
    sim.io(sim.standing, iodepth=2)
    assert happened(sim) and sim.kept_the_rules()
    assert sim.hca.counters()["connects"]
    assert "invalidates a key that is not its own" in sim.guest.console(mark)
    settles(sim)


@pytest.mark.parametrize("remote_inv", (1, 0), ids=("with a key", "without"))
@pytest.mark.parametrize("op", ("read", "write"))
def test_the_answer_to_another_command(sim, op, remote_inv):
    """One that the target still has, and now forgets: by the key that comes with it we notice.

    Else nobody can know: that command is done, with the wrong data, and nothing worse. The one
    that has no answer now times out, and is done again.
    """
    sim.hca.set(remote_inv=remote_inv)
    session = sim.login()
    sim.hurry(session)
    mark = sim.guest.mark()
    add(sim, f"at={op} nth=5 do=hold;at=rsp_{op} nth=5 do=swap")
    # so large that each command has a key
    sim.io(session, iodepth=2, verify=False, bssplit="64k/50:256k/50")
    assert happened(sim) and sim.kept_the_rules()
    if remote_inv:
        assert "invalidates a key that is not its own" in sim.guest.console(mark)
    else:
        assert sim.hca.counters()["tmfs"] and "protocol error" not in sim.guest.said(mark)
    settles(sim)
    ends_well(sim, session)


def test_the_key_of_another_session_is_invalidated(sim):
    """The adapter refuses that; nothing is lost."""
    one, other = sim.initiator.login(sim.hca.iqn(), sim.hca.portal(),
                                     {"node.session.nr_sessions": 2})
    mark = sim.guest.mark()
    add(sim, "at=read do=hold")
    # alive until it is aborted
    held = sim.guest.spawn(f"dd if={other.disk} of=/dev/null bs=64k count=1 iflag=direct")
    assert happens(sim, 30)
    sim.hca.rules("at=rsp_read nth=2 do=inv mode=foreign")
    sim.io(one, size="256k")
    held.wait(timeout=120)
    assert happened(sim) and sim.kept_the_rules()
    assert sim.hca.counters()["connects"]
    assert "QP access error" in sim.guest.console(mark)
    sim.hca.calm()
    settles(sim, 2)
    sim.initiator.clear()
    assert not sim.left()


@pytest.mark.parametrize("do", ("nodata", "partial"))
def test_bad_data_are_seen(sim, do):
    """By the I/O of these tests; nobody else can know."""
    session = sim.login()
    # not only what others read, who look what is on the disk
    add(sim, f"at=read nth=3 count=20 do={do}")
    with pytest.raises(CommandFailed):
        sim.io(session)
    assert happened(sim) and sim.kept_the_rules()
    assert not sim.hca.counters()["connects"]
    settles(sim)
    ends_well(sim, session)


def test_no_more_memory_regions(sim):
    """What there was at the login has to do."""
    session = sim.login()
    add(sim, "at=alloc_mr count=0 do=fail errno=ENOMEM")
    sim.io(session, iodepth=32)
    assert happened(sim) and sim.kept_the_rules()
    assert not sim.hca.counters()["connects"]
    settles(sim)
    ends_well(sim, session)


def test_no_memory_for_unsolicited_data(sim):
    """The last of what a session needs before its first command; then there is memory again."""
    sim.adapter(initial_r2t=0)
    with sim.hca.counting() as counted:
        session = sim.login()
    sim.ends_well(session)
    mark = sim.guest.mark()
    add(sim, f"at=dma_map nth={counted['dma_alloc']} count=0 do=fail errno=ENOMEM")
    assert sim.try_login().status and happened(sim)
    assert "no memory for unsolicited data" in sim.guest.console(mark)
    back_on(sim)
    sim.initiator.clear()
    ends_well(sim, sim.login())


def test_a_logout_that_the_target_asks_for(simlun):
    """iscsid makes the connection anew."""
    sim = simlun
    add(sim, "at=rsp_write nth=3 do=async val=1 off=0 val2=0")
    sim.io(sim.standing)
    sim.guest.run("sleep 1")
    assert happened(sim) and sim.kept_the_rules()
    assert sim.hca.counters()["connects"]
    settles(sim)


@pytest.mark.parametrize("what, rules, said", MAYBE, ids=[each[0] for each in MAYBE])
def test_what_goes_wrong_at_a_login(sim, what, rules, said):
    """Where it does not work, or only at another try, the log says why; the next one works."""
    mark = sim.guest.mark()
    add(sim, rules)
    # whoever has a session by then waits for it
    mender = sim.guest.spawn(COME_BACK.format(power=sim.hca.file("power")))
    status = sim.try_login().status
    mender.kill()
    mender.wait(check=False)
    assert happened(sim)
    log = "\n".join(re.findall(r"\] iser: \S+: (?!session with)(.*)", sim.guest.console(mark)))
    assert re.search(said, log) if said else not log
    assert status or what not in NO_LOGIN
    back_on(sim)
    sim.initiator.clear()
    assert not sim.left()
    ends_well(sim, sim.login())


@pytest.mark.parametrize("what", AT_RECONNECT)
def test_what_goes_wrong_at_a_reconnect(simlun, what):
    """It is tried again, and the I/O that waits goes on over the same session."""
    sim = simlun
    rules, said = AT_RECONNECT[what]
    mark = sim.guest.mark()
    add(sim, f"{rules};at=now do=abort")
    job = sim.start_io(sim.standing)
    assert happens(sim, 30)
    back_on(sim)
    job.wait(timeout=120)
    assert sim.kept_the_rules()
    first, *log = re.findall(r"\] iser: \S+: (?!session with)(.*)", sim.guest.console(mark))
    assert "the target closed the connection" in first
    assert re.search(said, "\n".join(log)) if said else not log
    settles(sim)


@pytest.mark.parametrize("what", AT_DISCOVERY)
def test_what_goes_wrong_at_a_discovery(sim, what):
    """It works or it does not; either way the next one does."""
    add(sim, AT_DISCOVERY[what])
    sim.initiator.discover(sim.hca.portal(), check=False, timeout=120)
    assert happened(sim) and sim.kept_the_rules()
    back_on(sim)
    assert len(sim.initiator.targets(sim.hca.portal())) == 1
    assert not sim.left()


@pytest.mark.parametrize("what", AT_LOGOUT)
def test_what_goes_wrong_at_a_logout(sim, what):
    """The session goes all the same."""
    session = sim.login()
    add(sim, AT_LOGOUT[what])
    sim.guest.run(f"iscsiadm -m session -r {session.number} -u", check=False, timeout=90)
    assert happened(sim)
    back_on(sim)
    assert not in_the_end(sim.initiator.sessions)
    assert not sim.left()
    ends_well(sim, sim.login())


STATUSES = ("LOC_LEN_ERR", "LOC_QP_OP_ERR", "LOC_EEC_OP_ERR", "LOC_PROT_ERR", "WR_FLUSH_ERR",
            "MW_BIND_ERR", "BAD_RESP_ERR", "LOC_ACCESS_ERR", "REM_INV_REQ_ERR",
            "REM_ACCESS_ERR", "REM_OP_ERR", "RETRY_EXC_ERR", "RNR_RETRY_EXC_ERR",
            "LOC_RDD_VIOL_ERR", "REM_INV_RD_REQ_ERR", "REM_ABORT_ERR", "INV_EECN_ERR",
            "INV_EEC_STATE_ERR", "FATAL_ERR", "RESP_TIMEOUT_ERR", "GENERAL_ERR")


@pytest.mark.parametrize("at", ("wr_send", "wr_reg", "wr_inv", "recv"))
def test_every_status_of_a_completion(sim, at):
    """Each ends the connection, and none more than that."""
    sim.hca.set(remote_inv=at != "wr_inv")
    session = sim.login()
    for status in STATUSES:
        add(sim, f"at={at} nth=3 do=wc status={status}")
        sim.io(session, size="256k")
        assert happened(sim) and sim.hca.counters()["connects"] == 1, status
        assert sim.kept_the_rules(), status
        settles(sim)
    ends_well(sim, session)


@pytest.mark.parametrize("rule", ("at=rsp_read nth=3 do=drop", "at=rsp_write nth=3 do=drop",
                                  "at=read nth=3 do=drop", "at=dataout nth=3 do=drop",
                                  "at=cmd nth=3 do=reject val=4", "at=wr_send nth=9 do=hold"))
def test_a_response_that_never_comes(sim, rule):
    """The command times out, is aborted and done again."""
    # one Data-Out for a command: the target would miss another one's predecessor
    sim.hca.set(initial_r2t="dataout" not in rule, first_burst=2 * 8192)
    session = sim.login()
    sim.hurry(session)
    add(sim, rule)
    sim.io(session)
    assert happens(sim, 60)
    wait_for(sim, "tmfs")
    ends_well(sim, session)


@pytest.mark.parametrize("rule", (
    "at=rsp_tmf do=drop", "at=rsp_tmf do=response val=1", "at=rsp_tmf do=response val=5",
    "at=rsp_tmf do=response val=255", "at=rsp_tmf do=itt val=0x1234", "at=rsp_tmf do=dup",
    "at=rsp_tmf do=trunc val=70", "at=rsp_tmf do=set off=28 bytes=3f", "at=tmf do=close",
    "at=tmf do=qp_fatal", "at=tmf do=remove"))
def test_an_abort_that_goes_wrong(sim, rule):
    """The error handler goes on to the next means, and the I/O is done at last."""
    session = sim.login()
    sim.hurry(session)
    add(sim, f"at=read nth=3 do=hold;{rule}")
    job = sim.start_io(session)
    assert happens(sim, 60)
    # what was pulled comes back, when it has gone
    sim.guest.run("sleep 1")
    sim.hca.power(True)
    job.wait(timeout=200)
    ends_well(sim, session)


@pytest.mark.parametrize("rule", (
    "at=nop do=drop", "at=nop do=close", "at=rsp_nop do=drop", "at=rsp_nop do=dup",
    "at=rsp_nop do=trunc val=60", "at=rsp_nop do=itt val=0x1234", "at=recv do=drop",
    "at=rsp_nop do=set off=28 bytes=26", "at=rsp_nop do=set off=28 bytes=3f",
    "at=rsp_nop do=set off=48 bytes=00000001"))
def test_a_ping_that_goes_wrong(sim, rule):
    """The connection is made anew."""
    session = sim.login(**{"node.conn[0].timeo.noop_out_interval": 1,
                           "node.conn[0].timeo.noop_out_timeout": 2})
    add(sim, rule)
    assert happens(sim, 30)
    wait_for(sim, "connects")
    ends_well(sim, session)


@pytest.mark.parametrize("do", ("close", "abort", "qp_fatal"))
def test_an_end_between_the_data_of_a_write(sim, do):
    """Unsolicited Data-Outs are sent again, too."""
    sim.hca.set(initial_r2t=0)
    session = sim.login()
    add(sim, f"at=dataout nth=3 do={do}")
    sim.io(session)
    assert happened(sim) and sim.hca.counters()["connects"]
    ends_well(sim, session)


@pytest.mark.parametrize("do", ("close", "abort", "qp_fatal"))
@pytest.mark.parametrize("late", (("close_delay_us",), ("flush_delay_us",),
                                  ("close_delay_us", "flush_delay_us")), ids=", ".join)
def test_an_end_that_comes_bit_by_bit(simlun, do, late):
    """Whoever is late, the communication manager or the queues: the connection is made anew."""
    sim = simlun
    add(sim, f"at=rsp_read nth=3 do={do}")
    sim.hca.set(**dict.fromkeys(late, 500000))
    sim.io(sim.standing)
    assert happened(sim) and sim.kept_the_rules()
    assert sim.hca.counters()["connects"]
    settles(sim)


@pytest.mark.parametrize("events", (0, 1), ids=("unsaid", "said"))
@pytest.mark.parametrize("retry_us", (0, 200000), ids=("for a moment", "too long"))
def test_the_wire_is_cut(simlun, retry_us, events):
    """What the adapter gives up sending is sent over another connection."""
    sim = simlun
    begin(sim)
    sim.hca.set(port_events=events, retry_us=retry_us, link=0)
    job = sim.start_io(sim.standing)
    if retry_us:
        wait_for(sim, "connects")
    else:
        sim.guest.run("sleep 2")
    assert job.poll() is None
    sim.hca.set(link=1)
    job.wait(timeout=120)
    assert sim.kept_the_rules()
    assert bool(sim.hca.counters()["connects"]) == bool(retry_us)
    settles(sim)


def test_the_wire_is_cut_now_and_then(simlun):
    """Never for too long, so nobody has to notice."""
    sim = simlun
    begin(sim)
    sim.hca.set(retry_us=3000000)
    for _ in range(2):
        sim.hca.set(link=0)
        job = sim.guest.spawn(f"dd if={sim.standing.disk} of=/dev/null count=1 iflag=direct")
        sim.guest.run("sleep 2")
        assert job.poll() is None
        sim.hca.set(link=1)
        job.wait(timeout=30)
    assert sim.kept_the_rules() and not sim.hca.counters()["connects"]
    settles(sim)


def test_the_wire_is_cut_behind_a_request(sim):
    """The adapter gives it up although nothing follows it."""
    session = sim.login(**NO_PINGS)
    sim.hca.set(ack_delay_us=100000, retry_us=1000000)
    add(sim, "at=read do=port_down")
    job = sim.guest.spawn(f"dd if={session.disk} of=/dev/null count=1 iflag=direct")
    # before the command times out, whose abort would follow it
    wait_for(sim, "cqes_error", 20)
    assert happened(sim)
    sim.hca.calm()
    job.wait(timeout=60)
    assert sim.hca.counters()["connects"]
    ends_well(sim, session)


@pytest.mark.parametrize("how", ("remove", "power", "rmmod"))
def test_the_adapter_is_pulled(sim, how):
    """Under I/O, which goes on when there is an adapter again."""
    session = sim.login()
    mark = sim.guest.mark()
    job = sim.start_io(session, size="6m", thinktime="100ms")
    sim.guest.run(f"until grep -q '[1-9]' /sys/block/{session.disk[5:]}/inflight; do :; done")
    if how == "remove":
        sim.hca.now("remove")
        sim.guest.run(f"until grep -q 0 {sim.hca.file('power')}; do sleep 0.1; done")
    elif how == "power":
        sim.hca.power(False)
    else:
        sim.guest.run("rmmod simhca && insmod /root/simhca.ko", timeout=60)
    if how != "rmmod":
        assert job.poll() is None and not sim.left()
        sim.hca.power(True)
        job.wait(timeout=120)
        ends_well(sim, session)
    else:
        # the disk's contents have gone with it, and the adapter's counters
        assert "violation" not in sim.guest.console(mark)
        job.wait(timeout=120, check=False)
        ends_well(sim, session)


def test_the_target_hangs_up_after_a_logout(sim):
    """Before iscsid does, as some do. That is no error, of which the log would tell."""
    session = sim.login()
    mark = sim.guest.mark()
    add(sim, "at=rsp_logout do=delay us=5000000")
    job = sim.guest.spawn(f"iscsiadm -m session -r {session.number} -u")
    assert happens(sim, 30)
    try:
        sim.guest.run("pkill -STOP iscsid; sleep 6")
        assert sim.hca.counters()["connections"]
        sim.hca.rules("at=now do=close")
        sim.guest.run("sleep 0.5")
    finally:
        sim.guest.run("pkill -CONT iscsid")
    job.wait(timeout=60)
    assert not re.search("iser: |conn error", sim.guest.said(mark))
    assert sim.kept_the_rules() and not sim.left()


def test_iscsid_dies_during_a_logout_that_the_target_asks_for(sim):
    """Nobody gets the disk another connection: so its commands fail when their time is up."""
    session = sim.login(**NO_PINGS, **{"node.session.timeo.replacement_timeout": 2})
    add(sim, "at=rsp_read do=async val=1 off=0 val2=0;at=rsp_logout do=delay us=5000000")
    read = f"dd if={session.disk} of=/dev/null bs=4k count=1 iflag=direct"
    sim.guest.run(read)
    assert happens(sim, 30)
    try:
        sim.guest.run("pkill -STOP iscsid; sleep 6")
        assert sim.hca.counters()["connections"]
        sim.hca.rules("at=now do=close")
        since = time.monotonic()
        assert sim.guest.run(read, timeout=60, check=False).status
        # else the SCSI layer tries again, and again, for three minutes
        assert time.monotonic() - since < 60
    finally:
        sim.guest.run("pkill -CONT iscsid")
    wait_for(sim, "logins")
    sim.io(session, size="512k")
    settles(sim)
    ends_well(sim, session)


@pytest.mark.parametrize("rule", ("at=now do=abort", "at=nop do=drop"))
def test_the_connection_is_lost_during_a_reset(sim, rule):
    """Who waits for the target's answer waits for the next connection, and does not end it."""
    session = sim.login(**{"node.conn[0].timeo.noop_out_interval": 1,
                           "node.conn[0].timeo.noop_out_timeout": 2})
    add(sim, "at=tmf do=drop")
    job = sim.guest.spawn(f"sg_reset --no-esc --target {session.disk}")
    assert happens(sim, 30)
    add(sim, rule)
    wait_for(sim, "logins")
    job.wait(timeout=20)
    sim.io(session, size="256k")
    assert sim.hca.counters()["connects"] == 1
    ends_well(sim, session)


def test_a_reset_is_given_up(sim):
    """Who waits with it for a session that is being recovered need not go on to wait."""
    session = sim.login()
    sim.hca.power(False)
    job = sim.guest.spawn(f"sg_reset --target {session.disk}")
    sim.guest.run("sleep 1")
    assert job.poll() is None
    job.kill()
    job.wait(timeout=10, check=False)
    sim.hca.power(True)
    ends_well(sim, session)


def test_nothing_is_left_of_all_that(simlun):
    """A session still works, and goes; and memory was never lost."""
    session, simlun.standing = simlun.standing, None
    simlun.clean = False
    ends_well(simlun, session)
    leaks = simlun.guest.leaks()
    assert not leaks, leaks
