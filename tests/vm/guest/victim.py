# SPDX-License-Identifier: GPL-2.0-only
"""Runs in a guest: commands for a disk, and an eye on their memory afterwards.

    python3 victim.py DEVICE read|write BLOCK BYTES LOOK [burst] [raced] [inside] [times=N]

Normally: it reads zeros or writes random bytes, without a page cache, at a block that
tests/hostile attacks. When the command returns the memory is its own again, so to speak: it is
copied at once, also what is beside it, and "answered" is said, or "failed" if there was an
error. When the file LOOK is there it says "unchanged" if the memory is still what it was then,
if the disk has what was written, and if another command for the disk is executed. It leaves
zeros on the disk.

With `burst` it comes behind some reads at once of what is not attacked, whose memory has to stay
as it is, too. With `raced` a target may still write to it when it answers, so that what was read
may be anything. With `inside` its memory neither begins nor ends with a page. N commands have each
a memory of their own.

Recovery: none; what is wrong ends it with status 1 and says what it was.
"""

import mmap
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

BESIDE, INSIDE = 65536, 512
PAGE, BURST = 4096, 24
OTHER = b"\x5a"
OPTIONS = sys.argv[6:]
TIMES = max(int(option[6:]) for option in ["times=1", *OPTIONS] if option.startswith("times="))


def check(right, what):
    """Say what is wrong."""
    if not right:
        sys.exit(what)


def read(device, view, place):
    """Read all that is asked for."""
    check(os.preadv(device, [view], place) == len(view), "short read")


def write(device, view, place):
    """Write all of it."""
    check(os.pwritev(device, [view], place) == len(view), "short write")


def burst(device):
    """Read at many places at once, from the first one on; returns the memory, and copies of it."""
    views = [memoryview(mmap.mmap(-1, PAGE)) for _ in range(BURST)]
    with ThreadPoolExecutor(BURST) as pool:
        list(pool.map(read, BURST * [device], views, range(0, BURST * PAGE, PAGE)))
    return [(view, view.tobytes()) for view in views]


class Command:
    """One command, and its memory."""

    def __init__(self, device, writes, place, length):
        self.earlier = burst(device) if "burst" in OPTIONS else []
        begin = BESIDE + INSIDE * ("inside" in OPTIONS)
        self.data = os.urandom(length) if writes else bytes(length)
        self.memory = mmap.mmap(-1, BESIDE + INSIDE + length + BESIDE)
        self.memory[:] = OTHER * len(self.memory)
        self.own = slice(begin, begin + length)
        self.done, self.copy = self.attempt(device, writes, place)
        own = self.copy[self.own]
        check(self.copy == OTHER * begin + own + OTHER * (len(self.memory) - begin - length),
              "memory beside the command's was changed")
        check(own == self.data or not self.done or "raced" in OPTIONS,
              "the command's memory has other data than it should")

    def attempt(self, device, writes, place):
        """Whether it was executed, and what is in the memory at that very moment."""
        view = memoryview(self.memory)[self.own]
        view[:] = self.data if writes else OTHER * len(view)
        try:
            (write if writes else read)(device, view, place)
        except OSError:
            return False, self.memory[:]
        return True, self.memory[:]


def main():
    """Commands, and a look at their memory."""
    device = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
    writes, place, length = sys.argv[2] == "write", int(sys.argv[3]) * 512, int(sys.argv[4])
    commands = [Command(device, writes, place, length) for _ in range(TIMES)]
    done = all(command.done for command in commands)
    print("answered" if done else "failed", flush=True)

    while not os.path.exists(sys.argv[5]):
        time.sleep(0.05)
    check(all(command.memory[:] == command.copy for command in commands), "memory was changed")
    check(all(view == copy for command in commands for view, copy in command.earlier),
          "memory of an earlier command was changed")
    again = memoryview(mmap.mmap(-1, length))
    read(device, again, place if writes and done else 0)
    if writes and done:
        check(again == commands[-1].data, "the disk has other data than were written")
        again[:] = bytes(length)
        write(device, again, place)
    print("unchanged", flush=True)


main()
