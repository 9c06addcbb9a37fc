# SPDX-License-Identifier: GPL-2.0-only
"""Disk images and initramfs archives, made without being root.

Normally called by the makers of cached things (kernels.py, rootfs.py) and,
for the small initramfs, before each boot.
"""

import stat

from . import host


def ext4(directory, image, label, spare_mb, under=()):
    """Write a directory as an ext4 image.

    @under: a command that mke2fs runs under, fakeroot for instance.
    """
    used = int(host.run("du", "-sm", "--apparent-size", directory).split()[0])
    inodes = sum(1 for _ in directory.rglob("*")) + 4096
    size = int(used * 1.15) + inodes // 2048 + spare_mb
    host.run(*under, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal",
             "-E", "root_owner=0:0", "-L", label, "-m", "0", "-N", inodes,
             "-d", directory, image, f"{size}M")


def cpio(entries):
    """An initramfs (cpio newc) of (name, mode, contents) entries.

    Names are relative; a directory has no contents and comes before what
    is in it.
    """
    archive = bytearray()
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")]):
        archive += _member(number, name, mode, data)
    return bytes(archive)


def _member(number, name, mode, data):
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % value for value in fields)
    return _padded(head + name.encode() + b"\0") + _padded(data)


def _padded(data):
    return data + bytes(-len(data) % 4)
