# SPDX-License-Identifier: GPL-2.0-only
"""A target in another guest attacks: memory that it was not given, or not any more; and with PDUs.

Normally: a target of ours in user space (tests/hostile) gets a command and does one bad thing
over its real connection. The command's memory belongs to a program that looks at it afterwards
(victim.py), and then uses the disk once more. All that while verified I/O goes to an honest target.

What is refused by the adapter, or by the module, costs the connection; then the command is sent
again and answered honestly.

Recovery: the sessions are shared by all tests. One that fails has the guests cleared, and
the next one begins with others.
"""

import re
import time
from dataclasses import dataclass

import pytest

from iserlab.hostile import GUEST, OTHER, TARGET
from iserlab.target import Target
from rig import IQN, REPO, again_and_again, enough, in_the_end

KERNELS = ("6.1", "6.12")    # all with --all
SAMPLE = 16
ALWAYS = ("write after a read", "write after a read, invalidated",
          "test_nothing_is_left_of_all_that")
LENGTH = 65536
BLOCK, OTHER_BLOCK = 16384, 20480
VICTIM, LOOK = "/tmp/victim.py", "/tmp/look"
# An attack takes a while in which it does not answer pings.
SETTINGS = {"node.session.iscsi.DefaultTime2Wait": 0, "node.conn[0].timeo.login_timeout": 4,
            "node.conn[0].timeo.noop_out_interval": 15, "node.conn[0].timeo.noop_out_timeout": 15}
# Each write exposes all of its memory.
EXPOSED = SETTINGS | {"node.session.iscsi.ImmediateData": "No"}
# LIO hangs if a login comes again while it is busy with the first
HONESTLY = SETTINGS | {"node.conn[0].timeo.login_timeout": 60}
DROPPED, KEPT, FAILED = "connection: dropped", "connection: kept", "failed"
STALL = 30      # seconds in which the honest target's disk has done something
SLOWEST = 60    # seconds that an I/O to it may take: as long as a connection is made anew
# On a busy host soft-RoCE, soft-iWARP or LIO lose a connection now and then that nobody attacked.
LOST_AT_ONCE, LOST_IN_ALL = 1, 2
PATIENCE = "--patience 12000"   # with a connection that is to go
HONEST = "--times 0 hang-up"      # as nothing is attacked any more

