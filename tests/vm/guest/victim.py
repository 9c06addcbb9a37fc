# SPDX-License-Identifier: GPL-2.0-only
"""Runs in a guest: one command for a disk, and an eye on its memory afterwards.

    python3 victim.py DEVICE read|write BYTES LOOK

Normally: it reads zeros or writes random bytes, without a page cache, at the place that
tests/hostile attacks. Then the memory has another owner, so to speak: it is filled with
something else, and "answered" is said. When the file LOOK is there it says "unchanged" if that
is still in the memory, also beside it, and if the disk has what was written.

Recovery: none; what is wrong ends it with status 1 and says what it was.
"""

import mmap
import os
import sys
import time

PLACE = 16384 * 512
BESIDE = 65536
OTHER = b"\x5a"


def check(right, what):
    """Say what is wrong."""
    if not right:
        sys.exit(what)


def main():
    """One command, and a look at its memory."""
    device = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
    writes, length = sys.argv[2] == "write", int(sys.argv[3])
    memory = mmap.mmap(-1, BESIDE + length + BESIDE)
    view = memoryview(memory)[BESIDE:BESIDE + length]
    data = os.urandom(length) if writes else bytes(length)
    if writes:
        view[:] = data
        check(os.pwritev(device, [view], PLACE) == length, "short write")
    else:
        view[:] = OTHER * length
        check(os.preadv(device, [view], PLACE) == length, "short read")
    check(view == data, "the command's memory has other data than it should")
    memory[:] = OTHER * len(memory)
    print("answered", flush=True)

    while not os.path.exists(sys.argv[4]):
        time.sleep(0.05)
    check(memory[:] == OTHER * len(memory), "memory was changed")
    if writes:
        again = mmap.mmap(-1, length)
        check(os.preadv(device, [again], PLACE) == length, "short read")
        check(again[:] == data, "the disk has other data than were written")
    print("unchanged", flush=True)


main()
