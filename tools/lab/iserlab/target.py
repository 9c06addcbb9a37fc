# SPDX-License-Identifier: GPL-2.0-only
"""iSER and iSCSI targets in a guest.

Owns: what a target is (Target, Portal, Chap, and the disks), and the kernel's own
target, Lio, which turns such a description into configfs. Another target program has a
class of its own with the same verbs, see tgt.py.

Normally: serve() writes one shell script and runs it in one round trip; there is
no targetcli, which would want D-Bus. A description is immutable, so it can be
compared: two tests that ask for the same target can share it.

Recovery: a script stops at its first failing line and the exception shows that line.
clear() takes away whatever it finds, made by us or not, complete or not.
"""

import shlex
from dataclasses import dataclass, field

PORT = 3260
CONFIGFS = "/sys/kernel/config/target"
DISKS = "/run/lio"


@dataclass(frozen=True)
class Portal:
    """Where a target listens. A link-local address carries its scope: fe80::1%eth0."""
    address: str
    port: int = PORT
    iser: bool = True

    def __str__(self):
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class Chap:
    """Who the initiator says it is and, for mutual CHAP, who the target says it is."""
    user: str
    password: str
    target_user: str = ""
    target_password: str = ""


@dataclass(frozen=True)
class Disk:
    """A LUN in a file of the guest's memory: its contents can be read past the target."""
    name: str
    mb: int = 64
    attributes: tuple = ()
    plugin = "fileio"
    modules = "target_core_file"

    @property
    def path(self):
        """Where the target side finds what the LUN holds."""
        return f"{DISKS}/{self.name}"

    def make(self):
        """Shell lines that make what lies behind the LUN."""
        return [f"mkdir -p {DISKS}", f"truncate -s {self.mb}M {self.path}"]

    def unmake(self):
        """Shell lines that take it away again."""
        return [f"rm -f {self.path}"]

    @property
    def control(self):
        """What LIO is told about it."""
        return f"fd_dev_name={self.path},fd_dev_size={self.mb << 20},fd_buffered_io=1"


@dataclass(frozen=True)
class RamDisk(Disk):
    """A LUN in the target's own memory."""
    plugin = "rd_mcp"
    modules = "target_core_mod"
    path = None

    def make(self):
        return []

    unmake = make

    @property
    def control(self):
        return f"rd_pages={self.mb << 8}"


@dataclass(frozen=True)
class BlockDisk(Disk):
    """A LUN on a block device that the guest has."""
    device: str = ""
    plugin = "iblock"
    modules = "target_core_iblock"

    @property
    def path(self):
        return self.device

    def make(self):
        return []

    unmake = make

    @property
    def control(self):
        return f"udev_path={self.path}"


@dataclass(frozen=True)
class NullDisk(BlockDisk):
    """A LUN on null_blk: as quick as it gets, keeps nothing unless told to."""
    keep: bool = False

    @property
    def path(self):
        return f"/dev/{self.name}"

    @property
    def _config(self):
        return f"/sys/kernel/config/nullb/{self.name}"

    def make(self):
        values = {"size": self.mb, "memory_backed": int(self.keep), "discard": int(self.keep),
                  "max_sectors": 2048}
        return ["modprobe null_blk nr_devices=0", f"mkdir {self._config}",
                *_writes(self._config, values), f"echo 1 >{self._config}/power"]

    def unmake(self):
        return [f"rmdir {self._config}"]


@dataclass(frozen=True)
class Target:
    """All that an initiator can find out about a target.

    @parameters: what it offers in a login: (("ImmediateData", "No"), ...)
    @chap: what a login has to know; None lets everybody in
    """
    iqn: str
    disks: tuple = (Disk("disk0"),)
    portals: tuple = (Portal("10.0.0.1"),)
    parameters: tuple = ()
    chap: Chap | None = None


