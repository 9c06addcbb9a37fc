# SPDX-License-Identifier: GPL-2.0-only
"""The root filesystem of all guests: Debian with the tools tests need.

Normally: mmdebstrap makes it once per package list, in fakechroot mode,
which gives the same result for root and for any user; mke2fs turns it into
an ext4 image. Guests write to it freely, qemu throws their writes away.

What changes with the lab itself (init, agent) is not in here but in the
initramfs, see boot.py.

Recovery: delete the cache (`lab clean`); it is made anew.
"""

from . import apt, host, images
from .paths import CACHE, cached, digest, say

PACKAGES = """
    attr busybox-static e2fsprogs ethtool fio ibverbs-providers ibverbs-utils iproute2
    iputils-ping kmod libiscsi-bin lsscsi mount multipath-tools nvme-cli open-iscsi parted
    perftest procps psmisc python3 rdma-core rdmacm-utils sg3-utils strace tgt udev
    util-linux xfsprogs
""".split()

# Not needed in a guest, and half of the image.
EXCLUDE = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*",
           "/usr/share/i18n/*", "/usr/share/zoneinfo/*")

RECIPE = 1


def get():
    """The path of the image; made if it is not in the cache."""
    packages = apt.release()
    key = digest(str(RECIPE), packages.name, *PACKAGES, *EXCLUDE)
    return cached(CACHE / "rootfs" / f"{key}.ext4", lambda tmp: _make(packages, tmp))


def _make(packages, image):
    """Have mmdebstrap install the packages, then write them as ext4."""
    say(f"making the root filesystem ({len(PACKAGES)} packages and what they need)")
    work = image.with_name(image.name + ".work")
    host.run("rm", "-rf", work)
    work.mkdir(parents=True)
    host.run("mmdebstrap", "--mode=fakechroot", "--variant=essential", "--format=tar",
             f"--include={','.join(PACKAGES)}", f"--aptopt={packages.acquire}",
             *(f"--dpkgopt=path-exclude={path}" for path in EXCLUDE),
             packages.name, work / "root.tar", packages.sources,
             what="making the root filesystem")
    # fakeroot remembers between the two who owns what
    state, root = work / "fakeroot", work / "root"
    root.mkdir()
    host.run("fakeroot", "-s", state, "tar", "-C", root, "--exclude=./dev/*",
             "-xf", work / "root.tar")
    images.ext4(root, image, label="root", spare_mb=512, under=("fakeroot", "-i", state))
    host.run("rm", "-rf", work)
