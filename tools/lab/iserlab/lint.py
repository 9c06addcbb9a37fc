# SPDX-License-Identifier: GPL-2.0-only
"""`make lint`: what can be found wrong without running anything.

Normally: each check is one line with its time. Those of the module run
against each kernel that it must build on, and look at the build that tests
use, too; it takes no time if they came first (see module.py). A check that
fails shows what it found, the others go on, and the status is 1 at the end.
If the newest mainline tree cannot be had, the checks against it are NOT
DONE; that is no failure, but said again in the last line.

A message of compiler or sparse counts if it is located in our files; the
kernel's headers are not ours to mend.
"""

import re
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from . import apt, host, kbuild, kernels, module
from .kunit import KUNIT
from .paths import CACHE, REPO, LabError

MODULES = (module.IB_ISER, module.SIMHCA, KUNIT)

# Rules of checkpatch that cannot apply, by the kind of file, and why.
INAPPLICABLE = (
    ("compat.h", "LINUX_VERSION_CODE,CONSTANT_COMPARISON",
     "one source for several kernels is what these files are for"),
    ("trace.h", "OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT",
     "the layout of TRACE_EVENT() is that of a structure, not of a call"),
    ("*_list.h", "MACRO_ARG_UNUSED",
     "a list of macro calls, of which each user takes what it needs"),
    ("shim/linux/types.h", "PREFER_KERNEL_TYPES,PREFER_DEFINED_ATTRIBUTE_MACRO",
     "defines them in user space"),
    ("tests/fuzz/*.c", "CAMELCASE",
     "libFuzzer calls functions by these names"),
    ("tests/hostile/*", "PREFER_KERNEL_TYPES",
     "a program in user space has the C library's types"),
    ("tests/bench/*", "PREFER_KERNEL_TYPES",
     "a plugin of qemu has the C library's types"),
)

# The first five are what pycodestyle leaves out unless told otherwise; tabs
# are in the shell scripts that our Python files hold as text.
UNWANTED = ("E121", "E123", "E126", "W503", "W504", "E101", "W191")

# Where a mirror may be whose name says nothing of the machine.
NO_PLACES = {None, "localhost", "127.0.0.1"}


class Found(Exception):
    """A check found something; the text shows it."""