@dataclass
class Lio:
    """The kernel's target in one guest.

    @iwarp: its RDMA network is soft-iWARP, whose ports are those of TCP. LIO listens with TCP
            before it is told to use iSER, which would find its own port in use; so it does
            the former in a network that nobody else sees.
    """
    VENDOR, FIRST_LUN, IMMEDIATE_DATA = "LIO-ORG", 0, "Yes"
    guest: object
    iwarp: bool = False
    served: dict = field(default_factory=dict)

    def serve(self, *targets):
        """Set the targets up and enable them."""
        lines = []
        for target in targets:
            lines += self._make(target)
            self.served[target.iqn] = target
        self._run(lines)

    def disable(self, target):
        """Throw all initiators out and let none in."""
        self._run([f"echo 0 >{_group(target)}/enable"])

    def enable(self, target):
        """Let initiators in again."""
        self._run([f"echo 1 >{_group(target)}/enable"])

    def discovery_chap(self, chap):
        """Ask for a password before saying which targets there are; None: do not."""
        where = f"{CONFIGFS}/iscsi/discovery_auth"
        self._run(["modprobe iscsi_target_mod", f"mkdir -p {CONFIGFS}/iscsi",
                   *_writes(where, _secrets(chap or Chap("", ""))),
                   f"echo {int(chap is not None)} >{where}/enforce_discovery_auth"])

    def clear(self):
        """Leave nothing of any target."""
        lines = [f"for t in {CONFIGFS}/iscsi/iqn.*; do remove_target $t; done",
                 f"for s in {CONFIGFS}/core/*_[0-9]*/*/; do remove_store ${{s%/}}; done",
                 f"[ ! -d {CONFIGFS}/iscsi ] || "
                 f"echo 0 >{CONFIGFS}/iscsi/discovery_auth/enforce_discovery_auth"]
        for target in self.served.values():
            for disk in target.disks:
                lines += disk.unmake()
        self.served.clear()
        self._run(lines)

    def _make(self, target):
        """The lines that make one target."""
        group = _group(target)
        modules = {disk.modules for disk in target.disks}
        lines = [f"modprobe -a iscsi_target_mod ib_isert {' '.join(sorted(modules))}",
                 f"mkdir -p {group}"]
        for number, disk in enumerate(target.disks):
            lines += [*disk.make(), *_make_store(disk),
                      f"mkdir {group}/lun/lun_{number}",
                      f"ln -s {_store(disk)} {group}/lun/lun_{number}/{disk.name}"]
        attributes = {"generate_node_acls": 1, "cache_dynamic_acls": 1,
                      "demo_mode_write_protect": 0,
                      "authentication": int(target.chap is not None)}
        lines += _writes(f"{group}/attrib", attributes)
        lines += _writes(f"{group}/param", dict(target.parameters))
        if target.chap:
            lines += _writes(f"{group}/auth", _secrets(target.chap))
        for portal in target.portals:
            where = shlex.quote(f"{group}/np/{portal}")
            if self.iwarp and portal.iser:
                lines += [f"unshare --net bash -c 'ip link set lo up; "
                          f"ip address add {portal.address} dev lo; mkdir {where}'"]
            else:
                lines += [f"mkdir {where}"]
            if portal.iser:
                lines += [f"echo 1 >{where}/iser"]
        return [*lines, f"echo 1 >{group}/enable"]

    def _run(self, lines):
        self.guest.run("\n".join([PRELUDE, *lines]), timeout=90)


# A script stops at its first failing line and says which one that was.
PRELUDE = """
set -eE -o pipefail
shopt -s nullglob
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
remove_target() {
	for group in $1/tpgt_*; do
		echo 0 >$group/enable || true
		find $group/acls $group/lun -type l -delete
		for dir in $group/acls/*/lun_* $group/acls/* $group/lun/lun_* $group/np/*; do
			rmdir "$dir"
		done
		rmdir $group
	done
	rmdir $1
}
remove_store() {
	rmdir $1
	rmdir --ignore-fail-on-non-empty ${1%/*} || true
}
""".strip()


def _node(target):
    return f"{CONFIGFS}/iscsi/{target.iqn}"


def _group(target):
    return f"{_node(target)}/tpgt_1"


def _store(disk):
    return f"{CONFIGFS}/core/{disk.plugin}_0/{disk.name}"


def _make_store(disk):
    """The lines that make a backstore; its serial number tells LUNs apart."""
    store = _store(disk)
    return [f"mkdir -p {store}", f"echo -n {disk.control} >{store}/control",
            f"echo 1 >{store}/enable", f"echo {disk.name} >{store}/wwn/vpd_unit_serial",
            *_writes(f"{store}/attrib", dict(disk.attributes))]


def _secrets(chap):
    """The attributes that hold names and passwords; LIO takes NULL for none."""
    values = {"userid": chap.user, "password": chap.password,
              "userid_mutual": chap.target_user, "password_mutual": chap.target_password}
    return {name: value or "NULL" for name, value in values.items()}


def _writes(directory, values):
    return [f"echo -n {shlex.quote(str(value))} >{directory}/{name}"
            for name, value in values.items()]
