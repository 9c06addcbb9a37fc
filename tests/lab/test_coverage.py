# SPDX-License-Identifier: GPL-2.0-only
"""What is said about coverage: nothing that was not executed is lost, nor put down wrongly."""

import io
import tarfile
from collections import Counter

import pytest

from iserlab import coverage
from iserlab.paths import REPO, LabError

NAME = "drivers/infiniband/ulp/iser/mr.c"
DOCUMENT = """\
Coverage
========

mr.c
----

``one()`` at ``goto end;``, ``return -EIO;`` and ``return -EIO;``, ``two()`` at ``return 0;``
    Never, as ``three()`` says of ``return 1;``.

queue.c
-------

``four()`` at ``break;``: why.
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
    """Each line counts in its function and file, and where an item begins with that."""
    assert coverage.explained(DOCUMENT) == {
        ("mr.c", "one", "goto end;"): 1, ("mr.c", "one", "return -EIO;"): 2,
        ("mr.c", "two", "return 0;"): 1, ("queue.c", "four", "break;"): 1}


@pytest.fixture(name="sources")
def _sources(tmp_path, monkeypatch):
    """A source of three functions, of which one was executed whole."""
    monkeypatch.setattr(coverage, "REPO", tmp_path)
    (tmp_path / NAME).parent.mkdir(parents=True)
    (tmp_path / NAME).write_text("\tgoto end;\nx\n\treturn 0;\ny\n")
    lines = [(1, 0), (2, 1), (3, 0), (4, 1)]
    return {NAME: source(lines, {1: "one", 3: "two", 4: "three"})}


def test_description(sources):
    """What has no reason is shouted, and another line of the function is no reason."""
    reasons = Counter([("mr.c", "one", "goto end;"), ("mr.c", "two", "x")])
    lines = coverage.describe(sources, reasons)
    assert [line.split() for line in lines] == [
        ["coverage:", "50.0", "%", NAME], ["1", "one():", "goto", "end;"],
        ["3", "two():", "return", "0;", "NOT", "EXPLAINED"]]


def test_the_same_line_twice(sources, tmp_path):
    """One reason does not do for both."""
    (tmp_path / NAME).write_text("\tgoto end;\nx\n\tgoto end;\ny\n")
    sources[NAME].functions = {1: "one"}
    key = ("mr.c", "one", "goto end;")
    for reasons, bare in ((0, 2), (1, 2), (2, 0)):
        said = coverage.describe(sources, Counter({key: reasons}))
        assert sum(line.endswith(coverage.BARE) for line in said) == bare
        assert not coverage.outdated(sources, Counter({key: reasons}))
    assert coverage.outdated(sources, Counter({key: 3}))


def test_reasons_that_are_out_of_date(sources):
    """So that the document does not grow for ever."""
    reasons = Counter([("mr.c", "one", "goto end;"), ("mr.c", "three", "y")])
    said, = coverage.outdated(sources, reasons)
    assert "mr.c: three(): y" in said


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
