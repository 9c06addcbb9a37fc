# SPDX-License-Identifier: GPL-2.0-only
"""Kernels to boot and to build against: `get("6.1")`, `get("debug")`.

Normally: stock Debian packages are downloaded and unpacked in the cache
(never installed), their headers are made to work from there, and the
modules a guest can need become a disk image. Others are built from source,
see kbuild.py.

Recovery: everything is cached under a name that contains the version, so a
newer package makes a new kernel and leaves the old one alone.
"""

import lzma
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from . import apt, host, images, kbuild
from .paths import CACHE, LabError, cached, digest, say

STOCK = {"6.1": "linux-image-amd64", "6.12": "linux-image-6.12-amd64"}
# built with tests/debug.config, see kbuild.py
OWN = {"debug": "6.12", "mainline": "mainline"}
VIRTIO_NET = "drivers/net/virtio_net.c"
PATIENCE = 4    # checks of each access to memory and of each lock take their time

# The parts of a stock kernel that a guest can need. Leaving out graphics,
# sound, wireless and the like keeps the image small and depmod quick.
MODULE_DIRS = ("arch", "crypto", "lib", "net", "block", "fs", "mm", "drivers/block",
               "drivers/infiniband", "drivers/nvme", "drivers/scsi", "drivers/target",
               "drivers/md", "drivers/virtio", "drivers/char", "drivers/nvdimm",
               "drivers/net/dummy.ko", "drivers/net/veth.ko", "drivers/net/virtio_net.ko",
               "drivers/net/bonding", "drivers/net/netconsole.ko", "drivers/net/ifb.ko")


@dataclass(frozen=True)
class Kernel:
    """A kernel that a guest can boot and a module can be built against."""
    name: str
    release: str
    image: Path         # what qemu boots: vmlinux or bzImage
    modules: Path       # directory that contains lib/modules/RELEASE
    disk: Path          # the same as an ext4 image
    kdir: Path          # for `make KDIR=`
    source: Path | None = None
    patience: int = 1   # how much longer things may take than on a stock kernel

    @property
    def checks(self):
        """Whether it has what tests/debug.config asks for: lockdep, kmemleak and so on."""
        return self.source is not None

    @property
    def page_pools(self):
        """Whether its virtio-net receives into page pools, as mainline does.

        rxe does not go with that: when a queue pair fails it frees the packets that wait with
        interrupts off, which page pools do not allow, and can hang.
        """
        return self.checks and "page_pool_create" in (self.source / VIRTIO_NET).read_text()

    @property
    def module_dir(self):
        """lib/modules/RELEASE"""
        return self.modules / "lib" / "modules" / self.release


def get(name):
    """Return the kernel of that name, making or fetching what is missing."""
    if name in STOCK:
        return _stock(name)
    if name in OWN:
        return _own(name)
    raise LabError(f"no kernel is called {name!r}; there are: {', '.join((*STOCK, *OWN))}")


def for_modules(name):
    """A kernel that modules can be built against; it may not be bootable."""
    if name in STOCK:
        return get(name)
    release, path = kbuild.prepared(OWN[name])
    return Kernel(name, release, None, None, None, path, kbuild.source(OWN[name]))


def _own(name):
    """A kernel that the lab builds itself."""
    release, path = kbuild.build(OWN[name])
    return Kernel(name, release, path / "arch/x86/boot/bzImage", path / "root",
                  path / "modules.ext4", path, kbuild.source(OWN[name]), PATIENCE)


def _stock(name):
    """One of Debian's own kernels."""
    packages = apt.release()
    if not packages.show(STOCK[name]):
        packages = apt.backports()
    release = _only_match(r"linux-image-(\S+)", _depends(packages, STOCK[name]))
    wanted = [f"linux-image-{release}", *_headers(packages, f"linux-headers-{release}")]
    version = packages.show(wanted[0])["Version"]
    path = CACHE / "kernels" / f"{release}_{version}-{digest(*MODULE_DIRS)}"

    def make(tmp):
        say(f"fetching kernel {release} ({version})")
        packages.unpack(wanted, tmp)
        _relocate_headers(tmp, path)
        trim_modules(tmp, release)
        modules_disk(tmp, release, tmp / "modules.ext4")
        unpack_image(tmp / "boot" / f"vmlinuz-{release}", tmp / "vmlinux")

    cached(path, make)
    return Kernel(name, release, path / "vmlinux", path,
                  path / "modules.ext4", path / "usr/src" / f"linux-headers-{release}")


