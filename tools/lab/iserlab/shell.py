# SPDX-License-Identifier: GPL-2.0-only
"""`make shell`: a root shell in a guest, with our module and a target ready.

Normally: boots the guest, loads ib_iser, sets up the demo's target, and
connects the terminal to a shell in there. Leaving the shell ends the guest.

Recovery: however it ends, the terminal gets its settings back.
"""

import contextlib
import os
import sys
import termios

from . import fabric, kernels, module
from .demo import DISCOVER, LOGIN, LOGOUT, TARGET
from .guest import Guest
from .initiator import Initiator
from .paths import say
from .target import Lio

WELCOME = f"""
This is a root shell in a guest with Linux {{release}}. ib_iser is loaded, and
target {TARGET.iqn} serves a ramdisk on {TARGET.portals[0].address}.

  {DISCOVER}
  {LOGIN}
  lsblk -S
  iscsiadm -m session -P3
  {LOGOUT}

Leave with `exit` or Ctrl-D; nothing in here is kept.

"""


@contextlib.contextmanager
def terminal():
    """Put the terminal back as it was: qemu makes it raw."""
    if not sys.stdin.isatty():
        yield
        return
    settings = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)


def main(name):
    """Run the shell; the exit status."""
    kernel = kernels.get(name)
    module.build(kernel)
    say(f"booting a guest with Linux {kernel.release}")
    with terminal(), Guest(kernel, "shell", shell=True) as guest:
        prepare(guest)
        guest.spawn("until [ -e /run/lab/left ]; do sleep 0.2; done").wait(timeout=None)
    return 0


def prepare(guest):
    """Make the guest ready to log in, then let its shell begin."""
    module.install(guest)
    initiator = Initiator(guest)
    initiator.load()
    fabric.up(guest)
    Lio(guest).serve(TARGET)
    initiator.start()
    with contextlib.suppress(OSError):
        size = os.get_terminal_size()
        guest.run(f"stty rows {size.lines} cols {size.columns} </dev/hvc0")
    guest.write("/run/lab/ready.new", WELCOME.format(release=guest.kernel.release))
    guest.run("mv /run/lab/ready.new /run/lab/ready")
