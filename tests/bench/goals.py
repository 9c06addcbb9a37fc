# SPDX-License-Identifier: GPL-2.0-only
"""What is wanted of the figures, and what was reached.

Normally: lines(results) is a table of GOALS. A goal is a figure, or the ratio of two from the
same run, and a bound. What a run did not measure is said to be missing, never taken for reached.
beyond(results) are those who do more over soft-RoCE than it does by itself, which nobody can: then
what was measured of it is not the limit that it is said to be.
Recovery: none is needed.
"""

from dataclasses import dataclass

from iserlab.tables import columns

OURS, STOCK, TCP, NVME = "ib_iser", "kernel's ib_iser", "iscsi_tcp", "nvme-rdma"
OVER_RDMA, VERBS = (OURS, STOCK, NVME), "verbs:"
LARGE = tuple(f"{size} {rw} qd8" for size in ("128k", "1m") for rw in ("randread", "randwrite"))


@dataclass(frozen=True)
class Goal:
    """A bound for a figure of ours, or for its ratio to somebody else's."""
    workload: str
    value: str
    bound: float
    device: str = "simhca"
    least: bool = False     # the bound is the least that is wanted, and not the most
    other: str = ""         # whose figure it is divided by
    elsewhere: str = ""     # on which device that was measured, if not on the same

    @property
    def name(self):
        """What it is about."""
        against = f" / {self.other}'s" if self.other else ""
        return f"{self.device}: {self.workload}: {self.value.replace('_', ' ')}{against}"

    def reached(self, figure):
        """Whether a figure is good enough."""
        return figure >= self.bound if self.least else figure <= self.bound

    def figure(self, results):
        """The figure, or None if the run does not have it."""
        try:
            ours = _find(results, OURS, self.device, self.workload)[self.value]
            if not self.other:
                return ours
            return ours / _find(results, self.other, self.elsewhere or self.device,
                                self.workload)[self.value]
        except KeyError:
            return None


def _find(results, transport, device, workload):
    for each in results:
        if (each["transport"], each["device"], each["workload"]) == (transport, device, workload):
            return each
    raise KeyError(workload)


def _at_least(workload, *others, bound=1.0):
    return [Goal(workload, "iops", bound, "rxe", True, other) for other in others]


GOALS = (
    Goal("4k randread qd32", "cqes_per_io", 1.1),
    Goal("4k randread qd32", "dma_maps_per_io", 1),
    Goal("4k randread qd32 batches of 16", "send_doorbells_per_io", 0.15),
    Goal("4k randread qd32 batches of 16", "recv_doorbells_per_io", 0.1),
    Goal("4k randread qd32", "insns_per_io", 0.75, other=STOCK),
    Goal("4k randread qd32", "kernel_insns_per_io", 0.75, other=STOCK),
    *_at_least("4k randread qd32", STOCK, bound=1.15), *_at_least("4k randread qd32", NVME),
    *_at_least("4k randwrite qd32", STOCK, bound=1.15), *_at_least("4k randwrite qd32", NVME),
    Goal("4k randread qd1", "p50_us", 1, "rxe", other=NVME),
    *(goal for workload in LARGE for goal in _at_least(workload, STOCK, NVME)),
    *(Goal(workload, "kernel_insns_per_io", 0.5, other=TCP, elsewhere="wire")
      for workload in ("4k randread qd32", "4k randwrite qd32", "128k randread qd8",
                       "128k randwrite qd8")),
    Goal("idle session", "memory_kib", 0.25, other=STOCK),
)


def beyond(results):
    """Who exceeds the limit of soft-RoCE, as lines."""
    over = [each for each in results if each["device"] == "rxe" and "iops" in each]
    limits = {}
    for each in over:
        if each["transport"].startswith(VERBS):
            size = each["workload"].split()[0]
            limits[size] = max(each["iops"], limits.get(size, 0))
    return [f"no limit: {each['transport']} does {each['iops']:.0f} of {each['workload']} over rxe,"
            f" and rxe by itself {limits[size]:.0f}"
            for each in over for size in [each["workload"].split()[0]]
            if each["transport"] in OVER_RDMA and each["iops"] > limits.get(size, each["iops"])]


def line(goal, figure):
    """One row of the table."""
    bound = f"{'>=' if goal.least else '<='} {goal.bound:g}"
    if figure is None:
        return (goal.name, bound, "", "not measured")
    return (goal.name, bound, f"{figure:.3g}", "reached" if goal.reached(figure) else
            f"missed by {abs(figure / goal.bound - 1):.1%}")


def lines(results):
    """The table."""
    return columns([("goal", "wanted", "is", ""),
                    *(line(goal, goal.figure(results)) for goal in GOALS)])
