# SPDX-License-Identifier: GPL-2.0-only
"""Runs in a guest: one command for a disk, and an eye on its memory afterwards.

    python3 victim.py DEVICE read|write BLOCK BYTES LOOK [persist]

Normally: it reads zeros or writes random bytes, without a page cache, at a block that
tests/hostile attacks. Then the memory has another owner, so to speak: it is filled with
something else, and "answered" is said, or "failed" if there was an error; with `persist` the
command is issued until there is none. When the file LOOK is
there it says "unchanged" if that is still in the memory, also beside it, if the disk has
what was written, and if another command for the disk is executed. It leaves zeros on the disk.

Recovery: none; what is wrong ends it with status 1 and says what it was.
"""

import mmap
import os
import sys
import time

BESIDE = 65536
OTHER = b"\x5a"


def check(right, what):
    """Say what is wrong."""
    if not right:
        sys.exit(what)


def read(device, view, place):
    """Read all that is asked for."""
    check(os.preadv(device, [view], place) == len(view), "short read")


def attempt(device, place, writes, view, data):
    """The command that is attacked; whether it was executed."""
    try:
        if writes:
            view[:] = data
            check(os.pwritev(device, [view], place) == len(view), "short write")
        else:
            view[:] = OTHER * len(view)
            read(device, view, place)
    except OSError:
        return False
    check(view == data, "the command's memory has other data than it should")
    return True


def main():
    """One command, and a look at its memory."""
    device = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
    writes, place, length = sys.argv[2] == "write", int(sys.argv[3]) * 512, int(sys.argv[4])
    memory = mmap.mmap(-1, BESIDE + length + BESIDE)
    view = memoryview(memory)[BESIDE:BESIDE + length]
    data = os.urandom(length) if writes else bytes(length)
    done = attempt(device, place, writes, view, data)
    while not done and "persist" in sys.argv:
        done = attempt(device, place, writes, view, data)
    memory[:] = OTHER * len(memory)
    print("answered" if done else "failed", flush=True)

    while not os.path.exists(sys.argv[5]):
        time.sleep(0.05)
    check(memory[:] == OTHER * len(memory), "memory was changed")
    again = memoryview(mmap.mmap(-1, length))
    read(device, again, place if writes and done else 0)
    if writes and done:
        check(again == data, "the disk has other data than were written")
        again[:] = bytes(length)
        check(os.pwritev(device, [again], place) == length, "short write")
    print("unchanged", flush=True)


main()
