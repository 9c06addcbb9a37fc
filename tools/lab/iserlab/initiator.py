# SPDX-License-Identifier: GPL-2.0-only
"""open-iscsi in a guest: what an administrator does with iscsiadm, and what he sees.

Owns: which ib_iser a guest loads (install, load, identity), iscsid, discovery, node
records, sessions and their disks, and the counts that show whether something was
left behind.

Normally: each verb is one round trip to the guest. login() returns when the disks are
there and udev has settled. What is read back comes from sysfs, not from what iscsiadm
prints, unless that is the question.

Recovery: a verb that fails raises CommandFailed with what the tool said. clear() logs
everything out and forgets all records, whatever state they are in.
"""

import re
import shlex
import subprocess
from dataclasses import dataclass, field

MODULE = "ib_iser"
RECORDS = "/etc/iscsi/nodes /etc/iscsi/send_targets"


@dataclass
class Session:
    """One session; disks maps a LUN to its device."""
    number: int
    iqn: str
    disks: dict = field(default_factory=dict)

    @property
    def disk(self):
        """The device of its only LUN."""
        (device,) = self.disks.values()
        return device


@dataclass
class Initiator:
    """The initiator's side in one guest. @iface: "iser", or "default" for iscsi_tcp."""
    guest: object
    iface: str = "iser"

    # the module

    def load(self, parameters="", check=True):
        """Load the module as iscsid would, by its name."""
        return self.guest.run(f"modprobe {MODULE} {parameters}", check=check)

    def unload(self, check=True):
        """Unload it; udev may still have a disk open that has gone."""
        return self.guest.run(f"udevadm settle && rmmod {MODULE}", check=check)

    def identity(self):
        """The source version of the module that is loaded."""
        return self.guest.read(f"/sys/module/{MODULE}/srcversion").strip()

    # iscsid

    def start(self, **settings):
        """Start iscsid. A setting's dots are written as two underscores."""
        lines = "".join(f"{name.replace('__', '.')} = {value}\n"
                        for name, value in settings.items())
        self.guest.run("cat >>/etc/iscsi/iscsid.conf && iscsid && "
                       "until grep -q ISCSIADM_ABSTRACT /proc/net/unix; do sleep 0.1; done",
                       input=lines)

    def discover(self, portal, chap=None, check=True, timeout=60):
        """Ask a portal what there is; the Result of iscsiadm."""
        where = f"iscsiadm -m discoverydb -t st -p {_quote(portal)} -I {self.iface}"
        steps = [f"{where} -o new >/dev/null"]
        steps += [f"{where} -o update -n discovery.sendtargets.auth.{name} -v {shlex.quote(value)}"
                  for name, value in _credentials(chap).items()]
        return self.guest.run(" && ".join([*steps, f"{where} -D"]), timeout, check)

    def targets(self, portal, chap=None):
        """Discover, and return (portal, iqn) pairs."""
        lines = self.discover(portal, chap).stdout.splitlines()
        return [tuple(re.fullmatch(r"(\S+),\d+ (\S+)", line).groups()) for line in lines]

    def record(self, iqn, portal, settings=(), chap=None):
        """Write a node record, as an administrator does who knows the target."""
        where = self._record(iqn, portal)
        values = dict(settings)
        values |= {f"node.session.auth.{name}": value
                   for name, value in _credentials(chap).items()}
        steps = [f"{where} -o new >/dev/null"]
        if values:
            steps.append(f"{where} -o update " + " ".join(
                f"-n {name} -v {shlex.quote(str(value))}" for name, value in values.items()))
        self.guest.run(" && ".join(steps))

    def try_login(self, iqn, portal, timeout=60):
        """Log in to a recorded target; the Result of iscsiadm."""
        return self.guest.run(f"{self._record(iqn, portal)} -l", timeout, check=False)

    def login(self, iqn, portal, settings=(), chap=None, luns=1):
        """Record a target, log in, wait for the disks; returns the new sessions.

        Of node.session.nr_sessions, those that there are already are not new.
        """
        before = self.sessions()
        self.record(iqn, portal, settings, chap)
        had = sum(session.iqn == iqn for session in before)
        wanted = luns * max(1, int(dict(settings).get("node.session.nr_sessions", 1)) - had)
        self.guest.run(f"""
            set -e
            shopt -s nullglob
            disks() {{ set -- /sys/class/iscsi_session/*/device/target*/*/block/*; echo $#; }}
            had=$(disks)
            {self._record(iqn, portal)} -l >/dev/null
            for try in $(seq {150 * self.guest.kernel.patience}); do
                came=$(($(disks) - had))
                [ $came -ge {wanted} ] && break
                sleep 0.2
            done
            [ $came -ge {wanted} ] || {{ echo "$came disks came, not {wanted}" >&2; exit 1; }}
            # sysfs has a disk before udev hears of it: its queue may be empty for that
            udevadm wait --settle --timeout=120 \\
                /sys/class/iscsi_session/*/device/target*/*/block/*""", timeout=150)
        known = {session.number for session in before}
        return [session for session in self.sessions() if session.number not in known]

    def logout(self, session):
        """End one session."""
        self.guest.run(f"iscsiadm -m session -r {session.number} -u")

    def log_out(self):
        """End all sessions, also those that iscsid is busy with."""
        self.guest.run("""
            shopt -s nullglob
            sessions() { set -- /sys/class/iscsi_session/*; echo $#; }
            for try in $(seq 5); do
                [ $(sessions) = 0 ] && exit
                iscsiadm -m session -u >/dev/null
                sleep $((try - 1))
            done
            [ $(sessions) = 0 ]""", timeout=180)

    def clear(self):
        """No session, no record."""
        try:
            self.log_out()
        finally:
            self.guest.run(f"rm -rf {RECORDS}")

    def _record(self, iqn, portal):
        return f"iscsiadm -m node -T {iqn} -p {_quote(portal)},1 -I {self.iface}"

    # what there is

    def sessions(self):
        """All sessions and their disks."""
        found = {}
        for line in self.guest.run(LIST_SESSIONS).stdout.splitlines():
            kind, number, *rest = line.split()
            if kind == "session":
                found[number] = Session(int(number), rest[0])
            else:
                found[number].disks[int(rest[0])] = rest[1]
        return list(found.values())

    def attributes(self, session):
        """What sysfs says about a session and its connection."""
        said = self.guest.run(
            f"grep -s . /sys/class/iscsi_session/session{session.number}/* "
            f"/sys/class/iscsi_connection/connection{session.number}:0/*; true").stdout
        return dict(re.findall(r"^\S*/(\w+):(.*)$", said, re.MULTILINE))

    def state(self, session):
        """In what state the kernel says that a session is."""
        return self.guest.read(_state(session)).strip()

    def wait_for(self, session, wanted, seconds):
        """Wait until a session is in a state."""
        self.guest.run(f"until grep -q {wanted} {_state(session)}; do sleep 0.1; done",
                       timeout=seconds)

    def show(self, session, level=3):
        """`iscsiadm -m session -P3` as a dictionary."""
        said = self.guest.run(f"iscsiadm -m session -r {session.number} -P {level}").stdout
        return dict(re.findall(r"^\s*([\w ]+): (.*)$", said, re.MULTILINE))

    def statistics(self, session):
        """What `iscsiadm -m session -s` counts."""
        said = self.guest.run(f"iscsiadm -m session -r {session.number} -s").stdout
        return {name: int(value) for name, value in re.findall(r"(\w+): (\d+)$", said, re.M)}

    def resources(self):
        """How many RDMA objects of each kind exist in the guest."""
        said = self.guest.run("rdma resource show").stdout
        counts = re.findall(r"\b(pd|cq|qp|cm_id|mr) (\d+)", said)
        return {kind: sum(int(n) for k, n in counts if k == kind) for kind, _ in counts}

    def memory(self):
        """How many objects each of the kernel's general-purpose slab caches holds.

        What a CPU keeps for itself counts as held, and so do the names of directories in
        sysfs that have gone but were looked at; both are given back just before. Opening a
        file would have a CPU keep some again: so that comes first.
        """
        said = self.guest.run("""
            echo 2 >/proc/sys/vm/drop_caches
            cd /sys/kernel/slab
            for cache in kmalloc-[0-9]*; do
                exec 3<$cache/objects
                echo 1 >$cache/shrink
                read count rest <&3
                echo $cache $count
            done""").stdout
        return {name: int(count) for name, count in map(str.split, said.splitlines())}


def source_version(module):
    """The source version of a module file on this machine."""
    return subprocess.run(["/sbin/modinfo", "-F", "srcversion", module], check=True,
                          capture_output=True, text=True).stdout.strip()


LIST_SESSIONS = """
for session in /sys/class/iscsi_session/session*; do
	[ -e $session ] || continue
	number=${session##*session}
	echo session $number $(cat $session/targetname)
	for disk in $session/device/target*/*/block/*; do
		[ -e $disk ] || continue
		scsi=${disk%/block/*}
		echo disk $number ${scsi##*:} /dev/${disk##*/}
	done
done
"""


def _state(session):
    return f"/sys/class/iscsi_session/session{session.number}/state"


def _credentials(chap):
    """The settings of a record that make it log in with CHAP."""
    if chap is None:
        return {}
    values = {"authmethod": "CHAP", "username": chap.user, "password": chap.password,
              "username_in": chap.target_user, "password_in": chap.target_password}
    return {name: value for name, value in values.items() if value}


def _quote(portal):
    return shlex.quote(str(portal))