# name: the command that is attacked, and what is done
MEMORY = {
    "write after a read": ("read", "--write --after"),
    "write after a read, invalidated": ("read", "--write --after --invalidate"),
    "read of a read": ("read", ""),
    "read after a read": ("read", "--after"),
    "write to a write": ("write", "--write"),
    "write after a write": ("write", "--write --after"),
    "read after a write": ("write", "--after"),
    "read after a write, invalidated": ("write", "--after --invalidate"),
    "write beyond the end": ("read", "--write --from-end"),
    "write across the end": ("read", "--write --from-end --at -256"),
    "write before the start": ("read", "--write --at -512"),
    "read beyond the end": ("write", "--from-end"),
    "read across the end": ("write", "--from-end --at -256"),
    "read before the start": ("write", "--at -512"),
    "key of an earlier command": ("read", "--write --ago 1"),
    "key of an earlier command, address of this": ("read", "--write --ago 1 --own-va"),
    "own key, write to an earlier command's address": ("read", "--write --ago 1 --other-va"),
    "own key, read of an earlier command's address": ("write", "--ago 1 --other-va"),
}
ALLOWED = {
    "write to a read": ("read", "--write"),
    "read of a write": ("write", ""),
}
ABORTED = {
    "write after an aborted read": ("read", "--write"),
    "read after an aborted write": ("write", ""),
}
# a command of another session, to another target that shares what it was given
HELD = {
    "write to another session's read": ("read", "--write --held"),
    "write with another session's key": ("read", "--write --held --own-va"),
    "read of another session's read": ("read", "--held"),
    "read of another session's write": ("write", "--held"),
    "read with another session's key": ("write", "--held --own-va"),
    "write to another session's write": ("write", "--write --held"),
    "own key, write to another session's address": ("read", "--write --held --other-va"),
}
# of a write that has data in its Send: all if it is short, else its first bytes. Places are
# relative to what was not sent.
AT_ONCE_SENT, SHORT = 8192, 4096
SENT = {
    "read of what a write has sent": (LENGTH, f"--at -{AT_ONCE_SENT}"),
    "read of what a write has sent, after": (LENGTH, f"--after --at -{AT_ONCE_SENT}"),
    "read across what a write has sent": (LENGTH, "--at -256"),
    "write to what a write has sent": (LENGTH, f"--write --at -{AT_ONCE_SENT}"),
    "earlier key, at a write that was sent whole": (SHORT, "--write --ago 1"),
}
SENT_WHOLE = ("--ago 1 invalidate", "r2t", "data-in")
# the memory of each is within pages that have other data as well
INSIDE = tuple(name for name in MEMORY if re.search("beyond|across|before", name))
# many accesses right behind the answer: some may still be in time, before the command is finished
RACES = {
    "writes while a read is answered": "",
    "writes while a read is answered, invalidated": "--invalidate",
}
# soft-iWARP does not look for the right to read
SIW_LETS = ("read of a read",)
RACED = 8       # commands
SPARE = 4       # commands, as the first of a connection is not attacked
FEW = 16        # of the guesses where there is nothing to be found
SIDE_BY_SIDE = 8    # sessions that are guessed about, as each guess costs one its connection
# index, relative to that of the command, and the first guess
GUESSES = {"own": (0, 1), "next": (1, 0), "previous": (-1, 0)}
# soft-iWARP only hangs up, perhaps on one who was not done with sending
SIW_REFUSALS = {DROPPED, "write: local QP operation error"}
# reasons
ACCESS_EVENT = "QP access error on"
CLOSED = "the target closed the connection"
SHORTER = "data segment longer than the message"
TOO_SHORT = "shorter than its headers"
NO_REQUEST = "no request with this tag is waiting"
NO_ANSWER = "opcode does not answer the request"
FLOODS = "floods with PDUs"
WRONG_KEY = "remote invalid request error"
NOT_ITS_OWN = "invalidates a key that is not its own"
NOT_SENT = "Reject of what was not sent"
# what is sent in place of the response, and what comes of it: nothing, a command that fails, or
# the end of the connection for a reason that the log is searched for
PDUS = {
    "additional-header": SHORTER,
    "async": KEPT,
    "async-reserved": KEPT,
    "async-tag": NO_ANSWER,
    "async-vendor": KEPT,
    "data-in": "Data-In or R2T",
    "data-length": SHORTER,
    "empty": TOO_SHORT,
    "hello": "Hello message",
    "--change 0x7fff00 invalidate": WRONG_KEY,
    "--change 1 invalidate": WRONG_KEY,
    # the adapter's no, unless it takes a key that died and has not changed since
    "--ago 1 invalidate": f"{WRONG_KEY}|{NOT_ITS_OWN}",
    "invalidate-by-nop": NOT_ITS_OWN,
    "--invalidate invalidate-twice": NO_REQUEST,
    "logged-out": NO_ANSWER,
    "login-again": NO_ANSWER,
    "longer": "message longer than its data segment",
    "no-tag": "refused by the iSCSI layer",
    "opcode": "opcode that no target may send",
    "overflow": KEPT,
    "r2t": "Data-In or R2T",
    "reject": KEPT,
    "reject-data-out": KEPT,
    "reject-login": KEPT,
    "reject-logout": KEPT,
    "reject-nop": NOT_SENT,
    "reject-nothing": NOT_SENT,
    "reject-partly": NOT_SENT,
    "reject-pong": KEPT,
    "reject-snack": KEPT,
    "reject-text": KEPT,
    "reject-tmf": KEPT,
    "residual": FAILED,
    "sense": FAILED,
    "stat-sn": KEPT,
    "tag": NO_REQUEST,
    "tag-age": NO_REQUEST,
    "tag-beyond": NO_REQUEST,
    "tag-generation": NO_REQUEST,
    "task-managed": NO_ANSWER,
    "text": NO_ANSWER,
    "text-tag": NO_REQUEST,
    "text-unasked": "refused by the iSCSI layer",
    "too-long": "local QP operation error",
    "too-short": TOO_SHORT,
    "--wait 0 twice": NO_REQUEST,
    "twice": NO_REQUEST,
    "window-back": KEPT,
    "--row 32 --rows 100 flood": FLOODS,
    "--row 32 --rows 100 ping-flood": FLOODS,
}
# those that are sent to a WRITE as well
TO_A_WRITE = ("additional-header", "data-in", "empty", "--change 1 invalidate",
              "invalidate-by-nop", "--invalidate invalidate-twice", "overflow", "r2t", "reject",
              "tag-generation", "task-managed", "twice")
