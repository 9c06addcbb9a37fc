# SPDX-License-Identifier: GPL-2.0-only
"""A cable between two guests.

Normally: two connected datagram sockets, one inherited by each guest's
qemu, one datagram per Ethernet frame. No port numbers, nothing outside can
reach it, and frames are not lost because one side is slow.

Recovery: while a guest is down nobody would read its end, and its peer
would stall as no real network card does. So the link reads and drops
frames on behalf of a guest that is not running.
"""

import select
import socket
import threading
import time
import weakref

FRAME = 65536 + 64


class Link:
    """Give the same Link to two guests: Guest(..., nets=[link])."""

    def __init__(self):
        self.sockets = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.owners = []
        for sock in self.sockets:
            sock.setblocking(False)
        threading.Thread(target=_drain, args=(weakref.ref(self),), daemon=True).start()

    def plug(self, guest):
        """The end of the cable that this guest has; always the same one."""
        if guest not in self.owners:
            if len(self.owners) == 2:
                raise ValueError("a link has two ends, both are taken")
            self.owners.append(guest)
        return self.sockets[self.owners.index(guest)]

    def idle(self):
        """The ends that no running qemu reads."""
        used = [index for index, guest in enumerate(self.owners) if guest.running]
        return [sock for index, sock in enumerate(self.sockets) if index not in used]


def _drain(reference):
    """Drop what reaches an idle end, for as long as the link exists."""
    while (link := reference()) is not None:
        idle = link.idle()
        del link
        if not idle:
            time.sleep(0.05)
            continue
        for sock in select.select(idle, [], [], 0.05)[0]:
            sock.recv(FRAME)