def files():
    """All files of the project: known to git, or new and not ignored."""
    # the checkout may belong to somebody else, as it does in some CI systems
    listed = host.run("git", "-c", "safe.directory=*", "-C", REPO,
                      "ls-files", "-co", "--exclude-standard", "-z")
    paths = (REPO / name for name in listed.split("\0") if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def first_line(path):
    """The first line of a file, as text."""
    with open(path, "rb") as handle:
        return handle.readline().decode(errors="replace")


def written_in(language, *suffixes):
    """Files in a language: by suffix, or by the interpreter they name."""
    return [path for path in files() if path.suffix in suffixes
            or first_line(path).startswith("#!") and language in first_line(path)]


def output(command, **kwargs):
    """What a checker prints about what it found; nothing if all is well."""
    done = subprocess.run([str(word) for word in command], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=host.environment(), **kwargs)
    if done.returncode and not done.stdout.strip():
        return f"{command[0]} ended with status {done.returncode}\n"
    return done.stdout.strip() and done.stdout


def report(paths, *commands):
    """Run checkers on files."""
    said = "".join(output([*command, *paths]) for command in commands) if paths else ""
    if said:
        raise Found(said)


# the module

def build(kernel, ours):
    """A module builds with all warnings, and sparse, and nothing is said."""
    try:
        directory = module.built(kernel, ours)
    except LabError as error:
        raise Found(str(error)) from error
    said = (directory / module.SAID).read_text(encoding="utf-8")
    check_messages(said, directory / ours.top)


def check_messages(output, directory):
    """Raise Found if something was said about a file of ours.

    Kernels differ in whether they name it by its full path.
    """
    def located_here(line):
        where = re.match(r"(\S+?):\d+(:\d+)?: (\w+ )?(warning|error): ", line)
        path = where and directory / where[1]
        return path and path.is_file() and path.resolve().is_relative_to(directory.resolve())

    found = [line for line in output.splitlines() if located_here(line)]
    if "CHECK " not in output or "sparse is not available" in output:
        found.append(f"sparse did not run:\n{output}")
    if found:
        raise Found("\n".join(found))


def targets():
    """(label, kernel) of each kernel that the module must build on."""
    for name in (*kernels.STOCK, "mainline"):
        yield name, lambda name=name: kernels.for_modules(name)


# style

def checkpatch():
    """The kernel's style checker on all C files.

    It is given a kernel's tree only to know the names in its headers.
    """
    tree = kbuild.source("6.12")
    left = [path for path in files() if path.suffix in (".c", ".h")]
    groups = []
    for pattern, types, _ in INAPPLICABLE:
        groups.append((types, [path for path in left if path.match(pattern)]))
        left = [path for path in left if not path.match(pattern)]
    command = [tree / "scripts" / "checkpatch.pl", "--strict", f"--root={tree}", "--terse",
               "--no-summary", "--show-types", "-f"]
    # it reads one file after the other, on one processor
    parts = [(types, paths[begin::host.cpus()]) for types, paths in [*groups, ("NONE", left)]
             for begin in range(host.cpus())]
    with tempfile.TemporaryDirectory() as empty, ThreadPoolExecutor(host.cpus()) as pool:
        # where it runs it leaves a file
        said = "".join(pool.map(
            lambda part: output([*command, f"--ignore={part[0]}", *part[1]], cwd=empty),
            (part for part in parts if part[1])))
    if said:
        raise Found(said)


def python():
    """pyflakes and pycodestyle on all Python files."""
    style = ["pycodestyle", "--max-line-length=100", f"--ignore={','.join(UNWANTED)}"]
    report(written_in("python", ".py"), ["pyflakes3"], style)


def shell():
    """shellcheck on all shell scripts."""
    scripts = [path for path in files() if re.match(r"#!.*\b(ba|da)?sh\b", first_line(path))]
    report(scripts, ["shellcheck", "--severity=info"])


# what may be in a file

def licenses():
    """Every file says its license at its head."""
    def silent(path):
        head = path.read_bytes()[:400].decode(errors="replace")
        return "SPDX-License-Identifier: GPL-2.0-only" not in head

    texts = REPO / "LICENSES"
    bad = [str(path.relative_to(REPO)) for path in files()
           if texts not in path.parents and silent(path)]
    if bad:
        raise Found("no `SPDX-License-Identifier: GPL-2.0-only` at the head of:\n"
                    + "\n".join(bad))


def contents():
    """No binaries, nothing that belongs to one machine only."""
    words = machine_words()
    bad = []
    for path in files():
        data = path.read_bytes()
        if b"\0" in data:
            bad.append(f"{path.relative_to(REPO)}: a binary file")
        bad += [f"{path.relative_to(REPO)}: names {why}" for word, why in words
                if word.encode() in data]
    if bad:
        raise Found("\n".join(bad))


def machine_words():
    """(word, what it is) of what no file may contain."""
    hosts = {urlsplit(uri).hostname for source in apt.machine_sources() for uri in source.uris}
    words = [(name, "a package mirror of this machine") for name in hosts - NO_PLACES]
    if len(REPO.parts) > 2 and REPO.parts[1] != "tmp":
        words.append((str(REPO), "the place of this checkout"))
    if not str(CACHE).startswith("/root/"):
        words.append((str(CACHE), "the place of the cache"))
    return words


def checks():
    """(name, call) of all checks."""
    for label, target in targets():
        for ours in MODULES:
            # stock kernels are built without KUnit
            if any(module.sources(ours)) and (ours is not KUNIT or label not in kernels.STOCK):
                yield f"{ours.name}-{label}", lambda t=target, o=ours: build(t(), o)
    for call in (checkpatch, python, shell, licenses, contents):
        yield call.__name__, call


def main(names=()):
    """Run all checks, or those named; the exit status."""
    CACHE.mkdir(parents=True, exist_ok=True)
    chosen = [(name, call) for name, call in checks() if not names or name in names]
    unknown = set(names) - {name for name, _ in chosen}
    if unknown:
        raise LabError(f"no check is called {', '.join(sorted(unknown))}; there are: "
                       + ", ".join(name for name, _ in checks()))
    results = [(name, outcome(name, call)) for name, call in chosen]
    for word in ("NOT DONE", "FAILED"):
        names = [name for name, result in results if result == word]
        if names:
            print(f"lint: {word}: {', '.join(names)}", flush=True)
    return 1 if any(result == "FAILED" for _, result in results) else 0


def outcome(name, call):
    """Run a check, print its line, return its result."""
    began, result, text = time.monotonic(), "ok", ""
    try:
        call()
    except kbuild.Unavailable as error:
        result, text = "NOT DONE", f"\n{error}"
    except (Found, LabError) as found:
        result, text = "FAILED", f"\n{found}"
    print(f"lint: {name:19} {result:8} {time.monotonic() - began:6.1f} s{text}", flush=True)
    return result
