# SPDX-License-Identifier: GPL-2.0-only
"""`make kunit`: the module's unit tests in a guest, with a readable summary.

Normally: tests/kunit is built for the debug kernel and loaded in a guest,
which runs the suites. Each suite is one line here; a test that failed is
shown with all that it said; the last line has the totals.

Recovery: it is a failure too if a suite that stands in a source did not
run, if one did fewer tests than it announced, if the kernel reported
anything meanwhile (KASAN, lockdep, kmemleak...), or if the suites do not
end: the guest's log is shown then.
"""

import re
import time
from dataclasses import dataclass, field

from . import kernels, module, reports
from .guest import Guest
from .paths import REPO, LabError

KUNIT = module.Module("iser_kunit", "tests/kunit", "tests/kunit/iser_kunit.ko",
                      ("tests/kunit", "drivers", "include"))
SECONDS = 900
RESULT = re.compile(r"( *)(not )?ok \d+ ?(?:- )?(.*?)( # SKIP.*)?$")
PLAN = re.compile(r"( *)1\.\.(\d+)$")
# in a source
SUITE = re.compile(r"struct kunit_suite \w+ = \{\s+\.name = \"(\w+)\"")
# what belongs to the format, and says nothing about a failure
FORM = re.compile(r" *(KTAP version|1\.\.\d|# Subtest:|# module:|# Totals:|# \S+: pass:\d+ )")


@dataclass
class Suite:
    """What a suite did."""
    name: str
    ok: bool = True
    passed: int = 0
    skipped: int = 0
    failures: list = field(default_factory=list)    # (test, what it said)

    @property
    def total(self):
        """Tests that it has run."""
        return self.passed + self.skipped + len(self.failures)


class Parser:
    """Takes KTAP line by line, see Documentation/dev-tools/ktap.rst.

    Suites are not indented, their tests by 4, the cases of a test by 8.
    """

    def __init__(self):
        self.suites = []
        self.suite, self.said = Suite(""), []
        self.case = []          # results of the cases of the present test
        self.planned, self.seen = {}, {}

    def line(self, text):
        """Take a line."""
        result, plan = RESULT.match(text), PLAN.match(text)
        if plan:
            depth = len(plan[1]) // 4
            self.planned[depth], self.seen[depth] = int(plan[2]), 0
        elif result:
            self._result(len(result[1]) // 4, not result[2], result[3], bool(result[4]))
        elif text.strip() and not FORM.match(text):
            self.said.append(text.strip())

    def _result(self, depth, passed, name, skipped):
        self.seen[depth] = self.seen.get(depth, 0) + 1
        if not self._complete(depth + 1):
            passed = False
        if depth == 0:
            self._suite(passed, name)
        elif depth == 1:
            self._test(passed, name, skipped)
        else:
            self.case.append((passed, name, skipped, self._take()))

    def _complete(self, depth):
        """Whether as many as announced have run at a depth."""
        planned, seen = self.planned.pop(depth, None), self.seen.pop(depth, 0)
        if planned is not None and seen < planned:
            self.said.append(f"only {seen} of {planned} have run")
            return False
        return True

    def _take(self):
        said, self.said = self.said, []
        return said

    def _count(self, passed, name, skipped, said):
        if skipped:
            self.suite.skipped += 1
        elif passed:
            self.suite.passed += 1
        else:
            self.suite.failures.append((name, said))

    def _test(self, passed, name, skipped):
        said = self._take()
        for case in self.case:
            self._count(case[0], f"{name}: {case[1]}", *case[2:])
        if not self.case or not passed and all(case[0] for case in self.case):
            self._count(passed, name, skipped, said)
        self.case = []

    def _suite(self, passed, name):
        self.suite.name = name
        self.suite.ok = passed and not self.suite.failures and self.suite.passed > 0
        if not self.suite.ok and not self.suite.failures:
            self.suite.failures.append(("the suite", self._take() or ["no test was run"]))
        self.suites.append(self.suite)
        self.suite, self.said = Suite(""), []


def written(directory=REPO / "tests/kunit"):
    """The names of all suites that there are in sources, whether or not these are built."""
    return [name for source in sorted(directory.glob("*.c"))
            for name in SUITE.findall(source.read_text(encoding="utf-8"))]


def complete(suites, names):
    """Suites that have run, and as a failure each of these names that has not."""
    ran = {suite.name for suite in suites}
    return suites + [Suite(name, False, failures=[("the suite", ["it did not run"])])
                     for name in names if name not in ran]


def parse(text):
    """The suites in KTAP text."""
    parser = Parser()
    for line in text.splitlines():
        parser.line(line)
    return parser.suites


def summary(suites):
    """What there is to say about suites, as lines."""
    lines = []
    for suite in suites:
        lines.append(f"kunit: {suite.name:16} {'ok' if suite.ok else 'FAILED':6} "
                     f"{suite.passed:4} passed"
                     + (f", {len(suite.failures)} failed" if suite.failures else "")
                     + (f", {suite.skipped} skipped" if suite.skipped else ""))
        for name, said in suite.failures:
            lines += [f"  not ok: {name}", *(f"    {line}" for line in said)]
    return lines


def load(guest):
    """Load the suites, which runs them; raise LabError if they do not end."""
    # it would look at each session of theirs, for as long as the tests take
    guest.run("pkill systemd-udevd; modprobe kunit", timeout=120)
    module.bring(guest, KUNIT, "/run/iser_kunit.ko")
    guest.forget_leaks()
    since = guest.mark("kunit")
    job = guest.spawn("insmod /run/iser_kunit.ko")
    deadline = time.monotonic() + SECONDS
    while job.poll() is None:
        time.sleep(0.5)
        # After an oops a lock may be held for ever
        if time.monotonic() > deadline or re.search(r"\bOops: |kernel BUG at",
                                                    guest.console(since)):
            time.sleep(2)
            raise LabError("the suites do not end\n" + guest.tail(150))
    job.wait()


def run(guest):
    """(suites, reports) of all unit tests in a guest; those that are missing have failed."""
    since = guest.mark("kunit")
    load(guest)
    text = guest.run("for f in /sys/kernel/debug/kunit/iser_*/results; do cat $f; done").stdout
    guest.run("rmmod iser_kunit", timeout=120)
    left = guest.leaks()
    guest.mark("kunit ended")
    found = reports.find(guest.console(since))
    return complete(parse(text), written()), found + ([left] if left else [])


def main(name="debug"):
    """Run them and print the summary; the exit status."""
    began = time.monotonic()
    with Guest(kernels.get(name), name="kunit") as guest:
        suites, found = run(guest)
    print("\n".join(summary(suites)))
    for report in found:
        print(f"kunit: the kernel reported:\n{report}")
    failed = sum(len(suite.failures) for suite in suites)
    print(f"kunit: {len(suites)} suites, {sum(suite.total for suite in suites)} tests, "
          f"{failed} failed, {len(found)} kernel reports, {time.monotonic() - began:.0f} s")
    return 1 if failed or found else 0
