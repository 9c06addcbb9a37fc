# SPDX-License-Identifier: GPL-2.0-only
"""`make fuzz-wire`: the pure functions of <iser/wire.h> against random input.

Normally: tests/fuzz/wire.c is built in user space with libFuzzer, ASan and
UBSan, and runs a number of inputs that begins with a seed. The same seed
gives the same inputs. What was seen is printed with how often; everything
that wire.c counts must have been seen.

Recovery: the input at which something did not hold is kept in build/fuzz,
and the output says how to run it again.
"""

import re
import subprocess
from pathlib import Path

from . import host, kernels
from .paths import CACHE, REPO, LabError, cached, digest

FUZZ = REPO / "tests" / "fuzz"
OPCODES = REPO / "tests" / "kunit" / "opcodes.h"
HEADER = REPO / "include" / "iser" / "wire.h"
OUT = REPO / "build" / "fuzz"
RUNS, SEED = 200_000, 1
LONGEST = 4096      # octets of an input
SECONDS = 600
COMPILE = ("clang", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
           # as the kernel has it
           "-Wno-sign-compare", "-fno-strict-aliasing",
           "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
# What the first two do depends on addresses, which differ from run to run. The third runs
# an input once more if it seems to have leaked memory; nothing here allocates any.
REPEATABLE = ("-entropic=0", "-use_cmp=0", "-detect_leaks=0")


def kernel_headers():
    """Where the kernel's own iSCSI headers are."""
    base = kernels.get("6.12").kdir.parent
    found = list(base.glob("linux-headers-*/include/scsi/iscsi_proto.h"))
    if len(found) != 1:
        raise LabError(f"expected one scsi/iscsi_proto.h below {base}")
    return found[0].parents[1]


def build(header=HEADER):
    """The fuzzer of a header; returns the program."""
    headers = kernel_headers()
    key = digest(" ".join(COMPILE), str(headers), header, OPCODES,
                 *sorted(path for path in FUZZ.rglob("*.[ch]")))

    def make(tmp):
        # shims come before the kernel's headers, and these after the C library's
        host.run(*COMPILE, "-include", header, f"-I{FUZZ / 'shim'}", f"-I{REPO / 'include'}",
                 "-idirafter", headers, FUZZ / "wire.c", "-o", tmp, what="building the fuzzer")

    return cached(CACHE / "fuzz" / f"wire-{key}", make, 7)


def run(program, words, directory=OUT):
    """Run it: (whether all is well, all that it said)."""
    directory.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run([program, *words, f"-artifact_prefix={directory}/wire-"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=SECONDS, check=False, cwd=directory,
                              env=host.environment())
    except subprocess.TimeoutExpired as error:
        raise LabError(f"the fuzzer did not end in {SECONDS} s") from error
    return done.returncode == 0, done.stdout


def fuzz(program, runs=RUNS, seed=SEED, directory=OUT):
    """The same with inputs made from a seed."""
    return run(program, [f"-seed={seed}", f"-runs={runs}", f"-max_len={LONGEST}",
                         *REPEATABLE], directory)


def outcomes(text):
    """What was seen -> how often."""
    return {name: int(count) for count, name in re.findall(r"^ *(\d+)  (\S.*)$", text, re.M)}


def trouble(text):
    """What it said, without its progress."""
    return "\n".join(line for line in text.splitlines()
                     if not re.match(r"#\d|\s*NEW_FUNC|INFO:| *\d+  ", line))


def kept(text):
    """The file in which libFuzzer kept an input, or None."""
    found = re.search(r"Test unit written to (.*)$", text, re.M)
    return found and Path(found[1])


def main(runs, seed, file):
    """Fuzz, or run one kept input; the exit status."""
    program = build()
    print(f"fuzz: {program}")
    if file:
        well, said = run(program, [Path(file).resolve()])
        print(said)
        return 0 if well else 1
    well, said = fuzz(program, runs, seed)
    seen = outcomes(said)
    print("\n".join(f"fuzz: {count:9}  {name}" for name, count in seen.items()))
    if not well:
        print(trouble(said))
        if kept(said):
            path = kept(said).relative_to(REPO)
            print(f"fuzz: the input is {path}; to run it again: make fuzz-wire INPUT={path}")
    never = [name for name, count in seen.items() if not count]
    if well and (never or not seen):
        print(f"fuzz: never seen, so nothing was shown: {', '.join(never) or 'anything'}")
    good = well and seen and not never
    print(f"fuzz: wire.h: {'ok' if good else 'FAILED'}, {runs} inputs, seed {seed}")
    return 0 if good else 1
