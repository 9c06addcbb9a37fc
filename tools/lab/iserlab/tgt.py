# SPDX-License-Identifier: GPL-2.0-only
"""tgt, a target in user space, with its iSER driver.

Normally: the verbs are those of target.Lio, as far as tgt has them. tgt differs from LIO in
ways that matter to an initiator: it negotiates ImmediateData=No, never invalidates
remotely, and when it refuses a login its answer is on the wire before it hangs up.
It listens on port 3260 of all addresses, and its first disk is LUN 1.

Recovery: clear() kills the daemon; all its state is in its memory.
"""

from dataclasses import dataclass

POOL_MB = 64
ADMIN = "tgtadm --lld iser"


@dataclass
class Tgt:
    """The tgt daemon in one guest."""
    VENDOR, FIRST_LUN, IMMEDIATE_DATA = "IET", 1, "No"
    guest: object
    running: bool = False

    def serve(self, *targets):
        """Start the daemon and set the targets up."""
        lines = [] if self.running else [
            f"tgtd --iser pool_sz_mb={POOL_MB}",
            f"until {ADMIN} --op show --mode sys >&-; do sleep 0.2; done 2>&-"]
        self.running = True
        for number, target in enumerate(targets, 1):
            lines += _make(number, target)
        self.guest.run("\n".join(["set -e", *lines]))

    def clear(self):
        """Leave nothing of any target."""
        if self.running:
            self.guest.run("killall -9 tgtd; while pidof tgtd >&-; do sleep 0.1; done")
            self.running = False


def _make(number, target):
    """The lines that make one target. Both ways to say who may see it are needed."""
    this = f"--tid {number}"
    lines = [f"{ADMIN} --op new --mode target {this} -T {target.iqn}",
             f"{ADMIN} --op bind --mode target {this} -I ALL",
             f"{ADMIN} --op bind --mode target {this} "
             "-Q $(sed s/InitiatorName=// /etc/iscsi/initiatorname.iscsi)"]
    for lun, disk in enumerate(target.disks, Tgt.FIRST_LUN):
        lines += [*disk.make(),
                  f"{ADMIN} --op new --mode logicalunit {this} --lun {lun} -b {disk.path}"]
    if target.chap:
        lines += _account(this, target.chap.user, target.chap.password)
        if target.chap.target_user:
            lines += _account(this, target.chap.target_user, target.chap.target_password,
                              "--outgoing")
    return lines


def _account(this, user, password, direction=""):
    return [f"{ADMIN} --op new --mode account --user {user} --password {password}",
            f"{ADMIN} --op bind --mode account {this} --user {user} {direction}"]