def _depends(packages, name):
    """The Depends line of a package that must exist."""
    fields = packages.show(name)
    if not fields:
        raise LabError(f"package {name} is not in Debian {packages.name} on this "
                       "machine's mirror")
    return fields.get("Depends", "")


def _only_match(pattern, text):
    found = re.search(pattern, text)
    if not found:
        raise LabError(f"expected {pattern!r} in: {text}")
    return found[1]


def _headers(packages, name):
    """The header package and those of its dependencies that are kernel's."""
    depends = _depends(packages, name)
    release = name.removeprefix("linux-headers-")
    own = re.findall(r"\b(linux-(?:headers|kbuild)-[^\s,]+)", depends)
    return [name, *sorted({word for word in own if not word.startswith(f"linux-image-{release}")})]


def _relocate_headers(tree, final):
    """Let unpacked headers work from the cache.

    They name their installed place in makefiles; links among them are
    relative and need nothing.
    """
    for makefile in tree.glob("usr/src/linux-headers-*/Makefile"):
        text = makefile.read_text(encoding="utf-8")
        makefile.write_text(re.sub(r"(?<=\s)/usr/(?=src/linux-headers-)", f"{final}/usr/", text),
                            encoding="utf-8")


def trim_modules(tree, release):
    """Keep the modules that a guest can need, uncompressed; index them.

    Decompressing takes a guest under TCG much longer than reading a larger
    file.
    """
    base = tree / "lib" / "modules" / release
    host.run("depmod", "-b", tree, release)
    keep = set(_wanted(base))
    for module in list(base.rglob("*.ko*")):
        if str(module.relative_to(base)) not in keep:
            module.unlink()
        elif module.suffix == ".xz":
            module.with_suffix("").write_bytes(lzma.decompress(module.read_bytes()))
            module.unlink()
    for path in (base / "modules.order", base / "build", base / "source"):
        if path.is_symlink():
            path.unlink()
    host.run("depmod", "-b", tree, release)


def _wanted(base):
    """Paths of the wanted modules and of all that they depend on."""
    depends = dependencies(base)
    prefixes = tuple(f"kernel/{name}" for name in MODULE_DIRS)
    todo = [path for path in depends if path.startswith(prefixes)]
    seen = set()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += depends[path]
    return seen


def unpack_image(bzimage, vmlinux):
    """Take the kernel out of a bzImage.

    qemu boots it as it is (PVH), which under TCG saves the seconds that the
    kernel would take to unpack itself.
    """
    data = bzimage.read_bytes()
    start, size = struct.unpack_from("<II", data, 0x248)
    start += (data[0x1f1] + 1) * 512
    payload = data[start:start + size - 4]      # the last word is the unpacked size
    if payload.startswith(b"\xfd7zXZ"):
        vmlinux.write_bytes(lzma.decompress(payload))
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        packed = vmlinux.with_suffix(".zst")
        packed.write_bytes(payload)
        host.run("zstd", "-q", "-d", "--rm", packed, "-o", vmlinux)
    else:
        raise LabError(f"{bzimage}: packed in a way the lab does not know "
                       f"({payload[:6].hex()}); see unpack_image()")


def dependencies(base):
    """modules.dep as a dictionary: path -> paths it needs, in load order."""
    lines = (base / "modules.dep").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(":", 1) for line in lines)
    return {path: needs.split()[::-1] for path, needs in pairs}


def modules_disk(tree, release, image):
    """Write lib/modules/RELEASE as an ext4 image that a guest mounts."""
    images.ext4(tree / "lib" / "modules" / release, image, label="modules", spare_mb=64)
