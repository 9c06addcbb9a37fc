# SPDX-License-Identifier: GPL-2.0-only
"""The initramfs that brings a guest to its root filesystem.

Normally: busybox, the modules that the disks and the agent's port need, in
load order, and the files of tools/lab/guest, which the guest keeps in
/run/lab. It is small and made anew for each boot, so a change of the agent
needs no cache to be dropped.
"""

import stat

from . import apt, images, kernels
from .paths import REPO

GUEST_FILES = REPO / "tools" / "lab" / "guest"

# What a kernel needs before it can read its root; built in on some.
MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "virtio_rng",
           "crc32c_generic", "ext4")


def busybox():
    """A static busybox from the Debian package."""
    return apt.tree(["busybox-static"], apt.release()) / "bin" / "busybox"


def module_order(kernel):
    """Paths of the modules to load, each after those that it needs."""
    depends = kernels.dependencies(kernel.module_dir)
    names = {path.rsplit("/", 1)[1].removesuffix(".ko").replace("-", "_"): path
             for path in depends}
    order = []
    for path in (names[name] for name in MODULES if name in names):
        order += [each for each in [*depends[path], path] if each not in order]
    return order


def initramfs(kernel):
    """The archive, as bytes."""
    directory, program = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755
    names = ("bin", "dev", "lab", "modules", "proc", "root", "sys")
    entries = [(name, directory, b"") for name in names]
    entries.append(("bin/busybox", program, busybox().read_bytes()))
    order = [(path, path.replace("/", "-")) for path in module_order(kernel)]
    entries += [(f"modules/{name}", program, (kernel.module_dir / path).read_bytes())
                for path, name in order]
    entries.append(("modules/order", program, "\n".join(name for _, name in order).encode()))
    for path in sorted(GUEST_FILES.iterdir()):
        name = "init" if path.name == "early" else f"lab/{path.name}"
        if path.is_file():
            entries.append((name, program, path.read_bytes()))
    return images.cpio(entries)