# what libiscsi says of what it gets
LIBISCSI_SAYS = {
    "reject": r"pdu \(op 0x1 .* rejected\. Reason code 0x9",
    "reject-data-out": r"pdu \(op 0x5 .* rejected\. Reason code 0x4",
    "reject-login": r"pdu \(op 0x3 .* rejected\. Too many",
    "reject-logout": r"pdu \(op 0x6 .* rejected\. Too many",
    "reject-pong": r"pdu \(op 0x0 .* rejected\. Too many",
    "reject-snack": r"pdu \(op 0x10 .* rejected\. Reason code 0x3",
    "reject-text": r"pdu \(op 0x4 .* rejected\. Too many",
    "reject-tmf": r"pdu \(op 0x2 .* rejected\. Too many",
    "sense": "invalid data buffer size of 8",
}
# With so few tasks there are 48 receives.
FEW_TASKS = {"node.session.cmds_max": 16, "node.session.queue_depth": 1}
AT_ONCE = {60: KEPT, 120: DROPPED}
# soft-iWARP finds a key by its index, and does not mind one that is dead
SIW_SAYS = {
    "--change 1 invalidate": NOT_ITS_OWN,
    "too-long": "QP fatal error",
}
# soft-RoCE finds a key of any protection domain: it is we who see that it is another one's
FOREIGN_KEY = {"rxe": NOT_ITS_OWN, "siw": WRONG_KEY}
# what is done with the command, behind what is done with another request; what it says of it, and
# what the log says, if that is more than how the command's connection ended
BEHAVIOUR = {
    "closes": (("hang-up",), ("over",), CLOSED),
    "closes behind the data": (("hang-up-after-data",), ("over",), CLOSED),
    "closes while nothing happens": (("hang-up-idle",), ("over",), CLOSED),
    "closes, and refuses to be connected": (("--refuse 3 hang-up",), ("over", *3 * ["refused"]),
                                            "refused by the target"),
    "never answers": (("silence",), ("silent", "over"), ""),
    "closes a login": (("login-hang-up", "hang-up"), ("over", "over"), f"{CLOSED} during login"),
    "closes several logins": (("--times 3 login-hang-up", "hang-up"), 4 * ("over",),
                              f"({CLOSED} during login.*){{3}}"),
    "closes in the middle of a login": (("login-hang-up-later", "hang-up"),
                                        ("over", "in the middle", "over"),
                                        f"{CLOSED} during login"),
    # before iscsid has heard of it, or after that
    "closes behind the login response": (("login-hang-up-behind", "hang-up"), ("over", "over"),
                                         f"({CLOSED}.*){{2}}"),
    "never ends a login": (("login-silence-later", "hang-up"),
                           ("over", "in the middle", "silent", "over"), ""),
    "never answers a login": (("login-silence", "hang-up"), ("over", "silent", "over"), ""),
    "is slow to answer a login": (("--wait 2000 login-slowly", "hang-up"), ("over", "over"), ""),
    # any PDU may come behind the last login request: only iscsid knows that it was not answered
    "says something else at a login": (("login-nop-first", "hang-up"), ("over", "send", "over"),
                                       ""),
    "answers a command at a login": (("login-response-first", "hang-up"),
                                     ("over", "send", "over"), NO_ANSWER),
    "half answers a login": (("login-too-short", "hang-up"), ("over", "send", "over"),
                             TOO_SHORT),
    "answers a login with a wrong length": (("login-data-length", "hang-up"),
                                            ("over", "send", "over"), SHORTER),
}


