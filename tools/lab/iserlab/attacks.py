# SPDX-License-Identifier: GPL-2.0-only
"""`make attack`: the attacks on memory, on our module and on the kernel's own, side by side.

Normally: tests/vm/test_hostile.py runs twice, over the same network with the same target; what
each attack achieved is a line of the report, which has a column for each module. These are
facts: "refused" is the adapter's word, and "memory was changed" is that of the program whose
memory it was.

Recovery: our column is a test, and a failure there is one here. What the other module makes of
it decides nothing. An attack that came to no end has no verdict.
"""

import subprocess
import sys
from xml.etree import ElementTree

from .paths import REPO, LabError
from .tables import columns

OUT = REPO / "build" / "attack"
MODULES = {"ours": "ib_iser", "stock": "the kernel's own"}
NONE = "no verdict"
# and, last, whether memory was lost, and the honest target
TESTS = "(memory or guessed or nothing_is_left) and not siw"


def run(module, kernel):
    """Let pytest do it; returns its status and {attack: verdict}."""
    report = OUT / f"{module}.xml"
    report.unlink(missing_ok=True)
    status = subprocess.run(
        [sys.executable, "-s", "-m", "pytest", "-p", "no:cacheprovider", "-n0",
         "tests/vm/test_hostile.py", "-k", TESTS, f"--kernel={kernel}", f"--module={module}",
         f"--junitxml={report}"],
        cwd=REPO, check=False).returncode
    # a test that fails is a result
    if status not in (0, 1) or not report.exists():
        raise LabError(f"pytest came to no result with {MODULES[module]}: status {status}")
    return status, verdicts(ElementTree.parse(report))


def verdicts(tree):
    """What each attack achieved, as the tests have noted it."""
    return dict(item.get("value").split(": ", 1) for item in tree.iter("property")
                if item.get("name") == "attack")


def table(results):
    """The report, as lines."""
    attacks = list(dict.fromkeys(name for verdict in results.values() for name in verdict))
    rows = [("attack", *(MODULES[module] for module in results))]
    rows += [(name, *(verdict.get(name, NONE) for verdict in results.values()))
             for name in attacks]
    return columns(rows)


def main(kernel):
    """Run all, print the report; the status."""
    OUT.mkdir(parents=True, exist_ok=True)
    results, failed = {}, 0
    for module in MODULES:
        status, results[module] = run(module, kernel)
        failed |= status if module == "ours" else 0
    print("\n".join(["", f"attacks on memory over rxe, kernel {kernel}", "", *table(results)]))
    return 1 if failed else 0
