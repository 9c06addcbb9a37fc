# SPDX-License-Identifier: GPL-2.0-only
"""What `make attack` makes of two runs of the attacks: nothing is put down that was not noted."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from iserlab import attacks
from iserlab.paths import REPO, LabError

REPORT = """\
<testsuites><testsuite>
<testcase><properties>
<property name="attack" value="{name}: {verdict}"/><property name="told" value="one: two"/>
</properties></testcase>
<testcase/>
</testsuite></testsuites>
"""


@pytest.fixture(name="pytests")
def fixture_pytests(monkeypatch, tmp_path):
    """Instead of pytest: {module: (status, the only attack, its verdict)}, which may be changed."""
    ends = {"ours": (0, "write", "refused"), "stock": (0, "write", "done; memory was changed")}

    def run(command, **_):
        options = dict(word.split("=", 1) for word in command if word.startswith("--"))
        status, name, verdict = ends[options["--module"]]
        if name:
            with open(options["--junitxml"], "w", encoding="utf-8") as file:
                file.write(REPORT.format(name=name, verdict=verdict))
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr(attacks, "OUT", tmp_path / "attack")
    monkeypatch.setattr(attacks, "subprocess", SimpleNamespace(run=run))
    return ends


def test_what_is_run(tmp_path):
    """All attacks on memory over one network; and last, whether anything is left of them."""
    names = subprocess.run(
        [sys.executable, "-s", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-n0",
         "--collect-only", "tests/vm/test_hostile.py", "-k", attacks.TESTS, "--kernel=6.12"],
        cwd=REPO, env=os.environ | {"RESULTS": str(tmp_path)}, check=True, capture_output=True,
        text=True).stdout.split("\n\n")[0].splitlines()
    assert any("::test_guessed_keys[" in name for name in names)
    assert not any("siw" in name or "::test_bad_behaviour[" in name for name in names)
    assert "::test_nothing_is_left_of_all_that[" in names[-1]


def shown(capsys):
    """The table that was printed, in words."""
    return [re.split(" {2,}", line) for line in capsys.readouterr().out.splitlines()[4:]]


def test_verdicts_stand_side_by_side(pytests, capsys):
    """As the tests have noted them, with all that is behind a colon."""
    pytests["ours"] = (0, "write", "refused: for good")
    assert attacks.main("6.12") == 0
    assert shown(capsys) == [["write", "refused: for good", "done; memory was changed"]]


def test_an_attack_without_an_end_has_no_verdict(pytests, capsys):
    """Nor has one that only the other module saw."""
    pytests["stock"] = (1, "read", "done")
    assert attacks.main("6.12") == 0
    assert shown(capsys) == [["write", "refused", "no verdict"], ["read", "no verdict", "done"]]


@pytest.mark.parametrize("module,status", (("ours", 1), ("stock", 0)))
def test_only_ours_can_fail(pytests, module, status):
    """What the other one makes of it decides nothing."""
    pytests[module] = (1, "write", "done")
    assert attacks.main("6.12") == status


@pytest.mark.parametrize("module", ("ours", "stock"))
@pytest.mark.parametrize("end", ((2, "write", "refused"), (5, "write", "refused"), (0, "", "")))
def test_no_result_is_an_error(pytests, module, end):
    """pytest was interrupted, found no tests or left no report; an older report is none."""
    assert attacks.main("6.12") == 0
    pytests[module] = end
    with pytest.raises(LabError, match="no result"):
        attacks.main("6.12")