@dataclass
class Outcome:
    """What came of an attack.

    @said: what the target saw
    @ended: how the command ended
    @wrong: what is wrong with its memory
    @log: what the initiator's kernel says of the target
    """
    said: list
    ended: str
    wrong: str
    log: str

    def verdict(self, access, network):
        """Whether the adapter let it happen. Soft-iWARP has its own ways to say no."""
        tried = [line for line in self.said if line.startswith(f"{access}: ")]
        if not tried:
            return "not tried"
        if network == "rxe":
            refused = len(tried) == 1 and tried[0] in self.refusals(access)
        else:
            refused = tried != [f"{access}: done"] or access == "write" and DROPPED in self.said
        return "refused" if refused else ", ".join(line.split(": ")[1] for line in tried)

    def refusals(self, access):
        """What the target can see of it when soft-RoCE refuses an access.

        Mainline's tells its own side first, which may hang up before the answer has gone.
        """
        words = ["remote access error"]
        if ACCESS_EVENT in self.log:
            words.append("Work Request Flushed Error")
        return {f"{access}: {each}" for each in words}


@dataclass
class Battle:
    """Sessions with hostile targets, and I/O to an honest one."""
    pair: object
    io: object
    honest: object
    session: object
    other: object
    before: dict
    begun: int
    mark: int = 0

    @classmethod
    def begin(cls, pair):
        """Log in to an honest target and to two hostile ones."""
        initiator, target = pair.initiator, Target(IQN, portals=(pair.portal,))
        before = initiator.resources()
        pair.target.serve(target)
        pair.hostile.start()
        pair.near.put(REPO / "tests" / "vm" / "guest" / "victim.py", VICTIM)
        there = pair.hostile.portal
        sessions = [session for login in ((IQN, pair.portal, HONESTLY),
                                          (TARGET.iqn, there, EXPOSED),
                                          (OTHER.iqn, there, EXPOSED))
                    for session in initiator.login(*login)]
        begun = pair.near.mark()
        slowest = SLOWEST * pair.near.kernel.patience
        io = again_and_again(
            pair.near, f"fio --name=io --thread --filename={sessions[0].disk} --rw=randwrite "
            "--bs=16k --size=4m --verify=crc32c --ioengine=libaio --iodepth=4 --direct=1 "
            f"--thinktime=10ms --max_latency={slowest}s --allow_file_create=0 --output=/dev/null")
        return cls(pair, io, *sessions, before, begun)

    def end(self):
        """The honest target was honest to the end, and all goes."""
        enough(self.pair.near, self.io, timeout=120)

    def guest(self, **settings):
        """A session for one test."""
        (session,) = self.pair.initiator.login(GUEST.iqn, self.pair.hostile.portal,
                                               SETTINGS | settings)
        yield session
        self.leave(session)

    def leave(self, *sessions):
        """End some sessions, unless a failure has ended all."""
        if self.pair.standing is self:
            for session in sessions:
                self.pair.initiator.logout(session)

    def attack(self, *orders):
        """From now on."""
        self.pair.near.run(f"rm -f {LOOK}")
        self.mark = self.pair.near.mark()
        self.pair.hostile.order(*orders)

    def lines(self, words, since):
        """What the kernel has logged with these words since then."""
        return [line for line in self.pair.near.console(since).splitlines() if words in line]

    def reasons(self):
        """What the kernel has logged of the hostile target since an attack began, in one line."""
        return " ".join(self.lines(f" {self.pair.hostile.portal}: ", self.mark))

    def lost(self, since):
        """How often the honest connection was lost since then."""
        return len(self.lines(f" connection{self.honest.number}:0: detected conn error", since))

    def sectors(self):
        """How many were read from and written to the honest target's disk."""
        stat = self.pair.near.read(f"/sys/block/{self.honest.disk[5:]}/stat").split()
        return int(stat[2]) + int(stat[6])

    def honest_goes_on(self):
        """Whether I/O to the honest target does; else why not."""
        before, end = self.sectors(), time.monotonic() + STALL * self.pair.near.kernel.patience
        while self.sectors() == before and time.monotonic() < end:
            time.sleep(0.1)
        assert self.io.poll() is None, f"I/O to the honest target has ended: {self.io.stderr}"
        assert self.sectors() > before, "I/O to the honest target stands still"
        assert self.lost(self.mark) <= LOST_AT_ONCE, "the honest connection is lost too often"
        return True

    def command(self, kind, session, block=BLOCK, how="", length=LENGTH):
        """One command for a place that is attacked."""
        length -= 1024 if "inside" in how else 0
        return self.pair.near.spawn(
            f"python3 {VICTIM} {session.disk} {kind} {block} {length} {LOOK} {how}")

    def look(self, *victims):
        """What came of it."""
        self.pair.near.run(f"touch {LOOK}")
        ended = [victim.wait(timeout=120, check=False) for victim in victims]
        wrong = "".join(each.stderr.strip() or f"status {each.status}"
                        for each in ended if each.status)
        assert self.honest_goes_on()
        ending = " ".join({each.stdout.split("\n")[0] for each in ended})
        return Outcome(self.pair.hostile.said(), ending, wrong, self.reasons())

    def fight(self, *orders, kind="read", times=1, session=None, **how):
        """Attack one command; when so many attacks are over, look."""
        self.attack(*orders)
        victim = self.command(kind, session or self.session, **how)
        self.pair.hostile.wait_for("over", times=times)
        return self.look(victim)

    def fight_held(self, order, kind):
        """Attack another session's command, while it is under way, with one of this session."""
        self.attack("hold")
        first = self.command(kind, self.other, OTHER_BLOCK)
        self.pair.hostile.wait_for("held")
        self.pair.hostile.order(order)
        second = self.command("read", self.session)
        self.pair.hostile.wait_for("over", times=2)
        return self.look(first, second)


