# SPDX-License-Identifier: GPL-2.0-only
"""A target in another guest attacks: memory that it was not given, or not any more.

Normally: a command is sent to a target of ours in user space (tests/hostile), which does
one bad thing over its real connection. The command's memory belongs to a program that looks
at it afterwards. Meanwhile verified I/O goes to an honest target. What is refused costs the
connection; then the command is sent again and answered honestly.

Recovery: each attack has a target of its own; a failure shows what that said.
"""

from dataclasses import dataclass

import pytest

from iserlab.hostile import TARGET
from iserlab.target import Target
from rig import IQN, REPO

SAMPLE = 10
LENGTH = 65536
LOOK = "/tmp/look"
REFUSED = "remote access error"
HASTE = {"node.session.iscsi.DefaultTime2Wait": 0}

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
    "next key byte": ("read", "--write --change 1"),
    "neighbour's key": ("read", "--write --index 1"),
}
ALLOWED = {
    "write to a read": ("read", "--write", "write"),
    "read of a write": ("write", "", "read"),
}


@dataclass
class Battle:
    """A session with the hostile target, and I/O to an honest one."""
    pair: object
    honest: object

    def fight(self, command, options):
        """One command, attacked; returns what came of the attack."""
        near, hostile = self.pair.near, self.pair.hostile
        hostile.attack("memory", *options.split())
        (session,) = self.pair.initiator.login(TARGET.iqn, hostile.portal, HASTE)
        near.run(f"rm -f {LOOK}")
        victim = near.spawn(f"python3 /tmp/victim.py {session.disk} {command} {LENGTH} {LOOK}")
        hostile.wait_for("write: " if "--write" in options else "read: ")
        near.run(f"touch {LOOK}")
        assert victim.wait(timeout=90).stdout == "answered\nunchanged\n"
        self.pair.initiator.logout(session)
        assert self.honest.poll() is None
        return hostile.said()


@pytest.fixture
def battle(pair):
    """I/O to an honest target, which has to be right in the end."""
    target = Target(IQN, portals=(pair.portal,))
    pair.target.serve(target)
    (session,) = pair.initiator.login(target.iqn, pair.portal)
    pair.near.run("rm -f /tmp/enough")
    script = (REPO / "tests" / "vm" / "guest" / "victim.py").read_text(encoding="utf-8")
    pair.near.run("cat >/tmp/victim.py", input=script)
    honest = pair.near.spawn(f"""
        until [ -e /tmp/enough ]; do
            fio --name=io --thread --filename={session.disk} --rw=randwrite --bs=16k --size=4m \\
                --verify=crc32c --ioengine=libaio --iodepth=4 --direct=1 --output=/dev/null ||
                exit
        done""")
    yield Battle(pair, honest)
    pair.near.run("touch /tmp/enough")
    honest.wait(timeout=120)


@pytest.mark.parametrize("name", ALLOWED)
def test_memory_that_was_given(battle, name):
    """What a target needs is allowed, so what is refused is not just unreachable."""
    command, options, kind = ALLOWED[name]
    assert battle.fight(command, options)[kind] == "done"


@pytest.mark.parametrize("name", MEMORY)
def test_memory_that_was_not_given(battle, name):
    """Refused by the adapter, and nothing has changed."""
    command, options = MEMORY[name]
    kind = "write" if "--write" in options else "read"
    assert battle.fight(command, options)[kind] == REFUSED
