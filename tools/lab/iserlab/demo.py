# SPDX-License-Identifier: GPL-2.0-only
"""`make demo`: what a user does with ib_iser, from discovery to rmmod, on real parts.

Normally: boots a guest with a stock Debian kernel, loads our module, makes an RDMA device
and a target in it, and then goes through the tools that people have. Each step is a line
with its time, and dots while it lasts. The end sums up.

Recovery: the first step that fails ends the demo, with status 1. What failed and why
comes first, then what the command said and the end of the kernel's log.
"""

import contextlib
import os
import sys
import threading
import time

from . import fabric, kernels, module
from .guest import Guest
from .initiator import Initiator, source_version
from .paths import LabError
from .target import Lio, Portal, RamDisk, Target

TARGET = Target("iqn.2026-01.lab.iser:demo", (RamDisk("disk", 256),), (Portal("10.0.0.1"),))
TREE = "/usr/lib/python3.11"
WIDTH = 60      # of a step's name and dots
TICK = 2        # seconds between dots

DISCOVER = f"iscsiadm -m discovery -t st -p {TARGET.portals[0].address} -I iser"
LOGIN = "iscsiadm -m node -l"
STATISTICS = "iscsiadm -m session -s"
LOGOUT = "iscsiadm -m node -u"


class Steps:
    """Prints one line for each step, with its time."""

    def __init__(self):
        self.began = time.monotonic()
        self.done = 0
        self.name = None

    @contextlib.contextmanager
    def __call__(self, name):
        self.name, began, over = name, time.monotonic(), threading.Event()
        printer = threading.Thread(target=self._print, args=(over,))
        printer.start()
        try:
            yield
        except BaseException:
            over.set()
            printer.join()
            print(flush=True)
            raise
        over.set()
        printer.join()
        self.done += 1
        print(f"{time.monotonic() - began:7.1f} s", flush=True)

    def _print(self, over):
        """The name, a dot from time to time, and at the end room for the time it took."""
        used = len(self.name) + 3
        print(f"  {self.name} ", end="", flush=True)
        while not over.wait(TICK):
            print(".", end="", flush=True)
            used += 1
        print(" " * (WIDTH - used), end="")

    @property
    def seconds(self):
        """Since the demo began."""
        return time.monotonic() - self.began


def show(text):
    """What a command said, below its step."""
    for line in text.strip().expandtabs(4).splitlines():
        print(f"      {line}", flush=True)


def main():
    """Run the demo; returns the status for the shell."""
    steps, guests = Steps(), []
    print("ib_iser end to end: a target and this initiator in one guest\n", flush=True)
    try:
        with steps("find kernel and root filesystem"):
            kernel = kernels.get(os.environ.get("KERNEL") or "6.1")
        with steps(f"build ib_iser.ko for {kernel.release}"):
            module.build(kernel)
        with steps(f"boot Debian's kernel {kernel.release}"):
            guests.append(Guest(kernel, name="demo").start())
        built = tour(steps, guests[0])
    except LabError as error:
        explain(steps, error, guests)
        return 1
    finally:
        for guest in guests:
            guest.stop()
    print(f"\nib_iser {built} on {kernel.release}: discovered, logged in, verified files "
          f"and blocks, logged out, unloaded;\nno complaint from the kernel. "
          f"{steps.done} steps in {steps.seconds:.0f} s.")
    return 0


def explain(steps, error, guests):
    """The reason first, then what helps to understand it."""
    reason, _, details = str(error).partition("\n")
    print(f"\nFAILED: {steps.name}: {reason}", file=sys.stderr)
    show(details)
    for guest in guests:
        print(f"\nThe last lines of the kernel's log:\n{guest.tail(40)}", file=sys.stderr)


def tour(steps, guest):
    """All that is done in the guest; returns the source version of the module."""
    built = prepare(steps, guest)
    disk = connect(steps, guest)
    use_files(steps, guest, disk)
    use_blocks(steps, guest, disk)
    leave(steps, guest)
    with steps("look for complaints in the kernel's log"):
        complaints = guest.reports()
        if complaints:
            raise LabError("the kernel complained\n" + "\n".join(complaints))
    return built


def prepare(steps, guest):
    """The module, an RDMA device, a target, iscsid; returns the source version."""
    initiator = Initiator(guest)
    with steps("load ib_iser"):
        built = source_version(module.build(guest.kernel))
        module.install(guest)
        initiator.load()
        loaded = initiator.identity()
        if loaded != built:
            raise LabError(f"the guest loaded another ib_iser: srcversion {loaded}, not {built}")
    show(f"srcversion {loaded} in /sys/module/ib_iser: the one that was just built")
    with steps("make an RDMA device: soft-RoCE on eth0"):
        fabric.up(guest)
    with steps("set up a target: LIO, an iSER portal, a ramdisk"):
        Lio(guest).serve(TARGET)
    with steps("start iscsid"):
        initiator.start()
    return built


def connect(steps, guest):
    """Discovery and login; returns the disk."""
    with steps(DISCOVER):
        found = guest.run(DISCOVER).stdout
    show(found)
    with steps(LOGIN):
        guest.run(LOGIN)
        guest.run("until lsblk -nS | grep -q LIO-ORG; do sleep 0.2; done; udevadm settle")
    with steps("lsblk"):
        disks = guest.run("lsblk -S -o NAME,TRAN,VENDOR,MODEL,SIZE").stdout
        (session,) = Initiator(guest).sessions()
    show(disks)
    return session.disk


def use_files(steps, guest, disk):
    """A filesystem, and files that are the same with a cold cache."""
    sums = "(cd {} && find . -type f -print0 | sort -z | xargs -0 sha256sum)"
    same = f"{sums.format('/mnt/tree')} | cmp - /tmp/sums && wc -l </tmp/sums"
    with steps(f"mkfs.ext4 {disk}, mount"):
        guest.run(f"mkfs.ext4 -q {disk} && mount {disk} /mnt")
    with steps(f"copy {TREE}"):
        guest.run(f"cp -a {TREE} /mnt/tree && sync -f /mnt && {sums.format(TREE)} >/tmp/sums",
                  timeout=120)
    with steps("compare checksums"):
        guest.run(same, timeout=120)
    with steps("drop caches, compare checksums again"):
        count = guest.run(f"echo 3 >/proc/sys/vm/drop_caches && {same}", timeout=120).stdout
    show(f"{count.strip()} files are the same")
    with steps("umount"):
        guest.run("umount /mnt")


def use_blocks(steps, guest, disk):
    """fio writes, reads back and verifies; small blocks and large ones."""
    for size, total in (("4k", "8m"), ("1m", "64m")):
        with steps(f"fio: write {total} in blocks of {size}, read, verify crc32c"):
            guest.run(f"fio --name=verify --filename={disk} --rw=randwrite --bs={size} "
                      f"--size={total} --ioengine=io_uring --iodepth=16 --direct=1 --thread "
                      "--verify=crc32c --verify_fatal=1 --allow_file_create=0 "
                      "--output=/tmp/fio.log", timeout=120)


def leave(steps, guest):
    """Statistics, logout, and the module goes."""
    with steps(STATISTICS):
        said = guest.run(STATISTICS).stdout
    show("\n".join(line for line in said.splitlines() if not line.endswith(": 0")))
    with steps(LOGOUT):
        guest.run(LOGOUT)
    with steps("rmmod ib_iser"):
        Initiator(guest).unload()
