# SPDX-License-Identifier: GPL-2.0-only
"""tests/hostile, a target that attacks who logs in to it, in a guest.

Normally: it is compiled on the host, as guests have no compiler, and copied. attack() starts
it for one attack; what it says is what the adapters did.

Recovery: clear() ends it. It keeps nothing.
"""

import time

from . import host
from .paths import CACHE, REPO, LabError, cached, digest
from .target import Portal, Target

SOURCES = REPO / "tests" / "hostile"
PROGRAM = "/tmp/hostile"
PORT = 3270
TARGET = Target("iqn.2026-01.lab.iser:hostile")
COMPILE = ("gcc", "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
           "-Wno-missing-field-initializers")
LIBRARIES = ("-lrdmacm", "-libverbs", "-lpthread")


def build():
    """The program."""
    sources = sorted(SOURCES.glob("*.[ch]"))

    def make(tmp):
        host.run(*COMPILE, "-o", tmp, *(path for path in sources if path.suffix == ".c"),
                 *LIBRARIES, what="building tests/hostile")

    return cached(CACHE / "hostile" / digest(" ".join(COMPILE), *sources), make)


class Hostile:
    """The hostile target in one guest."""

    def __init__(self, guest, address):
        self.guest = guest
        self.portal = Portal(address, PORT)
        self.job = None

    def attack(self, name, *options):
        """Be a target that does this once."""
        self.clear()
        if self.guest.run(f"[ -x {PROGRAM} ]", check=False).status:
            self.guest.put(build(), PROGRAM)
            self.guest.run(f"chmod +x {PROGRAM}")
        words = " ".join(map(str, options))
        self.job = self.guest.spawn(f"exec {PROGRAM} {words} {PORT} {name}")
        self.wait_for("listening")

    def said(self):
        """What it tried, and what came of it: {"write": "done"}."""
        return dict(line.split(": ", 1) for line in self.job.stdout.splitlines() if ": " in line)

    def wait_for(self, word, seconds=60):
        """Wait until it says something with this word in it."""
        end = time.monotonic() + seconds
        while word not in self.job.stdout:
            if self.job.poll() is not None or time.monotonic() > end:
                raise LabError(f"no {word!r} from tests/hostile: {self.job.stdout}"
                               f"{self.job.stderr}")
            time.sleep(0.05)

    def clear(self):
        """End it."""
        if self.job:
            self.job.kill()
            self.job.wait(check=False)
            self.job = None
