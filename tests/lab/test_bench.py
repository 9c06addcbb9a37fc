# SPDX-License-Identifier: GPL-2.0-only
"""What the benchmark makes of its figures: nothing that was not measured looks good."""

import struct
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

from iserlab.paths import REPO

sys.path.insert(0, str(REPO / "tests" / "bench"))

# pylint: disable=wrong-import-position
import bench  # noqa: E402
import chart  # noqa: E402
import goals  # noqa: E402
import guard  # noqa: E402
import insns  # noqa: E402
import layout  # noqa: E402
import wall  # noqa: E402
from meter import Workload, parse, shares  # noqa: E402

KERNEL = 0xffffffff81000000
KALLSYMS = f"""\
{KERNEL:x} T blk_mq_submit_bio
{KERNEL + 0x100:x} t tcp_sendmsg
{KERNEL + 0x200:x} T kfree
{KERNEL + 0x240:x} D a_variable
"""
MODULES = f"{KERNEL + 0x1000:x} t iser_recv_done\t[ib_iser]\n"


def result(transport, device, workload, **values):
    """One object of results.json."""
    return {"transport": transport, "device": device, "workload": workload, **values}


@pytest.fixture(name="symbols")
def fixture_symbols():
    """Symbols of a guest that needs no kernel."""
    def run(command):
        return SimpleNamespace(stdout=KALLSYMS if "-v" in command else MODULES)

    return insns.Symbols(SimpleNamespace(run=run))


@pytest.mark.parametrize("address,name", (
    (KERNEL, ("block", "blk_mq_submit_bio")), (KERNEL + 0x80, ("block", "blk_mq_submit_bio")),
    (KERNEL + 0x100, ("network", "tcp_sendmsg")), (KERNEL + 0x250, ("kernel", "kfree")),
    (KERNEL + 0x1004, ("ib_iser", "iser_recv_done")), (insns.PROGRAMS, ("programs", ""))))
def test_an_address_is_named(symbols, address, name):
    """By the last function that begins before it; variables are none."""
    assert symbols.name(address) == name


def test_what_was_executed_in_between(symbols, tmp_path):
    """Differences, of new addresses too."""
    counts = insns.Counts(tmp_path / "table")

    def write(*entries):
        counts.path.write_bytes(b"".join(struct.pack("3Q", *entry) for entry in entries))

    write((0, 7, 70), (0, 0, 0), (KERNEL, 2, 20))
    before = counts.read()
    write((0, 8, 80), (0, 0, 0), (KERNEL, 5, 50), (KERNEL + 0x1000, 3, 9))
    assert symbols.spent(before, counts.read()) == Counter(
        {("programs", ""): 10, ("block", "blk_mq_submit_bio"): 30,
         ("ib_iser", "iser_recv_done"): 9})
    assert counts.times(symbols.address("iser_recv_done")) == 3
    assert counts.times(symbols.address("kfree")) == 0


def test_shares_add_up():
    """The kernel's is all but the programs'."""
    found = shares(Counter({("programs", ""): 100, ("block", "a"): 40, ("block", "b"): 20,
                            ("adapter", "c"): 10, ("kernel", "d"): 30}), 10)
    assert found["insns_per_io"] == 20 and found["kernel_insns_per_io"] == 10
    assert found["components"] == {"programs": 10, "block": 6, "adapter and kernel": 4}


def test_fio_errors_are_no_figures():
    """An error that fio counted is one."""
    with pytest.raises(bench.LabError, match="error 5"):
        parse('fio: noise {"jobs": [{"error": 5}]}')


def test_medians_and_spread():
    """The middle one, also of components, and how far apart the extremes are."""
    found = {("ib_iser", "4k"): [{"insns_per_io": n, "iops": 2 * n, "components": {"block": n + 1}}
                                 for n in (100, 110, 90)],
             ("ib_iser", "idle session"): [{"memory_kib": 7}]}
    one, memory = bench.summary(found, "simhca")
    assert (one["insns_per_io"], one["components"]) == (100, {"block": 101})
    assert one["spread"] == {"insns_per_io": 0.2, "iops": 0.2}
    assert bench.cell(one, "iops", "{:.0f}") == "200 (20.0%)"
    assert memory["memory_kib"] == 7 and not memory["spread"]
    assert bench.cell(memory, "memory_kib", "{:.0f}") == "7"


@pytest.mark.parametrize("value,said", (
    (0.8, "reached"), (1.0, "reached"), (1.21, "missed by 10.0%"), (None, "not measured")))
def test_a_goal_that_is_not_to_be_exceeded(value, said):
    """A figure that is missing is not good."""
    goal = goals.Goal("w", "cqes_per_io", 1.1)
    results = [] if value is None else [result(goals.OURS, "simhca", "w", cqes_per_io=value)]
    assert goals.line(goal, goal.figure(results))[-1] == said


@pytest.mark.parametrize("theirs,said", ((80, "reached"), (100, "missed by 13.0%"),
                                         (None, "not measured")))
