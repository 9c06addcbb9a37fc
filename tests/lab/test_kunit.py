# SPDX-License-Identifier: GPL-2.0-only
"""The summary of unit tests: nothing that failed, or did not run, is lost."""

from iserlab import kunit
from iserlab.paths import REPO

GOOD = """\
KTAP version 1
1..1
    KTAP version 1
    # Subtest: iser_a
    # module: iser_kunit
    1..2
    ok 1 alone
        KTAP version 1
        # Subtest: table
        1..2
        ok 1 first case
        ok 2 second case
    # table: pass:2 fail:0 skip:0 total:2
    ok 2 table
# iser_a: pass:2 fail:0 skip:0 total:2
# Totals: pass:3 fail:0 skip:0 total:3
ok 1 iser_a
"""


def one(text):
    """The one suite in a text."""
    suite, = kunit.parse(text)
    return suite


def test_all_is_well():
    """Cases of a table count, the table itself does not."""
    suite = one(GOOD)
    assert (suite.name, suite.ok, suite.passed, suite.failures) == ("iser_a", True, 3, [])
    assert kunit.summary([suite]) == ["kunit: iser_a           ok        3 passed"]


def test_several_suites():
    """Results of several files, one after the other."""
    assert [suite.name for suite in kunit.parse(GOOD + GOOD.replace("iser_a", "iser_b"))] \
        == ["iser_a", "iser_b"]


def test_a_case_fails():
    """A failure has its name and all that it said."""
    text = GOOD.replace("        ok 2 second case\n", """\
        # table: EXPECTATION FAILED at x.c:3
        Expected 1 == 2, but
        not ok 2 second case
""").replace("    ok 2 table", "    not ok 2 table").replace("ok 1 iser_a", "not ok 1 iser_a")
    suite = one(text)
    assert not suite.ok and suite.passed == 2
    assert suite.failures == [("table: second case", ["# table: EXPECTATION FAILED at x.c:3",
                                                      "Expected 1 == 2, but"])]
    assert "  not ok: table: second case" in kunit.summary([suite])


def test_a_test_fails():
    """The same for a test that is no table."""
    text = GOOD.replace("    ok 1 alone", "    # alone: bad\n    not ok 1 alone")
    suite = one(text.replace("\nok 1 iser_a", "\nnot ok 1 iser_a"))
    assert suite.failures == [("alone", ["# alone: bad"])]


def test_a_case_is_missing():
    """A crash ends a table early."""
    suite = one(GOOD.replace("        ok 2 second case\n", ""))
    assert not suite.ok
    assert suite.failures == [("table", ["only 1 of 2 have run"])]


def test_a_test_is_missing():
    """Or a suite."""
    suite = one(GOOD.replace("    ok 1 alone\n", ""))
    assert not suite.ok
    assert suite.failures == [("the suite", ["only 1 of 2 have run"])]


def test_a_suite_that_can_not_begin():
    """suite_init failed."""
    suite = one("KTAP version 1\n1..1\n# iser_a: failed to initialize (-19)\nnot ok 1 iser_a\n")
    assert not suite.ok
    assert suite.failures == [("the suite", ["# iser_a: failed to initialize (-19)"])]


def test_a_suite_without_tests():
    """That is no success."""
    assert not one("KTAP version 1\n1..1\nok 1 iser_a\n").ok


def test_skipped_is_not_passed():
    """It is counted by itself."""
    suite = one(GOOD.replace("    ok 1 alone", "    ok 1 alone # SKIP not here"))
    assert (suite.ok, suite.passed, suite.skipped) == (True, 2, 1)


def test_a_suite_did_not_run():
    """Its source was not built, or nothing ran at all."""
    suites = kunit.complete(kunit.parse(GOOD), ["iser_a", "iser_b"])
    assert [(suite.name, suite.ok) for suite in suites] == [("iser_a", True), ("iser_b", False)]
    assert suites[1].failures == [("the suite", ["it did not run"])]
    assert not any(suite.ok for suite in kunit.complete(kunit.parse(""), ["iser_a"]))


def test_each_source_of_tests_has_a_suite():
    """By whose name it will be missed."""
    names = kunit.written()
    assert "iser_state" in names and len(names) == len(set(names))
    assert len(names) == len(list((REPO / "tests/kunit").glob("test_*.c")))
