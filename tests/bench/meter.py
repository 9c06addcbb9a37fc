# SPDX-License-Identifier: GPL-2.0-only
"""One measurement: fio on a disk, and what the guest executed for it.

Normally: a Meter for a guest; prepare() for the disk that a peer has made, then measure() each
workload. The guest is stopped twice while fio runs, and what it executed in between is divided by
the requests in between, so that neither the beginning nor the end of fio counts.

Recovery: none; an error of fio ends the run.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import insns
from iserlab.paths import LabError

NANO = 10 ** 9
MIB = 1 << 20
MIDDLE = (0.3, 0.8)     # of the requests of a run: between these it is looked at
LARGEST = 60
# the component that all this is about; no noise of others is in its share
MODULE = "ib_iser"
# of simhca's counters: what is made of them
COUNTED = {
    "cqes_per_io": ("cqes",),
    "interrupts_per_io": ("interrupts",),
    "doorbells_per_io": ("post_send_calls", "post_recv_calls"),
    "send_doorbells_per_io": ("post_send_calls",),
    "recv_doorbells_per_io": ("post_recv_calls",),
    "dma_maps_per_io": ("dma_map_single", "dma_map_sg"),
    "wrs_per_io": ("post_send_wrs",),
}


@dataclass(frozen=True)
class Workload:
    """What fio is asked for."""
    rw: str
    size: str
    depth: int
    batch: int = 1

    @property
    def name(self):
        """For tables."""
        batch = f" batches of {self.batch}" if self.batch > 1 else ""
        return f"{self.size} {self.rw} qd{self.depth}{batch}"

    @property
    def length(self):
        """Of an I/O, in bytes."""
        return {"b": 1, "k": 1 << 10, "m": MIB}[self.size[-1]] * int(self.size[:-1])

    @property
    def ios(self):
        """How many make a measurement where each byte is moved."""
        return max(128, 32 * MIB // self.length)

    def command(self, device, ios=None):
        """fio's command line, with buffers that the kernel knows already."""
        words = {"name": "bench", "filename": device, "rw": self.rw, "bs": self.size,
                 "iodepth": self.depth, "iodepth_batch_submit": self.batch,
                 "iodepth_batch_complete_min": self.batch, "ioengine": "io_uring",
                 "fixedbufs": 1, "registerfiles": 1, "direct": 1, "output-format": "json"}
        if ios:
            # as many as that may be more than the disk has room for
            words |= {"number_ios": ios, "io_size": ios * self.length}
        if self.rw == "randrw":
            words["rwmixread"] = 70
        return "fio --thread --norandommap --randrepeat=1 --allow_file_create=0 " + \
            " ".join(f"--{name}={value}" for name, value in words.items())


# udev would look at a disk after each run that wrote to it, which takes into the next one
NO_LOOK = Path("/run/udev/rules.d/99-bench.rules")
WARM = Workload("randread", "4k", 32)


def parse(said):
    """What fio found; a dictionary."""
    (job,) = json.loads(said[said.index("{"):])["jobs"]
    if job["error"]:
        raise LabError(f"fio: error {job['error']}")
    sides = [job[side] for side in ("read", "write") if job[side]["total_ios"]]
    busiest = max(sides, key=lambda side: side["total_ios"])
    percentile = busiest["clat_ns"]["percentile"]
    return {"iops": sum(side["iops"] for side in sides),
            "p50_us": percentile["50.000000"] / 1000, "p99_us": percentile["99.000000"] / 1000}


class Meter:
    """Measures in one guest.

    @counts: those that it was started with
    @ios: how many make a measurement, if that does not depend on their size
    """

    def __init__(self, guest, counts, ios=None):
        self.guest, self.counts, self.ios = guest, counts, ios
        guest.run(f"mkdir -p {NO_LOOK.parent}")
        guest.write(str(NO_LOOK), 'SUBSYSTEM=="block", OPTIONS+="nowatch"\n')
        guest.run("udevadm control --reload")
        self.symbols = insns.Symbols(guest)
        self.request = None     # where the function begins that each request goes through once

    def prepare(self, peer, device):
        """Get to know what a peer brought with it, and let it get everything that it will need."""
        self.symbols.look()
        self.request = self.symbols.address(peer.request)
        self.guest.run("udevadm settle")
        self.guest.run(WARM.command(device, WARM.ios), timeout=600)

    def measure(self, device, workload, hca=None):
        """One measurement, with what the simulated adapter counts meanwhile, if it is one."""
        if not hca:
            return self._run(device, workload)
        with hca.counting() as counted:
            found = self._run(device, workload)
        ios = counted["cmds_read"] + counted["cmds_write"]
        engine = counted["engine_ns"] / ios
        found["components"]["adapter and kernel"] -= engine
        for name in ("insns_per_io", "kernel_insns_per_io"):
            found[name] -= engine
        return found | {name: sum(counted[counter] for counter in counters) / ios
                        for name, counters in COUNTED.items()}

    def _run(self, device, workload):
        """fio's figures, and what was executed in the middle of its run."""
        ios = self.ios or workload.ios
        for more in (1, 2, 4, 8):
            found = self._try(device, workload, more * ios)
            if found:
                return found
        raise LabError(f"{workload.name}: {more * ios} requests are over too soon to be looked at")

    def _try(self, device, workload, ios):
        """The same; None if it was over when this process, on a busy host, came to look."""
        began = self.counts.times(self.request)
        job = self.guest.spawn(workload.command(device, ios))
        states = [self._stopped_after(job, began + part * ios) for part in MIDDLE]
        found = parse(job.wait(timeout=600).stdout)
        requests = self.counts.times(self.request) - began
        (first, before), (last, after) = states
        if last - first < ios / 10:
            return None
        # what is larger than a request can be becomes several
        return found | shares(self.symbols.spent(before, after), (last - first) * ios / requests)

    def _stopped_after(self, job, requests):
        """(requests, what was executed) when there were so many requests, or fio has ended."""
        while self.counts.times(self.request) < requests and job.poll() is None:
            time.sleep(0.02)
        self.guest.qmp("stop")
        try:
            return self.counts.times(self.request), self.counts.read()
        finally:
            self.guest.qmp("cont")

    def difference(self, count, call, *args):
        """Cost of one repetition of something that begins and ends at some cost, too.

        The kernel's alone, and how often it could be done if programs took no time: those that do
        it may ask again and again whether it is done.

        @call: does something as often as its last argument, after @args, says
        """
        less, more = (self._during(call, *args, times) for times in (count, 3 * count))
        more.subtract(less)
        found = shares(more, 2 * count)
        del found["insns_per_io"], found["components"]["programs"]
        return found | {"iops": NANO / found["kernel_insns_per_io"]}

    def _during(self, call, *args):
        """What is executed while something is done."""
        before = self.counts.read()
        call(*args)
        return self.symbols.spent(before, self.counts.read())


def shares(spent, ios):
    """Instructions for each I/O, in all, by component, and those of the largest functions."""
    components = {name: count / ios for name, count in insns.by_component(spent).items()}
    # what a simulated adapter has other functions do cannot be told from what others have them do
    components["adapter and kernel"] = sum(components.pop(name, 0)
                                           for name in ("adapter", "kernel", "modules"))
    total = sum(components.values())
    module = {"module_insns_per_io": components[MODULE]} if MODULE in components else {}
    return {"insns_per_io": total, "kernel_insns_per_io": total - components["programs"], **module,
            "components": components,
            "functions": {" ".join(name): count / ios
                          for name, count in spent.most_common(LARGEST)}}
