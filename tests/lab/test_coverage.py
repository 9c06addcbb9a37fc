# SPDX-License-Identifier: GPL-2.0-only
"""What is said about coverage: nothing that was not executed is lost, nor put down wrongly."""

import io
import tarfile

import pytest

from iserlab import coverage
from iserlab.paths import REPO, LabError

NAME = "drivers/infiniband/ulp/iser/mr.c"
DOCUMENT = """\
Coverage
========

mr.c
----

``one()``, ``two()``
    Never, as ``three()`` says.

queue.c
-------

``four()``: why.
"""


def source(lines, functions=None):
    """A Source from (line, count) pairs."""
    return coverage.Source(dict(lines), functions or {1: "first"})


def test_lines_are_put_together():
    """Across lines without code, but neither across executed ones nor functions."""
    lines = [(1, 0), (2, 1), (4, 0), (7, 0), (10, 0), (11, 3)]
    assert source(lines, {1: "first", 9: "second"}).missed \
        == [(1, 1, "first"), (4, 7, "first"), (10, 10, "second")]


def test_percentage():
    """Of lines, not of files."""
    assert coverage.percentage([source([(1, 1)]), source([(1, 0), (2, 5), (3, 0)])]) == 50
    assert coverage.percentage([]) == 0


def test_reasons():
    """A name counts in its file, and where an item begins with it."""
    assert coverage.explained(DOCUMENT) == {("mr.c", "one"), ("mr.c", "two"),
                                            ("queue.c", "four")}


def test_description():
    """What has no reason is shouted."""
    lines = coverage.describe({NAME: source([(1, 0), (2, 1), (3, 0)], {1: "one", 3: "three"})},
                              coverage.explained(DOCUMENT))
    assert [line.split() for line in lines] == [
        ["coverage:", "33.3", "%", NAME], ["1", "one()"], ["3", "three()", "NOT", "EXPLAINED"]]


def test_reasons_that_are_out_of_date():
    """So that the document does not grow for ever."""
    sources = {NAME: source([(1, 0), (3, 1)], {1: "one", 3: "two"})}
    said, = coverage.outdated(sources, {("mr.c", "one"), ("mr.c", "two")})
    assert "mr.c: two()" in said


def record(path):
    """A record of lcov's for a file."""
    return f"TN:\nSF:{path}\nFN:5,f\nFNDA:1,f\nDA:5,1\nDA:6,0\nLH:1\nLF:2\nend_of_record\n"


@pytest.fixture(name="built")
def _built(tmp_path):
    """A place where the module was built, as the unit tests do."""
    copy = tmp_path / NAME
    copy.parent.mkdir(parents=True)
    copy.write_bytes((REPO / NAME).read_bytes())
    (tmp_path / "tests" / "kunit").mkdir(parents=True)
    return tmp_path


def test_copies_are_put_down_to_the_source(built):
    """Wherever they were built; what is not ours is left out."""
    text = record("/usr/src/include/linux/list.h") + record(f"{built}/tests/kunit/../../{NAME}")
    text, changed = coverage.ours(text)
    sources = coverage.parse(text)
    assert list(sources) == [NAME] and not changed
    assert sources[NAME] == source([(5, 1), (6, 0)], {5: "f"})


def test_changed_source_is_left_out(built):
    """Its lines are others."""
    with open(built / NAME, "a", encoding="utf-8") as file:
        file.write("\n")
    assert coverage.ours(record(built / NAME)) == ("", {NAME})


def test_build_has_gone(tmp_path):
    """The counters alone say nothing."""
    archive = tmp_path / "guest.tar"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo(f"./no/such/place/{NAME[:-1]}gcda"), io.BytesIO())
    with pytest.raises(LabError, match="run the tests again"):
        coverage.traces(archive, tmp_path / "work")


def test_guest_without_the_module(tmp_path):
    """Has nothing to say, which is no mistake."""
    archive = tmp_path / "guest.tar"
    with tarfile.open(archive, "w"):
        pass
    assert coverage.traces(archive, tmp_path / "work") == (None, set())
