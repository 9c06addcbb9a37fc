# SPDX-License-Identifier: GPL-2.0-only
"""Filesystems on a LUN: files that were copied are the same when the cache is gone.

Normally: a tree of real files is copied, compared, and compared again after a remount.
Recovery: the guest's mount point is left by hand if the test failed; see rig.py.
"""

import pytest

SAMPLE = {"6.1": 2}

TREE = "/usr/lib/python3.11"
MAKE = {"ext4": "mkfs.ext4 -q -F", "xfs": "mkfs.xfs -q -f"}
CHECK = {"ext4": "e2fsck -fn", "xfs": "xfs_repair -n"}


@pytest.mark.parametrize("kind", MAKE)
def test_files_survive_a_remount(lun, kind):
    """mkfs, mount, copy, compare, drop caches, compare, umount, fsck."""
    lun.run(f"""
        set -e
        trap 'umount /mnt 2>/dev/null || true' EXIT
        sums() {{ (cd $1 && find . -type f -print0 | sort -z | xargs -0 sha256sum); }}
        {MAKE[kind]} $DEVICE
        mount $DEVICE /mnt
        cp -a {TREE} /mnt/tree
        sums {TREE} >/tmp/expected
        sums /mnt/tree | cmp - /tmp/expected
        umount /mnt
        echo 3 >/proc/sys/vm/drop_caches
        mount $DEVICE /mnt
        sums /mnt/tree | cmp - /tmp/expected
        umount /mnt
        {CHECK[kind]} $DEVICE""", timeout=180)