def test_a_goal_that_is_a_ratio(theirs, said):
    """Ours against theirs, of the same workload and device."""
    goal = goals.Goal("w", "iops", 1.15, "rxe", True, goals.NVME)
    results = [result(goals.OURS, "rxe", "w", iops=100), result(goals.NVME, "wire", "w", iops=1)]
    if theirs is not None:
        results.append(result(goals.NVME, "rxe", "w", iops=theirs))
    assert goals.line(goal, goal.figure(results))[-1] == said


@pytest.mark.parametrize("ours,exceeds", ((100, False), (101, True)))
def test_a_limit_that_is_exceeded(ours, exceeds):
    """By a peer that goes over soft-RoCE, the best of what that does with the same size."""
    results = [result("verbs: send", "rxe", "4k qd32", iops=90),
               result("verbs: read", "rxe", "4k qd32", iops=100),
               result(goals.OURS, "rxe", "4k randread qd32", iops=ours),
               result(goals.OURS, "rxe", "64k randread qd8", iops=1000),
               result(goals.TCP, "rxe", "4k randread qd32", iops=1000)]
    assert bool(goals.beyond(results)) == exceeds


def test_all_goals_are_about_workloads_that_there_are():
    """Or they would never be measured, and nobody would wonder."""
    known = {each.name for each in bench.WORKLOADS} | {"idle session"}
    assert {goal.workload for goal in goals.GOALS} <= known
    assert {goal.device for goal in goals.GOALS} <= set(bench.DEVICES)
    wire = {each.name for each in bench.OF_A_WIRE}
    assert {goal.workload for goal in goals.GOALS if goal.elsewhere == "wire"} <= wire


def test_cache_lines():
    """What reaches into a line is in it; what is gone is missed."""
    found = layout.fields("""struct s {
	struct a                   one[3];               /*     0    60 */
	struct b *                 two __attribute__((__aligned__(4))); /*    60     8 */
	bool                       three;                /*   128     1 */
};""")
    assert layout.lines(found, ("one", "two", "three")) == \
        {0: ["one", "two"], 1: ["two"], 2: ["three"]}
    with pytest.raises(bench.LabError, match="no field four"):
        layout.lines(found, ("four",))


@pytest.mark.parametrize("most,said", ((104, "reached"), (106, "missed")))
def test_growth_is_flat_or_not(most, said):
    """Whatever few commands cost."""
    grown = {(1, 1, depth, 128): {"a": cost}
             for depth, cost in ((1, 200), (wall.MANY, 100), (wall.MANY + 1, most))}
    assert wall.verdict(grown, "a").endswith(said)


def test_nothing_is_left_out_of_the_chart():
    """But the programs."""
    components = {"programs": 5, "block": 10, "adapter and kernel": 20, "new": 3, "network": 1}
    found = chart.shares({"components": components})
    assert sum(found.values()) == 34 and found["other"] == 23 and found["block"] == 10


@pytest.mark.parametrize("figure,value,was,bad", (
    ("wrs_per_io", 103, 100, False), ("wrs_per_io", 104, 100, True), ("wrs_per_io", 50, 100, False),
    ("wrs_per_io", 0.005, 0, False), ("wrs_per_io", 1, 0, True),
    ("module_insns_per_io", 1019, 1000, False), ("module_insns_per_io", 1021, 1000, True)))
def test_the_guard(figure, value, was, bad):
    """3 % more are tolerated, less of the module's own share, and whatever less."""
    lines = guard.worse({"w": {figure: value}}, {"w": {figure: was}}, "6.1", "6.1")
    assert len(lines) == bad


def test_the_guard_takes_the_cheapest():
    """What happened besides, in one of the rounds, counts for nothing."""
    figures = dict.fromkeys(guard.FIGURES, 2)
    assert guard.cheapest([figures | {"cqes_per_io": 3}, figures | {"wrs_per_io": 1}]) == \
        figures | {"wrs_per_io": 1}


def test_the_guard_on_another_release():
    """It may be the kernel that is dearer."""
    _, said = guard.worse({"w": {"wrs_per_io": 2}}, {"w": {"wrs_per_io": 1}}, "6.1.9", "6.1.8")
    assert "recorded on 6.1.8, measured on 6.1.9" in said


@pytest.mark.parametrize("record", ({}, {"w": {}}))
def test_what_the_record_lacks(record):
    """It is not taken for a good one."""
    with pytest.raises(bench.LabError, match="wrs_per_io was not recorded: make bench-record"):
        guard.worse({"w": {"wrs_per_io": 1}}, record, "6.1", "6.1")


def test_a_kernel_that_is_not_recorded():
    """It is not taken for a good one."""
    with pytest.raises(bench.LabError, match="bench-record"):
        guard.recorded("5.10")


def test_workloads_have_enough_requests():
    """So that there is a middle to look at."""
    assert Workload("randread", "1m", 8).ios >= 128
    assert Workload("randread", "4k", 1).ios == 8192


@pytest.mark.parametrize("name", {**bench.GUARANTEES, **bench.IDEAS})
def test_variants_are_of_the_present_sources(name):
    """What a variant changes is there, once."""
    for edits in {**bench.GUARANTEES, **bench.IDEAS}[name]:
        for path, text, _ in edits:
            assert (REPO / path).read_text(encoding="utf-8").count(text) == 1
