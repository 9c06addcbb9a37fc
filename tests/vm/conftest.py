# SPDX-License-Identifier: GPL-2.0-only
"""How the tests in this directory run: on which kernels, over which module, in which guests.

Normally: each test runs on each kernel. It asks for `lun` (a LUN that is logged in), for
`host` (one guest with nothing on it), for `pair` (two guests) or for `sim` (a guest with a
simulated adapter), and gets it from the rig of that kernel, see rig.py.

What a file may say about its tests: KERNELS they run on by default, if not on the stock ones and
the debug kernel; those they are CAPABLE of, if not all; SAMPLE, if by default only every so many
of them runs on a kernel, or {kernel: so many}, and ALWAYS, names of those that do in any case, or
of what these are about.

Recovery: a test fails if a kernel reported a bug while it ran, whatever else it found. A
failed test shows the end of its guests' logs, and leaves them in results/ whole.
"""

import contextlib
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "lab"))

# pylint: disable=wrong-import-position
from iserlab import coverage, kernels  # noqa: E402
from iserlab.paths import lock  # noqa: E402
from rig import RESULTS, Rig, logs  # noqa: E402

STOCK_KERNELS = ("6.1", "6.12")
CHECKED = ("debug", "mainline")
ALL_KERNELS = (*STOCK_KERNELS, *CHECKED)
DEFAULT_KERNELS = (*STOCK_KERNELS, "debug")
# every so many of the tests of a file that does not say how many, unless that kernel is named
FEW_ON = {"debug": 24}
# what only some kernels have: soft-iWARP
CAPABLE = {"siw": CHECKED}


def pytest_addoption(parser):
    """What can be chosen."""
    group = parser.getgroup("ib_iser")
    group.addoption("--kernel", action="append", metavar="NAME",
                    help="run all tests on this kernel only (may be repeated)")
    group.addoption("--module", choices=("ours", "stock"), default="ours",
                    help="stock: the kernel's own ib_iser, to compare with")
    group.addoption("--all", action="store_true",
                    help="run all tests on all kernels")
    group.addoption("--sample", action="store_true",
                    help="of files that say SAMPLE, no more than that on the kernels named")
    group.addoption("--seed", type=int, default=1, help="of test_fuzz; 0 for any")
    group.addoption("--seconds", type=int, default=30, help="that test_fuzz lasts at least")
    group.addoption("--count", type=int, default=0, help="mutated PDUs that it lasts at least")
    group.addoption("--coverage", metavar="DIRECTORY", type=Path,
                    help="keep there what the module executed (kernel debug); see make coverage")


def everything(config):
    """Whether all tests are wanted: of all kernels, or of those that were named."""
    option = config.getoption
    return option("all") or option("kernel") and not option("sample")


def pytest_generate_tests(metafunc):
    """Each test on each kernel."""
    option = metafunc.config.getoption
    names = option("kernel") or (ALL_KERNELS if option("all") else
                                 getattr(metafunc.module, "KERNELS", DEFAULT_KERNELS))
    marks = {name: pytest.mark.xdist_group(group(metafunc, name)) for name in names}
    metafunc.parametrize("rig", [pytest.param(name, marks=mark) for name, mark in marks.items()],
                         indirect=True, scope="session")


def group(metafunc, kernel):
    """Tests of this name share guests, and run one after the other.

    Those in a file; but all on a kernel with all checks, as it needs much of a processor, unless
    that was named: who does so says with -n how much there is.
    """
    if kernel in CHECKED and not metafunc.config.getoption("kernel"):
        return kernel
    return f"{kernel} {metafunc.module.__name__}"


def capable(item):
    """Whether its kernel has what a test needs."""
    kernel, network = item.callspec.params["rig"], item.callspec.params.get("network")
    return kernel in getattr(item.module, "CAPABLE", ALL_KERNELS) and \
        kernel in CAPABLE.get(network, ALL_KERNELS)


def always(item):
    """Whether no sample does without it."""
    names = {item.originalname, item.callspec.params.get("name")}
    return not names.isdisjoint(getattr(item.module, "ALWAYS", ()))


def step(module, kernel, few):
    """Of how many tests in a file one is enough on a kernel."""
    said = getattr(module, "SAMPLE", {})
    return said.get(kernel, few.get(kernel, 1)) if isinstance(said, dict) else said


def chosen(items, sampled, few):
    """Those tests that are to be run, the last ones first."""
    seen = Counter()
    for item in filter(capable, reversed(items)):
        where = item.module, item.callspec.params["rig"]
        if not sampled or always(item) or seen[where] % step(*where, few) == 0:
            yield item
        seen[where] += 1


