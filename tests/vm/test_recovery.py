# SPDX-License-Identifier: GPL-2.0-only
"""Recovery that everybody needs: the target goes away for a while, and so does the link.

Normally: fio writes and verifies while the fault lasts. Nothing is done to help: open-iscsi
and the module have to come back by themselves, and fio must not notice more than a delay.

Recovery: a fault that a failed test left behind is ended when its guests are cleared.
"""

import re
import time
from contextlib import contextmanager

from iserlab import simhca
from iserlab.paths import REPO
from iserlab.target import Portal, Target
from rig import IQN, again_and_again, enough

SAMPLE = {"6.1": 4}

IO = ("fio --name=io --filename={disk} --rw=randwrite --bs=16k --size=32m --io_size=1g "
      "--time_based --runtime={seconds} --ioengine=libaio --iodepth=16 --direct=1 --thread "
      "--verify=crc32c --verify_backlog=128 --verify_fatal=1 --allow_file_create=0 "
      "--output=/dev/null")
WARM_UP, AFTER = 3, 5

# waits for both paths
READY = """
paths() { multipathd show paths raw format '%t %T'; }
until [ "$(paths | grep -c 'active *ready')" = 2 ]; do
    sleep 0.2
done"""
# what a short test must not wait for
OFTEN = "    polling_interval 1\n}"
IMPATIENT = {"node.session.timeo.replacement_timeout": 5,
             "node.conn[0].timeo.noop_out_interval": 2, "node.conn[0].timeo.noop_out_timeout": 3}


def test_the_portal_is_disabled_for_ten_seconds(host):
    """I/O stops, resumes by itself, and all data is right."""
    target = Target(IQN)
    session = host.login(target)
    io = host.guest.spawn(IO.format(disk=session.disk, seconds=WARM_UP + 10 + AFTER))
    time.sleep(WARM_UP)
    host.target.disable(target)
    host.initiator.wait_for(session, "FAILED", 30)
    time.sleep(10)
    assert io.poll() is None
    host.target.enable(target)
    host.initiator.wait_for(session, "LOGGED_IN", 60)
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
    pair.initiator.wait_for(session, "FAILED", 10)
    pair.near.link("eth0", True)
    pair.initiator.wait_for(session, "LOGGED_IN", 90)
    io.wait(timeout=120)
    assert [each.number for each in pair.initiator.sessions()] == [session.number]


def recipe():
    """The multipath.conf that Documentation/operations.rst recommends."""
    text = (REPO / "Documentation" / "operations.rst").read_text()
    return re.search(r"/etc/multipath.conf\n(    defaults \{\n.*?\n)    \}\n", text, re.DOTALL)[1]


@contextmanager
def multipath(guest):
    """The disk that multipathd makes of two paths; gone afterwards."""
    guest.write("/etc/multipath.conf", recipe() + OFTEN)
    guest.run("modprobe -a dm-multipath dm-queue-length && multipathd")
    try:
        yield guest.run(f"""
            {READY}
            until name=$(multipathd show maps raw format '%n') && [ -b /dev/mapper/$name ]; do
                sleep 0.2
            done
            echo /dev/mapper/$name""", timeout=60).stdout.strip()
    finally:
        guest.run("killall -q fio; multipath -F; killall multipathd; rm /etc/multipath.conf; "
                  "while pidof multipathd; do sleep 0.1; done; dmsetup remove_all -f", check=False)


def test_a_path_is_lost_and_comes_again(pair):
    """One of the target's two addresses goes: I/O goes on over the other one, then over both."""
    second = Portal(pair.portal.address.rsplit(".", 1)[0] + ".99")
    address = f"ip address {{}} {second.address}/24 dev eth0"
    pair.far.run(address.format("add"))
    target = Target(IQN, portals=(pair.portal, second))
    pair.target.serve(target)
    (stays,), (goes,) = (pair.initiator.login(IQN, portal, IMPATIENT)
                         for portal in target.portals)

    ride_out(pair.initiator, stays, goes, lambda: pair.far.run(address.format("del")),
             lambda: pair.far.run(address.format("add")))
    pair.far.run(address.format("del"))


@contextmanager
def two_adapters(sim):
    """Two ways to the same disks, instead of the one adapter."""
    sim.guest.run("rmmod simhca")
    try:
        yield simhca.load(sim.guest, adapters=2, shared=True)
    finally:
        sim.initiator.clear()
        sim.guest.run("rmmod simhca")
        sim.hca = simhca.load(sim.guest)


def test_an_adapter_goes_and_comes_again(sim):
    """One of two simulated adapters is unplugged: I/O goes on over the other, then over both."""
    with two_adapters(sim) as adapters:
        stays, goes = (sim.initiator.login(hca.iqn(), hca.portal(), IMPATIENT)[0]
                       for hca in adapters)
        ride_out(sim.initiator, stays, goes, lambda: adapters[1].power(False),
                 lambda: adapters[1].power(True))
        for hca in adapters:
            assert not hca.counters().violations


def ride_out(initiator, stays, goes, take, give):
    """I/O over the paths of two sessions, one of which is taken away and given back."""
    guest = initiator.guest
    with multipath(guest) as disk:
        io = again_and_again(guest, IO.format(disk=disk, seconds=10))
        time.sleep(WARM_UP)
        take()
        initiator.wait_for(goes, "FAILED", 60)
        failed = written(guest, disk)
        time.sleep(10)
        assert written(guest, disk) > failed and io.poll() is None
        assert initiator.state(stays) == "LOGGED_IN"
        give()
        initiator.wait_for(goes, "LOGGED_IN", 90)
        guest.run(READY, timeout=60)
        again = written(guest, goes.disk)
        time.sleep(AFTER)
        assert written(guest, goes.disk) > again and io.poll() is None
        enough(guest, io, timeout=120)


def written(guest, disk):
    """Sectors that were written to a disk since it is there."""
    return int(guest.run(f"cat /sys/dev/block/$(stat -Lc %Hr:%Lr {disk})/stat").stdout.split()[6])
