# SPDX-License-Identifier: GPL-2.0-only
"""SCSI through the transport: commands of all kinds, and resets.

Normally: sg3-utils issue the commands, on the standing LUN. What they change is looked at on the
target's side.

Recovery: as everywhere, see rig.py.
"""

import re

import pytest

from iserlab.target import Disk, Target
from rig import IQN, again_and_again, enough

SAMPLE = {"6.1": 3}
STALE = "protocol error: no request with this tag is waiting"


def test_inquiry_and_capacity(lun):
    """Who it is and how large it is."""
    said = lun.run("sg_inq $DEVICE && sg_readcap --long $DEVICE").stdout
    assert f"Vendor identification: {lun.server.VENDOR}" in said
    blocks = int(lun.run("blockdev --getsz $DEVICE").stdout)
    assert f"Last LBA={blocks - 1} " in said


def test_serial_number(lun):
    """LIO's is the name of the disk."""
    assert "disk0" in lun.run("sg_vpd -p sn $DEVICE").stdout


@pytest.mark.parametrize("page", (0x00, 0x80, 0x83, 0xb0, 0xb2))
def test_vital_product_data(lun, page):
    """Pages of different lengths; a short buffer gets the beginning of the same page."""
    whole, part = (lun.run(f"sg_raw --binary --request={length} $DEVICE "
                           f"12 01 {page:02x} 00 {length:02x} 00").output for length in (252, 8))
    assert whole[1] == page and len(whole) == min(252, 4 + int.from_bytes(whole[2:4], "big"))
    assert part == whole[:8]


def test_report_luns(host):
    """All LUNs of a target are listed, and are disks. tgt has a LUN 0 besides, which is none."""
    target = Target(IQN, tuple(Disk(f"disk{number}", 8) for number in range(4)))
    session = host.login(target)
    disks = [lun + host.target.FIRST_LUN for lun in range(4)]
    assert sorted(session.disks) == disks
    said = host.guest.run(f"sg_luns {session.disks[disks[0]]}").stdout
    listed = re.findall(r"^\s+([0-9a-f]{16})$", said, re.MULTILINE)
    assert sorted(listed) == [f"{lun:04x}{0:012x}" for lun in sorted({0, *disks})]


def test_unmap_makes_zeros(lun):
    """UNMAP reaches the store, for the range it names and no more."""
    lun.run("""
        set -e
        head -c 1M /dev/urandom >/tmp/data
        dd if=/tmp/data of=$DEVICE bs=1M oflag=direct
        sg_unmap --force --lba=256 --num=512 $DEVICE
        dd if=/dev/zero of=/tmp/data bs=512 seek=256 count=512 conv=notrunc
        cmp -n 1M /tmp/data $STORE
        dd if=$DEVICE bs=1M count=1 iflag=direct | cmp - /tmp/data""")


@pytest.mark.parametrize("size", (10, 16))
def test_write_same(lun, size):
    """One block of data, written many times."""
    lun.run(f"""
        set -e
        head -c 512 /dev/urandom >/tmp/block
        sg_write_same --{size} --in=/tmp/block --lba=100 --num=300 --xferlen=512 $DEVICE
        cat $(yes /tmp/block | head -n 300 || true) >/tmp/data
        dd if=$DEVICE bs=512 skip=100 count=300 iflag=direct | cmp - /tmp/data
        dd if=$STORE bs=512 skip=100 count=300 | cmp - /tmp/data""")


def test_sense_data_arrives(lun):
    """A command that the target refuses comes back with its sense data."""
    refused = lun.run("sg_raw --request=512 $DEVICE 28 00 ff ff ff fe 00 00 01 00", check=False)
    assert refused.status
    assert "Logical block address out of range" in refused.stdout + refused.stderr


def test_short_read_reports_the_residual(lun):
    """Asking for more than there is: the rest is reported, not invented."""
    said = lun.run("sg_raw --request=4096 $DEVICE 12 00 00 00 24 00").stderr
    assert "Received 36 bytes of data" in said


@pytest.mark.parametrize("what", ("device", "target"))
def test_reset_under_verified_io(lun, what):
    """I/O that a reset interrupts is done again; nothing is lost."""
    guest, mark = lun.host.guest, lun.host.guest.mark()
    io = again_and_again(
        guest, f"fio --name=io --filename={lun.device} --rw=randwrite --bs=16k --size=24m "
        "--ioengine=libaio --iodepth=32 --direct=1 --verify=crc32c --thread "
        "--allow_file_create=0 --output=/dev/null")
    before = lun.host.initiator.statistics(lun.session)["tmfcmd_pdus"]
    for _ in range(4):
        lun.run(f"sleep 0.7; sg_reset --{what} $DEVICE", timeout=90)
        assert io.poll() is None, "I/O has ended"
    # tgt may answer a command that a reset has ended: the recovery from that is a reset as well
    late = guest.said(mark).count(STALE) if lun.server is lun.host.tgt else 0
    assert lun.host.initiator.statistics(lun.session)["tmfcmd_pdus"] >= before + 4 - late
    enough(guest, io, timeout=180)
    assert lun.session.number in [each.number for each in lun.host.initiator.sessions()]
