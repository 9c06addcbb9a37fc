# SPDX-License-Identifier: GPL-2.0-only
"""tests/hostile, a target that attacks who logs in to it, in a guest.

Normally: it is compiled on the host, as guests have no compiler, and copied. start() starts
it, order() has it attack; what it says then is what the adapters did.

Recovery: clear() ends it. It keeps nothing.
"""

import os
import time

from . import host
from .paths import CACHE, REPO, LabError, cached, digest
from .target import Portal, Target

SOURCES = REPO / "tests" / "hostile"
PROGRAM = "/tmp/hostile"
PORT = 3270
# it does not mind what it is called
TARGET, OTHER, GUEST = (Target(f"iqn.2026-01.lab.iser:hostile{number}") for number in range(3))
COMPILE = ("gcc", "-std=gnu2x", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
           "-Wno-missing-field-initializers", "-Wno-unused-parameter")
LIBRARIES = ("-lrdmacm", "-libverbs", "-lpthread")


def build():
    """The program."""
    sources = sorted(SOURCES.glob("*.[ch]"))

    def make(tmp):
        host.run(*COMPILE, "-o", tmp, *(path for path in sources if path.suffix == ".c"),
                 *LIBRARIES, what="building tests/hostile")

    return cached(CACHE / "hostile" / digest(" ".join(COMPILE + LIBRARIES), *sources), make)


class Hostile:
    """The hostile target in one guest."""

    def __init__(self, guest, address):
        self.guest = guest
        self.portal = Portal(address, PORT)
        self.job = self.orders = None
        self.mark = 0

    def start(self):
        """Be an honest target until something is ordered."""
        self.guest.put(build(), PROGRAM)
        source, orders = os.pipe()
        self.orders = open(orders, "w", encoding="ascii", buffering=1)
        self.job = self.guest.spawn(f"exec {PROGRAM} {PORT}",
                                    input=open(source, "rb", buffering=0))
        self.wait_for("listening")

    def order(self, *orders):
        """Let it do this from now on; see tests/hostile/main.c for the words."""
        self.mark = len(self.job.stdout)
        for order in orders:
            print(order, file=self.orders)
        self.wait_for("ready", times=len(orders))

    def said(self):
        """What it has done since it was ordered to, and what came of it, in lines."""
        return self.job.stdout[self.mark:].splitlines()

    def wait_for(self, word, seconds=60, times=1):
        """Wait until it has said this so often."""
        end = time.monotonic() + seconds * self.guest.kernel.patience
        while self.said().count(word) < times:
            if self.job.poll() is not None or time.monotonic() > end:
                raise LabError(f"tests/hostile did not say {word!r}: {self.job.stdout}"
                               f"{self.job.stderr}")
            time.sleep(0.05)

    def clear(self):
        """End it."""
        if self.job:
            job, self.job, self.mark = self.job, None, 0
            self.orders.close()
            job.kill()
            job.wait(check=False)
