# SPDX-License-Identifier: GPL-2.0-only
"""`make coverage`: which lines of the module the tests execute.

Normally: the unit tests and tests/vm run on the debug kernel, for which the
module is built with counters (gcov). Before a guest ends, its counters are
copied to build/coverage/data; lcov adds all of them up. The report is
build/coverage/index.html; the output has each run of lines that was not
executed, with its function, and whether Documentation/coverage.rst says why.
Less than LEAST per cent is a failure, and so is a line without a reason, or
a reason for what is executed.

Recovery: a guest that died gives nothing, which is said. Counters of sources
that were changed meanwhile would be put down to wrong lines: these are left
out, which is a failure. What was collected stays; see main() for how to add
to it.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from . import guest, host, kunit
from .paths import REPO, LabError, say

LEAST = 90      # per cent
OUT = REPO / "build" / "coverage"
DATA = OUT / "data"
BARE = "  NOT EXPLAINED"
REASONS = REPO / "Documentation" / "coverage.rst"
# which paths its sample takes changes with the code
SHORTAGE = "tests/vm/test_shortage.py"
# whose lines count
COUNTED = ("drivers/infiniband/ulp/iser/", "include/iser/")
# Where the objects are that these are compiled into.
OBJECTS = ("drivers/infiniband/ulp/iser", "tests/kunit")

# Files there have no length, so tar alone would find them empty. The kernel
# keeps counters of modules that were unloaded.
TAKE = """
cd /sys/kernel/debug/gcov 2>/dev/null || exit 0
to=$(mktemp -d)
find . {} | while read -r file; do
    mkdir -p "$to/${{file%/*}}" && cat "$file" >"$to/$file"
