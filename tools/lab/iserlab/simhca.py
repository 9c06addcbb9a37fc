# SPDX-License-Identifier: GPL-2.0-only
"""The simulated adapter in a guest (tests/simhca): load it, misbehave, count.

Normally:

    hca = simhca.load(guest)
    session, = initiator.login(hca.iqn(), hca.portal())
    with hca.counting() as counted:
        guest.run(f"dd if={session.disk} of=/dev/null bs=4k count=100 iflag=direct")
    assert counted["cmds_read"] >= 100 and not counted.violations

    hca.fault(at="rsp_read", nth=5, do="drop")
    hca.set(ack_delay_us=500, resend=1)

Names of knobs, counters, points and verbs are the module's own; its refusal of one is
a CommandFailed with the kernel's explanation in dmesg. Documentation/simhca.rst lists them.

Recovery: calm() takes all faults and knobs back.
"""

import contextlib
from dataclasses import dataclass

from . import module

DEBUGFS = "/sys/kernel/debug/simhca"


class Counts(dict):
    """Counters and gauges by name."""

    @property
    def violations(self):
        """What a correct consumer never does, and how often it was done."""
        return {name: n for name, n in self.items() if name.startswith("v_") and n}


@dataclass
class Adapter:
    """One simulated adapter of a guest."""
    guest: object
    number: int = 0
    shared: bool = False

    @property
    def name(self):
        """The name of its device and of its network interface."""
        return f"simhca{self.number}"

    def portal(self, number=0):
        """The address of one of its target's portals."""
        return f"198.51.{100 + self.number}.{2 + number}"

    def iqn(self, target=0):
        """The name of one of its targets."""
        return f"iqn.2026-11.example.simhca:{'shared' if self.shared else self.name}.{target}"

    # files

    def file(self, name):
        """Path of one of its files, in the guest."""
        return f"{DEBUGFS}/{self.name}/{name}"

    def _write(self, file, text):
        self.guest.write(self.file(file), text)

    def _read(self, file):
        return self.guest.read(self.file(file))

    # knobs

    def set(self, **knobs):
        """Turn knobs."""
        self._write("knobs", " ".join(f"{name}={int(value)}" for name, value in knobs.items()))

    def calm(self):
        """No fault rules, and every knob as it was at load without parameters."""
        self._write("faults", "clear")
        self._write("knobs", "reset")

    # faults

    def fault(self, at, do, **words):
        """Add a rule: at the nth time that this happens, do that."""
        rule = {"at": at, **words, "do": do}
        self.rules(" ".join(f"{key}={value}" for key, value in rule.items()))

    def rules(self, *rules):
        """Add rules in the adapter's own words. "clear" takes all earlier ones back."""
        for rule in rules:
            self._write("faults", rule)

    def now(self, do, **words):
        """Do something at once."""
        self.fault("now", do, **words)

    def hits(self):
        """How often each rule has acted, in the order of the rules."""
        return [int(line.rsplit("hits=", 1)[1]) for line in self._read("faults").splitlines()]

    # counters

    def counters(self):
        """Counters and gauges."""
        lines = self._read("counters").splitlines()
        return Counts((name, int(value)) for name, value in (line.split("=") for line in lines))

    def reset(self):
        """Begin to count anew."""
        self._write("counters", "reset")

    def violations(self):
        """What was noted about violations, without the times."""
        return [line.split(" ", 1)[1] for line in self._read("violations").splitlines()]

    @contextlib.contextmanager
    def counting(self):
        """Count what happens within."""
        counts = Counts()
        self.reset()
        yield counts
        counts.update(self.counters())

    # power

    def power(self, on):
        """Register or unregister its device."""
        self._write("power", str(int(on)))


def load(guest, adapters=1, shared=False, dma_device=None, **knobs):
    """Build the module, load it in a guest; returns the adapter, or a list if told how many.

    @adapters: how many
    @shared: they are several ways to the same disks
    @dma_device: name of a PCI device whose IOMMU they use
    @knobs: what is to be set before the devices are registered
    """
    module.bring(guest, module.SIMHCA, "/root/simhca.ko")
    words = [f"adapters={adapters}", f"shared={int(shared)}"]
    if dma_device:
        words.append(f"dma_device={dma_device}")
    if knobs:
        words.append("knobs=" + ",".join(f"{name}={int(value)}" for name, value in knobs.items()))
    guest.run(f"insmod /root/simhca.ko {' '.join(words)}")
    made = [Adapter(guest, number, shared) for number in range(adapters)]
    return made[0] if adapters == 1 else made