def pytest_collection_modifyitems(config, items):
    """Leave out what is not wanted; begin with what takes longest, that with all checks.

    Then one kernel after the other: a process keeps its guests for as long as it stays with one.
    """
    few = {} if config.getoption("kernel") else FEW_ON
    wanted = list(chosen(items, not everything(config), few))[::-1]
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = sorted(wanted, key=lambda item: ALL_KERNELS.index(item.callspec.params["rig"]),
                      reverse=True)


def pytest_terminal_summary(terminalreporter):
    """Show what tests had to tell, although they passed."""
    told = [text for reports in terminalreporter.stats.values() for report in reports
            for name, text in getattr(report, "user_properties", ())
            if name == "told" and report.when == "call"]
    if told:
        terminalreporter.section("told")
    for text in told:
        terminalreporter.line(text)


def take_place(config):
    """Remove what the last run left, but not what another one is about to leave, or others have."""
    place = contextlib.ExitStack()
    config.add_cleanup(place.close)
    try:
        place.enter_context(lock(RESULTS / "run", wait=False))
    except BlockingIOError:
        raise pytest.UsageError(f"another run leaves its results in {RESULTS}; name another place:"
                                " RESULTS=DIRECTORY") from None
    for kernel in ALL_KERNELS:
        for stock in (False, True):
            shutil.rmtree(logs(kernel, stock), ignore_errors=True)


def pytest_configure(config):
    """Begin with no results, if there will be any."""
    config.addinivalue_line("markers", "xdist_group(name): tests that share a process")
    config.addinivalue_line("markers", "breaks_rules: an adapter has to see violations, or may")
    if config.getoption("coverage"):
        coverage.collect(config.getoption("coverage"))
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        take_place(config)


def pytest_report_header(config):
    """Name the module, so that a comparison is not taken for a result."""
    ours = config.getoption("module") == "ours"
    return f"module under test: {'ours' if ours else 'the KERNEL S OWN ib_iser (comparison)'}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows and keeps its guests' logs, and leaves no mess to the next one."""
    del call
    report = (yield).get_result()
    rig = getattr(item, "funcargs", {}).get("rig")
    if report.failed and rig:
        report.sections.append(("kernel log", rig.keep(f"{item.nodeid}-{report.when}")))
        rig.recover()


@pytest.fixture(scope="session", name="rig")
def fixture_rig(request):
    """The guests of one kernel."""
    rig = Rig(kernels.get(request.param), request.config.getoption("module") == "stock")
    yield rig
    try:
        leaks = rig.leaks()
    finally:
        rig.stop()
    assert not leaks, "\n".join(leaks)


@pytest.fixture(autouse=True)
def no_kernel_reports(rig):
    """Whatever a test is about: no kernel may report a bug meanwhile."""
    rig.begin()
    yield
    reports = rig.reports()
    assert not reports, "a kernel reported:\n" + "\n".join(reports)
    rig.renew()


@pytest.fixture
def sampled(request):
    """Whether some of what a test could do is enough."""
    return not everything(request.config)


@pytest.fixture
def tell(record_property):
    """Say something that is worth reading even if the test passes."""
    return lambda text: record_property("told", text)


def lent(topology):
    """Give guests away with nothing on them, and clear up behind."""
    topology.clear()
    topology.clean = False
    yield topology
    topology.clear()


@pytest.fixture
def host(rig, no_kernel_reports):  # pylint: disable=redefined-outer-name,unused-argument
    """One guest that is target and initiator, with nothing on it."""
    yield from lent(rig.host())


@pytest.fixture
def lun(rig, no_kernel_reports):  # pylint: disable=redefined-outer-name,unused-argument
    """A LUN that is logged in over iSER with default settings."""
    return rig.host().standing_lun()


@pytest.fixture
def pair(rig, no_kernel_reports):  # pylint: disable=redefined-outer-name,unused-argument
    """Two guests with a cable between them."""
    made = rig.pair()
    made.use("rxe")
    yield from lent(made)


def lent_adapter(topology, request):
    """The same of an adapter, of whose rules none was broken up to then, unless a test says so."""
    yield from lent(topology)
    if not request.node.get_closest_marker("breaks_rules"):
        assert not topology.broken, "\n".join(topology.broken)


@pytest.fixture
def sim(rig, request, no_kernel_reports):  # pylint: disable=redefined-outer-name,unused-argument
    """A guest with a simulated adapter that behaves, and nobody logged in."""
    yield from lent_adapter(rig.sim(), request)


@pytest.fixture
def iommu(rig, request, no_kernel_reports):  # pylint: disable=redefined-outer-name,unused-argument
    """The same behind an IOMMU."""
    yield from lent_adapter(rig.iommu(), request)


@pytest.fixture
def simlun(rig, no_kernel_reports):  # pylint: disable=redefined-outer-name,unused-argument
    """The same with a session that other such tests used before: sim.standing."""
    made = rig.sim()
    made.standing_session()
    yield made
    if made.guest.running:
        made.hca.calm()
        assert made.kept_the_rules()
