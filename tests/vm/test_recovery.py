# SPDX-License-Identifier: GPL-2.0-only
"""Recovery that everybody needs: the target goes away for a while, and so does the link.

Normally: fio writes and verifies while the fault lasts. Nothing is done to help: open-iscsi
and the module have to come back by themselves, and fio must not notice more than a delay.

Recovery: a fault that a failed test left behind is ended when its guests are cleared.
"""

import time

from iserlab.target import Target
from rig import IQN

IO = ("fio --name=io --filename={disk} --rw=randwrite --bs=16k --size=32m --io_size=1g "
      "--time_based --runtime={seconds} --ioengine=libaio --iodepth=16 --direct=1 --thread "
      "--verify=crc32c --verify_backlog=128 --verify_fatal=1 --output=/dev/null")
WARM_UP, AFTER = 3, 5


def wait_for(initiator, session, wanted, seconds):
    """Wait until the session is in a state."""
    path = f"/sys/class/iscsi_session/session{session.number}/state"
    initiator.guest.run(f"until grep -q {wanted} {path}; do sleep 0.1; done", timeout=seconds)


def test_the_portal_is_disabled_for_ten_seconds(host):
    """I/O stops, resumes by itself, and all data is right."""
    target = Target(IQN)
    session = host.login(target)
    io = host.guest.spawn(IO.format(disk=session.disk, seconds=WARM_UP + 10 + AFTER))
    time.sleep(WARM_UP)
    host.target.disable(target)
    wait_for(host.initiator, session, "FAILED", 30)
    time.sleep(10)
    assert io.poll() is None
    host.target.enable(target)
    wait_for(host.initiator, session, "LOGGED_IN", 60)
    io.wait(timeout=120)
    assert [each.number for each in host.initiator.sessions()] == [session.number]


def test_the_link_is_down_for_twenty_seconds(pair):
    """The cable is pulled; I/O resumes by itself when it is back, and all data is right."""
    target = Target(IQN, portals=(pair.portal,))
    pair.target.serve(target)
    (session,) = pair.initiator.login(IQN, pair.portal)
    io = pair.near.spawn(IO.format(disk=session.disk, seconds=WARM_UP + 20 + AFTER))
    time.sleep(WARM_UP)
    pair.near.link("eth0", False)
    time.sleep(20)
    assert io.poll() is None
    wait_for(pair.initiator, session, "FAILED", 10)
    pair.near.link("eth0", True)
    wait_for(pair.initiator, session, "LOGGED_IN", 90)
    io.wait(timeout=120)
    assert [each.number for each in pair.initiator.sessions()] == [session.number]