@pytest.fixture(scope="module", params=("rxe", "siw"))
def network(request):
    """The kind of RDMA network."""
    return request.param


@pytest.fixture
def battle(rig, no_kernel_reports, network):
    """Sessions that other tests used before."""
    del no_kernel_reports
    pair = rig.pair()
    pair.use(network)
    if pair.standing is None:
        pair.clear()
        pair.clean = False
        pair.standing = Battle.begin(pair)
    return pair.standing


@pytest.fixture(autouse=True)
def leaks_are_looked_for(rig, sampled):
    """After each test, to know which it was; for a sample the look at the end is enough."""
    yield
    if not sampled:
        rig.look_for_leaks("initiator")


@pytest.fixture
def note(record_property):
    """Keep a verdict for `make attack`."""
    def keep(name, verdict, outcome):
        record_property("attack", f"{name}: {'; '.join(filter(None, (verdict, outcome.wrong)))}")
    return keep


def access(options):
    """What the attack does."""
    return "write" if "--write" in options else "read"


@pytest.mark.parametrize("name", ALLOWED)
def test_memory_that_was_given(battle, name, network, note):
    """What a target needs is allowed, so what is refused is not just unreachable."""
    kind, options = ALLOWED[name]
    outcome = battle.fight(f"{options} memory", kind=kind)
    note(name, outcome.verdict(access(options), network), outcome)
    assert outcome == Outcome(["ready", f"{access(options)}: done", "over"], "answered", "", "")


@pytest.mark.parametrize("kind", ("read", "write"))
def test_where_memory_is(battle, kind, note):
    """The target gets to know no address but one that is made of the key."""
    outcome = battle.fight("tell-key", kind=kind)
    key, address = (int(word, 16) for word in re.findall("[0-9a-f]{8,}", outcome.said[1]))
    told = address & ~0xfff != key << 32
    note(f"where the memory of a {kind} is", "told" if told else "not told", outcome)
    assert not told, outcome
    assert outcome.ended == "answered" and not outcome.wrong, outcome


