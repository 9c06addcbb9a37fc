# SPDX-License-Identifier: GPL-2.0-only
"""Starts qemu so that it never outlives us, and talks to its monitor.

Normally: qemu is started by one thread that lives as long as this process,
and asks the kernel to be killed when that thread is gone: neither Ctrl-C
nor `kill -9` of the lab leaves a guest behind.

KVM is used where it can run a guest. That /dev/kvm exists says little:
nested machines may let a guest be created that then hangs. So a guest is
tried, once per boot of the host.
"""

import concurrent.futures
import json
import os
import socket
import subprocess
import threading
from pathlib import Path

from . import host
from .paths import CACHE, LabError, cached, digest, say

PROGRAM = "qemu-system-x86_64"
KVM_PATIENCE = 15

_starter = concurrent.futures.ThreadPoolExecutor(1, "qemu-starter")


def start(argv, **kwargs):
    """Start qemu; it ends when this process does."""
    argv = ["setpriv", "--pdeathsig", "KILL", PROGRAM, *map(str, argv)]
    kwargs.setdefault("env", host.environment())
    return _starter.submit(subprocess.Popen, argv, **kwargs).result()


def machine(smp, mem_mb):
    """The part of the command line that all our guests share."""
    return ["-M", "q35", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-smp", smp, "-m", mem_mb]


# Under TCG a plain CPU is the quick one: ERMS makes the kernel copy memory in
# a way that is emulated byte by byte, and PCLMUL and AVX cost more than the
# code that they replace. And cmpxchg16b, with which the kernel allocates, is
# wrong in qemu 7.2: it may leave an earlier operand in the flags, and an
# interrupt that comes then makes a double fault of them.
TCG_CPU = "Nehalem-v1,+rdrand,-cx16"
# Translated code may take a gigabyte otherwise, for little gain.
TCG = ("-accel", "tcg,thread=multi,tb-size=256", "-cpu", TCG_CPU)
TCG_ICOUNT = ("-accel", "tcg,tb-size=256", "-cpu", TCG_CPU, "-icount", "shift=0,sleep=on")
KVM = ("-accel", "kvm", "-cpu", "host")


def accelerator(kernel, initrd):
    """KVM if that kernel boots under it here, else TCG."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    version = host.run(PROGRAM, "--version")
    path = CACHE / "kvm" / digest(boot, version, str(os.getuid()))

    def make(tmp):
        works = _boots_under_kvm(kernel, initrd)
        tmp.write_text("yes" if works else "no", encoding="ascii")
        if not works:
            say("/dev/kvm is there but a guest does not boot under it: using emulation (TCG)")

    return KVM if cached(path, make).read_text(encoding="ascii") == "yes" else TCG


def _boots_under_kvm(kernel, initrd):
    """Whether the guest's first program is reached; it finds no disk and ends."""
    guest = start([*KVM, *machine(2, 512), "-serial", "stdio", "-kernel", kernel.image,
                   "-initrd", initrd, "-append", "console=ttyS0 panic=-1"],
                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = guest.communicate(timeout=KVM_PATIENCE)
    except subprocess.TimeoutExpired:
        guest.kill()
        guest.communicate()
        return False
    return b"early: no disk" in output


class Qmp:
    """The monitor of one qemu, over a connected socket."""

    def __init__(self, sock):
        self.lock = threading.Lock()
        self.file = sock.makefile("rw", encoding="utf-8")
        sock.settimeout(30)

    def greet(self):
        """Read the greeting and leave negotiation mode."""
        self.file.readline()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        """Execute a command and return its result."""
        with self.lock:
            self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            self.file.flush()
            while True:
                line = self.file.readline()
                if not line:
                    raise LabError(f"qemu ended during monitor command {command}")
                answer = json.loads(line)
                if "error" in answer:
                    raise LabError(f"qemu refused {command} {arguments}: "
                                   f"{answer['error']['desc']}")
                if "return" in answer:
                    return answer["return"]


def channel():
    """A connected pair of sockets: ours, and one for qemu to inherit."""
    ours, theirs = socket.socketpair()
    os.set_inheritable(theirs.fileno(), True)
    return ours, theirs
