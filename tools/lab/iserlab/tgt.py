# SPDX-License-Identifier: GPL-2.0-only
"""tgt, a target in user space, with its iSER driver.

Normally: the verbs are those of target.Lio, as far as tgt has them. tgt differs from LIO in
ways that matter to an initiator: it negotiates ImmediateData=No unless told, never invalidates
remotely, and when it refuses a login its answer is on the wire before it hangs up.
It listens on port 3260 of all addresses, IPv4 and IPv6, iSER and TCP, whatever the portals of a
target are; but a target of its speaks either, as the first of its portals does. Its first disk
is LUN 1.

Recovery: clear() kills the daemon; all its state is in its memory.
"""

from dataclasses import dataclass

POOL_MB = 64


@dataclass
class Tgt:
    """The tgt daemon in one guest."""
    VENDOR, FIRST_LUN, IMMEDIATE_DATA = "IET", 1, "No"
    guest: object
    served: int = 0

    def serve(self, *targets):
        """Start the daemon and set the targets up."""
        lines = [] if self.served else [
            f"tgtd --iser pool_sz_mb={POOL_MB}",
            "until tgtadm --lld iser --op show --mode sys >&-; do sleep 0.2; done 2>&-"]
        for target in targets:
            self.served += 1
            lines += _make(self.served, target)
        self.guest.run("\n".join(["set -e", *lines]))

    def clear(self):
        """Leave nothing of any target."""
        if self.served:
            # pidof passes over those that wait in the kernel, where it may still have its port
            self.guest.run("killall -9 tgtd; while pgrep -x tgtd >&-; do sleep 0.1; done")
            self.served = 0


def _make(number, target):
    """The lines that make one target. Both ways to say who may see it are needed."""
    admin = f"tgtadm --lld {'iser' if target.portals[0].iser else 'iscsi'}"
    this = f"--tid {number}"
    lines = [f"{admin} --op new --mode target {this} -T {target.iqn}",
             f"{admin} --op bind --mode target {this} -I ALL",
             f"{admin} --op bind --mode target {this} "
             "-Q $(sed s/InitiatorName=// /etc/iscsi/initiatorname.iscsi)"]
    lines += [f"{admin} --op update --mode target {this} -n {name} -v {value}"
              for name, value in target.parameters]
    for lun, disk in enumerate(target.disks, Tgt.FIRST_LUN):
        unit = f"--mode logicalunit {this} --lun {lun}"
        lines += [*disk.make(),
                  f"{admin} --op new {unit} -b {disk.path}",
                  f"{admin} --op update {unit} --params thin_provisioning=1"]
    if target.chap:
        lines += _account(admin, this, target.chap.user, target.chap.password)
        if target.chap.target_user:
            lines += _account(admin, this, target.chap.target_user, target.chap.target_password,
                              "--outgoing")
    return lines


def _account(admin, this, user, password, direction=""):
    return [f"{admin} --op new --mode account --user {user} --password {password}",
            f"{admin} --op bind --mode account {this} --user {user} {direction}"]