@pytest.mark.parametrize("name", MEMORY)
def test_memory_that_was_not_given(battle, name, network, note):
    """Refused by the adapter, and nothing has changed."""
    kind, options = MEMORY[name]
    lets = network == "siw" and name in SIW_LETS
    # others come before it over the same connection
    burst = "burst" if "--ago" in options else ""
    outcome = battle.fight(f"{'' if lets else PATIENCE} {options} memory", kind=kind,
                           how="inside" if name in INSIDE else burst)
    verdict = outcome.verdict(access(options), network)
    note(name, verdict, outcome)
    assert verdict == ("done" if lets else "refused"), outcome
    assert outcome.ended == "answered" and not outcome.wrong, outcome
    # it is the access that was refused
    assert WRONG_KEY not in battle.reasons()


@pytest.mark.parametrize("name", RACES)
def test_memory_that_is_just_being_answered(battle, name, network, note):
    """Done or refused; but from when a command has returned its memory stays as it is.

    A row is long enough for the last of some to be too late; all are behind an invalidation.
    """
    patience = PATIENCE if network == "siw" else ""
    outcome = battle.fight(f"{patience} --times {RACED} --wait 0 --row 60 --length 4096 --write "
                           f"--after {RACES[name]} memory", times=RACED,
                           how=f"raced times={RACED}")
    assert sum(line.startswith("write: ") for line in outcome.said) == RACED, outcome
    in_time = outcome.said.count("write: done") - outcome.said.count(DROPPED)
    note(name, f"{RACED - in_time} of {RACED} refused in the end", outcome)
    assert in_time <= (0 if RACES[name] else RACED - 1), outcome
    assert outcome.ended == "answered" and not outcome.wrong, outcome
    # it is the writes that were refused
    assert WRONG_KEY not in battle.reasons()


@pytest.mark.parametrize("name", HELD)
def test_memory_of_another_session(battle, name, network, note):
    """That is being used just now."""
    kind, options = HELD[name]
    outcome = battle.fight_held(f"{PATIENCE} {options} memory", kind)
    verdict = outcome.verdict(access(options), network)
    note(name, verdict, outcome)
    assert verdict == "refused", outcome
    assert outcome.ended == "answered" and not outcome.wrong, outcome


@pytest.mark.parametrize("order", ("invalidate", "invalidate-by-nop"))
def test_invalidation_of_another_session(battle, network, order):
    """It costs who did it the connection; the command is not harmed, or done again."""
    outcome = battle.fight_held(f"{PATIENCE} --held {order}", "read")
    assert DROPPED in outcome.said and outcome.ended == "answered", outcome
    assert FOREIGN_KEY[network] in battle.reasons()
    assert not outcome.wrong, outcome


@pytest.fixture
def sending(battle):
    """A session whose writes have data in their Sends."""
    yield from battle.guest()


@pytest.mark.parametrize("name", SENT)
def test_memory_that_was_sent(battle, sending, name, network, note):
    """It is not exposed as well."""
    length, options = SENT[name]
    outcome = battle.fight(f"{PATIENCE} {options} memory", kind="write", session=sending,
                           length=length, how="burst" if "--ago" in options else "")
    verdict = outcome.verdict(access(options), network)
    note(name, verdict, outcome)
    assert f"came with it: {min(length, AT_ONCE_SENT)} bytes" in outcome.said, outcome
    assert verdict == "refused", outcome
    assert outcome.ended == "answered" and not outcome.wrong, outcome


@pytest.mark.parametrize("order", SENT_WHOLE)
def test_an_answer_to_a_write_that_was_sent_whole(battle, sending, order):
    """It was given no key that it could invalidate, and nothing that it could ask for."""
    outcome = battle.fight(f"{PATIENCE} {order}", kind="write", session=sending, length=SHORT,
                           how="burst")
    assert f"came with it: {SHORT} bytes" in outcome.said, outcome
    assert DROPPED in outcome.said and outcome.ended == "answered", outcome
    assert re.search(PDUS[order], battle.reasons())
    assert not outcome.wrong, outcome


