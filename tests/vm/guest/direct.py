# SPDX-License-Identifier: GPL-2.0-only
"""Runs in a guest: direct I/O with chosen lengths and memory layouts, checked on both sides.

    python3 direct.py DEVICE STORE LENGTH[:LAYOUT]...

Normally: for each case it fills a window of the store, the target's side of the LUN,
writes LENGTH random bytes into the middle of it through the device, and compares the
whole window in the store with what it must hold now. Then it puts other bytes into the
store and reads them through the device.

Layouts: page+N   one buffer, N bytes behind the start of a page
         gaps     pieces of one sector, each at an odd place in a page of its own
         pieces   pieces of several sectors that cross pages, 4-byte aligned

Recovery: none; the first difference ends it with status 1 and says where it is.
"""

import mmap
import os
import sys

PAGE = 4096
SECTOR = 512
MARGIN = 64 * 1024


def pieces(length, layout):
    """(offset in memory, length) of each piece of a buffer, in pages of their own."""
    if layout.startswith("page+"):
        return [(int(layout.removeprefix("page+")), length)]
    size, place, found = (SECTOR if layout == "gaps" else 5 * SECTOR), 0, []
    size = max(size, -(-length // (512 * SECTOR)) * SECTOR)     # at most 512 pieces
    while length:
        part = min(size, length)
        odd = (len(found) * 52) % (PAGE - SECTOR) & ~3
        found.append((place + odd, part))
        place += -(-(odd + part) // PAGE) * PAGE + PAGE
        length -= part
    return found


class Buffer:
    """Memory with a layout. What lies between the pieces is watched."""

    def __init__(self, length, layout):
        parts = pieces(length, layout)
        end = max(start + size for start, size in parts)
        self.memory = mmap.mmap(-1, -(-end // PAGE) * PAGE + PAGE)
        self.views = [memoryview(self.memory)[start:start + size] for start, size in parts]
        self.parts = parts

    def fill(self, data):
        """Put data into the pieces, in order."""
        for view in self.views:
            view[:], data = data[:len(view)], data[len(view):]

    def contents(self):
        """What the pieces hold."""
        return b"".join(self.views)

    def between(self):
        """What lies between the pieces."""
        whole = bytearray(self.memory)
        for start, size in self.parts:
            whole[start:start + size] = bytes(size)
        return bytes(whole)


def same(got, expected, case, what):
    """Compare, and end the program at the first difference."""
    if got != expected:
        first = next(at for at in range(max(len(got), len(expected)))
                     if got[at:at + 1] != expected[at:at + 1])
        sys.exit(f"{case}: {what} differs at byte {first - MARGIN} "
                 f"(0 is where the request begins)")


def check(device, store, case):
    """One write and one read."""
    length, _, layout = case.partition(":")
    length, buffer = int(length), Buffer(int(length), layout or "page+0")
    window = os.urandom(MARGIN + length + MARGIN)
    os.pwrite(store, window, 0)
    data = os.urandom(length)
    buffer.fill(data)
    assert os.pwritev(device, buffer.views, MARGIN) == length
    same(os.pread(store, len(window), 0), window[:MARGIN] + data + window[-MARGIN:], case,
         "what was written")
    os.pwrite(store, window, 0)
    buffer.fill(bytes(length))
    assert os.preadv(device, buffer.views, MARGIN) == length
    same(bytes(MARGIN) + buffer.contents(), bytes(MARGIN) + window[MARGIN:-MARGIN], case,
         "what was read")
    same(buffer.between(), bytes(len(buffer.memory)), case, "memory beside the buffer")


def main():
    """Check all cases."""
    device = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
    store = os.open(sys.argv[2], os.O_RDWR)
    for case in sys.argv[3:]:
        check(device, store, case)


main()