done
tar -C "$to" -c . && rm -r "$to"
""".format(" -o ".join(f"-path '*/{place}/*.gcda'" for place in OBJECTS))

_numbers = itertools.count()


@dataclass
class Source:
    """What is known of a source file."""
    lines: dict = field(default_factory=dict)       # line -> how often executed
    functions: dict = field(default_factory=dict)   # first line -> name

    @property
    def missed(self):
        """(first, last, function) of lines together that were never executed."""
        ranges = []
        alike = itertools.groupby(sorted(self.lines.items()),
                                  lambda line: (bool(line[1]), self.function(line[0])))
        for (executed, function), lines in alike:
            if not executed:
                numbers = [number for number, _ in lines]
                ranges.append((numbers[0], numbers[-1], function))
        return ranges

    def function(self, line):
        """The function that a line is in."""
        before = [start for start in self.functions if start <= line]
        return self.functions[max(before)] if before else ""


# collecting

def collect(directory=DATA):
    """From now on, take the counters of each guest before it ends."""
    guest.before_end.append(lambda ending: take(ending, directory))


def take(ending, directory):
    """Copy the counters of a guest to a file of their own."""
    try:
        data = ending.run(TAKE, timeout=120).output
    except LabError as error:
        say(f"coverage: {ending.name} gave no counters: {str(error).splitlines()[0]}")
        return
    if data:
        directory.mkdir(parents=True, exist_ok=True)
        name = f"{ending.name}-{os.getpid()}-{next(_numbers)}.tar"
        (directory / name).write_bytes(data)


def run_kunit():
    """Run the unit tests; the status."""
    collect()
    return kunit.main()


def run_vm(words=()):
    """Run tests/vm: as words say, or of each file its sample, but SHORTAGE whole.

    Returns whether any of it failed.
    """
    # guests with all checks starve each other if there are more of them than processors
    runs = [words] if words else [
        [SHORTAGE, "--dist=load", f"-n{host.cpus()}"],
        ["tests/vm", f"--ignore={SHORTAGE}", "--sample", f"-n{host.cpus()}"]]
    return any([run_pytest(each) for each in runs])


def run_pytest(words):
    """Run tests that count; the status."""
    return subprocess.run([sys.executable, "-s", "-m", "pytest", "-p", "no:cacheprovider",
                           *words, "--kernel=debug", f"--coverage={DATA}"],
                          cwd=REPO, check=False).returncode


# adding up

def traces(archive, directory):
    """lcov's form of the counters in an archive, with our names of the sources.

    Returns the file, or None if it has no counters, and the sources that are
    others than ours.
    """
    directory.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        tar.extractall(directory)
    found = list(directory.rglob("*.gcda"))
    if not found:
        return None, set()
    for counters in found:
        # the compiler's notes are needed, too; they are where the module was built
        notes = counters.with_suffix(".gcno")
        built = Path("/") / notes.relative_to(directory)
        if not built.exists():
            raise LabError(f"{archive.name}: {built} has gone; run the tests again")
        shutil.copy(built, notes)
    raw = directory / "raw.info"
    host.run("geninfo", "--quiet", "--ignore-errors", "source,gcov", "--output-filename", raw,
             directory, what="geninfo")
    trace = directory / "ours.info"
    text, changed = ours(raw.read_text(encoding="utf-8"))
    trace.write_text(text, encoding="utf-8")
    return trace, changed


def ours(text):
    """The records of an lcov file that are about our sources, and name them.

    Returns them and the names of sources that are not the present ones.
    """
    kept, changed = [], set()
    for record in re.findall(r"(?:.*\n)*?end_of_record\n", text):
        path = re.search(r"^SF:(.*)$", record, re.M)[1]
        built = Path(os.path.normpath(path))
        name = re.search(f"/((?:{'|'.join(COUNTED)})[^/]+)$", str(built))
        if not name:
            continue
        if same(built, REPO / name[1]):
            kept.append(record.replace(f"SF:{path}\n", f"SF:{REPO / name[1]}\n"))
        else:
            changed.add(name[1])
    return "".join(kept), changed


def same(built, source):
    """Whether a copy that was compiled is still what the source is."""
    return built.exists() and source.exists() and built.read_bytes() == source.read_bytes()


def merge(directory):
    """Add up all that was collected: (lcov file, sources that were changed)."""
    shutil.rmtree(directory, ignore_errors=True)
    found, changed = [], set()
    for number, archive in enumerate(sorted(DATA.glob("*.tar"))):
        trace, others = traces(archive, directory / str(number))
        changed |= others
        if trace and trace.stat().st_size:
            found += ["--add-tracefile", trace]
    if not found:
        raise LabError(f"no counters of the present sources in {DATA.relative_to(REPO)}")
    total = OUT / "total.info"
    host.run("lcov", "--quiet", *found, "--output-file", total, what="lcov")
    shutil.rmtree(directory)
    return total, changed


def parse(text):
    """name -> Source of an lcov file."""
    sources = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(":")
        if kind == "SF":
            source = sources.setdefault(os.path.relpath(rest, REPO), Source())
        elif kind == "FN":
            start, name = rest.split(",")
            source.functions[int(start)] = name
        elif kind == "DA":
            number, count = map(int, rest.split(",")[:2])
            source.lines[number] = source.lines.get(number, 0) + count
    return sources


# telling

def percentage(sources):
    """How many of a hundred lines were executed."""
    lines = [count for source in sources for count in source.lines.values()]
    return 100 * sum(map(bool, lines)) / len(lines) if lines else 0


def explained(text):
    """{(file, function, code): how often} that the document gives reasons for.

    Its sections are files. Its items begin with names of functions, each with
    the first of the lines that are not executed, as often as there are such.
    """
    found, name = Counter(), None
    for line in text.splitlines():
        section = re.fullmatch(r"([\w/]+\.[ch])", line)
        name = section[1] if section else name
        if not re.match(r"``\w+\(\)``", line):
            continue
        function = None
        for quoted in re.findall(r"``(.+?)``", line):
            if re.fullmatch(r"\w+\(\)", quoted):
                function = quoted[:-2]
            else:
                found[name, function, quoted] += 1
    return found


def missed(sources):
    """(first, last, its key among the reasons) of all that is not executed, by file."""
    found = {}
    for name, source in sorted(sources.items()):
        text = (REPO / name).read_text(encoding="utf-8").splitlines()
        found[name] = [(first, last, (Path(name).name, function, text[first - 1].strip()))
                       for first, last, function in source.missed]
    return found


def keys(found):
    """How often each key is among what was missed."""
    return Counter(key for ranges in found.values() for _, _, key in ranges)


def describe(sources, reasons):
    """What there is to say, as lines.

    Where the same line was missed more often than there are reasons nobody
    knows which of them these are about: all need one.
    """
    lines, found = [], missed(sources)
    bare = keys(found) - reasons
    for name, ranges in found.items():
        lines.append(f"coverage: {percentage([sources[name]]):5.1f} %  {name}")
        for first, last, key in ranges:
            where = str(first) if first == last else f"{first}-{last}"
            lines.append(f"    {where:9} {key[1]}(): {key[2]}{BARE if key in bare else ''}")
    return lines


def outdated(sources, reasons):
    """The reasons for what is executed after all, as lines."""
    return [f"coverage: {name}: {function}(): {code}: is executed; "
            f"{REASONS.name} need not say why not"
            for name, function, code in sorted(reasons - keys(missed(sources)))]


def report():
    """Add up, write the report, print what was missed; the status."""
    total, changed = merge(OUT / "work")
    host.run("genhtml", "--quiet", "--prefix", REPO, "--title", "ib_iser", "--output-directory",
             OUT, total, what="genhtml")
    sources = parse(total.read_text(encoding="utf-8"))
    reasons = explained(REASONS.read_text(encoding="utf-8")) if REASONS.exists() else Counter()
    lines = describe(sources, reasons)
    stale = outdated(sources, reasons)
    print("\n".join(lines + stale))
    for name in sorted(changed):
        print(f"coverage: {name} was changed after tests had begun; what they counted is left out")
    bare = sum(line.endswith(BARE) for line in lines)
    if bare:
        print(f"coverage: {bare} of these have no reason in {REASONS.relative_to(REPO)}: they need "
              "a test, or a reason")
    reached = percentage(sources.values())
    print(f"coverage: {reached:.1f} % of the lines, {LEAST} % wanted; "
          f"report: {OUT.relative_to(REPO)}/index.html")
    return 1 if reached < LEAST or bare or stale or changed else 0


def main(words=()):
    """Run all tests and report; the status.

    @words: nothing; or, to add to what was collected, `kunit`, `vm` and words
            for pytest, or `report` to add nothing
    """
    part, *rest = words or ["all"]
    if part not in ("all", "kunit", "vm", "report"):
        raise LabError(f"no part of the tests is called {part}; there are: kunit, vm, report")
    failed = 0
    if part == "all":
        shutil.rmtree(OUT, ignore_errors=True)
    if part == "kunit":
        failed |= run_kunit()
    if part in ("all", "vm"):
        failed |= run_vm(rest)
    status = report()
    if failed:
        print("coverage: tests failed, see above")
    return 1 if failed or status else 0