@pytest.fixture
def crowd(battle, sampled):
    """Some sessions with the hostile target."""
    initiator, many = battle.pair.initiator, {"node.session.nr_sessions": SIDE_BY_SIDE}
    others = [] if sampled else initiator.login(TARGET.iqn, battle.pair.hostile.portal,
                                                EXPOSED | many)
    yield [battle.session, *others]
    battle.leave(*others)


@pytest.mark.timeout(4000)
@pytest.mark.parametrize("name", GUESSES)
def test_guessed_keys(battle, crowd, name, network, sampled, note):
    """All that an index can have, but the right one.

    soft-iWARP draws indexes at random, so that nobody has neighbours.
    """
    index, first = GUESSES[name]
    neighbours = index and network == "rxe"
    times = 3 if sampled else FEW if index and not neighbours else 256 - first
    battle.attack(f"{PATIENCE} --times {times} --trusted --write --index {index} "
                  f"--change {first} --each memory")
    # a guess costs the connection; before the next one the regions of the new one are used
    share = times // len(crowd) + SPARE
    victims = [battle.command("read", session,
                              how=f"times={share} {'burst' if index else ''}")
               for session in crowd]
    battle.pair.hostile.wait_for("over", times=times, seconds=3000)
    outcome = battle.look(*victims)
    refusals = SIW_REFUSALS if network == "siw" else outcome.refusals("write")
    refused = sum(line in refusals for line in outcome.said)
    others = {line for line in outcome.said if line.startswith("write: ")} - refusals
    note(f"guessed keys, {name} index", ", else ".join([f"{refused} of {times} refused",
                                                        *sorted(others)]), outcome)
    near = outcome.said.count("neighbour: was used")
    print(f"{near} of {times} neighbours were used before")
    assert near or sampled or not neighbours
    assert refused == times and outcome.ended == "answered" and not outcome.wrong, outcome


@pytest.mark.parametrize("order,kind", [(order, "read") for order in PDUS] +
                         [(order, "write") for order in TO_A_WRITE])
def test_a_pdu_that_does_not_belong_there(battle, network, order, kind):
    """It costs the connection, and the log says why; or nothing; or it fails, as an answer."""
    comes = (PDUS | SIW_SAYS if network == "siw" else PDUS)[order]
    drops = comes not in (KEPT, FAILED)
    outcome = battle.fight(f"{PATIENCE if drops else ''} {order}", kind=kind)
    log = battle.reasons()
    console = battle.pair.near.console(battle.mark)
    assert ("connection dropped" in log) == drops
    assert "ping timeout" not in console
    assert order not in LIBISCSI_SAYS or re.search(LIBISCSI_SAYS[order], console)
    assert outcome.ended == (FAILED if comes == FAILED else "answered"), outcome
    assert comes == FAILED or (DROPPED if drops else KEPT) in outcome.said, outcome
    assert not drops or re.search(comes, log)
    assert not outcome.wrong, outcome


@pytest.fixture
def narrow(battle):
    """A session that has few receives."""
    yield from battle.guest(**FEW_TASKS)


@pytest.mark.parametrize("row,ends", AT_ONCE.items())
def test_more_pdus_at_once_than_receives(battle, narrow, network, row, ends):
    """Who sends them has to wait, or they cost him the connection; too many do it anyway."""
    outcome = battle.fight(f"--row {row} flood", session=narrow)
    log = battle.reasons()
    # soft-iWARP hangs up where there is no receive
    ended = "connection dropped" in log or network == "siw" and "closed the connection" in log
    assert ended == (DROPPED in outcome.said), log
    # there it is a matter of time: who has no receive left, and what is a flood
    assert ends in outcome.said or network == "siw", outcome
    assert ends == KEPT or network == "siw" or FLOODS in log
    assert outcome.ended == "answered" and not outcome.wrong, outcome


@pytest.mark.parametrize("name", BEHAVIOUR)
def test_bad_behaviour(battle, name):
    """It ends, for the reason that the log names, and then all is well."""
    orders, says, why = BEHAVIOUR[name]
    outcome = battle.fight(*orders, times=says.count("over"))
    log = battle.reasons()
    assert re.search(why, log) if why else "connection dropped" not in log
    said = [line.split(": ")[0] for line in outcome.said if line != "ready"]
    assert sorted(said) == sorted(says), outcome
    assert outcome.ended == "answered" and not outcome.wrong, outcome


@pytest.fixture
def resigned(battle):
    """A session whose commands wait for its recovery for a moment only."""
    yield from battle.guest(**{"node.session.timeo.replacement_timeout": 3})


def test_connections_refused_for_good(battle, resigned):
    """Commands fail when their time is over; and it is a session again as soon as it can be."""
    initiator = battle.pair.initiator
    battle.attack("--refuse 1000000 hang-up")
    victim = battle.command("read", resigned)
    assert not in_the_end(lambda: not victim.stdout), "the command has not ended"
    assert initiator.state(resigned) == "FREE" and "refused" in battle.pair.hostile.said()
    battle.pair.hostile.order(HONEST)
    initiator.wait_for(resigned, "LOGGED_IN", 60)
    outcome = battle.look(victim)
    assert outcome.ended == FAILED and not outcome.wrong, outcome


@pytest.fixture
def impatience(battle):
    """Commands of the hostile target's disk time out soon."""
    file = f"/sys/block/{battle.session.disk[5:]}/device/timeout"
    battle.pair.near.run(f"echo 2 >{file}")
    yield
    battle.pair.near.run(f"echo 30 >{file}")


@pytest.mark.usefixtures("impatience")
def test_an_answer_behind_an_abort(battle):
    """The command is not there any more."""
    outcome = battle.fight(f"{PATIENCE} late")
    assert DROPPED in outcome.said and outcome.ended == "answered", outcome
    assert NO_REQUEST in battle.reasons()
    assert not outcome.wrong, outcome


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("name", ABORTED)
def test_memory_behind_an_abort(battle, name, network, note):
    """It is not the target's any more."""
    kind, options = ABORTED[name]
    outcome = battle.fight(f"{PATIENCE} {options} late-memory", kind=kind)
    verdict = outcome.verdict(access(options), network)
    note(name, verdict, outcome)
    assert verdict == "refused", outcome
    assert outcome.ended == "answered" and not outcome.wrong, outcome


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("order", ("tmf-hang-up", "tmf-silence"))
def test_no_answer_to_an_abort(battle, order):
    """The connection is made anew, and the command done again."""
    outcome = battle.fight(order, "ignore", times=2)
    assert outcome.ended == "answered" and not outcome.wrong, outcome


@pytest.mark.parametrize("order", ("logout-hang-up", "logout-silence"))
def test_no_answer_to_a_logout(battle, order):
    """The session goes all the same."""
    initiator, hostile = battle.pair.initiator, battle.pair.hostile
    (session,) = initiator.login(GUEST.iqn, hostile.portal, SETTINGS)
    battle.attack(order)
    initiator.guest.run(f"iscsiadm -m session -r {session.number} -u", check=False, timeout=90)
    hostile.wait_for("over")
    assert session.number not in [each.number for each in initiator.sessions()]
    assert battle.honest_goes_on()


def test_nothing_is_left_of_all_that(battle, tell):
    """The honest target's data were right all the time, and no resource is left.

    Whether memory is, is for kmemleak to say, if it is there.
    """
    pair = battle.pair
    battle.end()
    for line in battle.lines(f" {pair.portal}: ", battle.begun):
        tell(f"honest connection: {line}")
    assert battle.lost(battle.begun) <= LOST_IN_ALL
    pair.clear()
    # the core keeps completion queues in a pool of the device
    assert pair.initiator.resources() | {"cq": 0} == battle.before | {"cq": 0}
    leaks = pair.near.leaks()
    assert not leaks, leaks
