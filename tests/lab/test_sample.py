# SPDX-License-Identifier: GPL-2.0-only
"""Which tests of guests `make check` chooses."""

import os
import re
import subprocess
import sys

import pytest

from iserlab.paths import REPO


def collected(*words):
    """Names of the tests that pytest would run."""
    said = subprocess.run([sys.executable, "-s", "-m", "pytest", "-p", "no:cacheprovider", "-n0",
                           "-q", "--collect-only", *words], cwd=REPO, check=True,
                          capture_output=True, text=True,
                          env=os.environ | {"PYTEST_ADDOPTS": ""}).stdout
    return re.findall(r"::(\S.*)$", said, re.MULTILINE)


@pytest.fixture(name="sample", scope="module")
def fixture_sample():
    """What make check runs of the attacks."""
    return collected("tests/vm/test_hostile.py")


@pytest.mark.parametrize("kernel", ("6.1", "6.12"))
@pytest.mark.parametrize("name", ("test_memory_that_was_not_given[rxe-{}-write after a read]",
                                  "test_memory_that_was_not_given[rxe-{}-write after a read, "
                                  "invalidated]", "test_nothing_is_left_of_all_that[rxe-{}]"))
def test_some_always_run(sample, kernel, name):
    """On each kernel."""
    assert name.format(kernel) in sample


def test_a_sample_is_small(sample):
    """Two kernels: an eighth of all tests on each, at most."""
    assert len(sample) < len(collected("tests/vm/test_hostile.py", "--kernel", "6.12")) / 4


def test_a_sample_on_a_kernel_that_was_named(sample):
    """The same as without its name."""
    chosen = collected("tests/vm/test_hostile.py", "--kernel", "6.12", "--sample")
    assert chosen and sorted(chosen) == sorted(name for name in sample if "-6.12" in name)


def test_a_sample_on_some_kernels():
    """A file may name them; on others all its tests run."""
    chosen = collected("tests/vm/test_login.py")
    on = {kernel: [name for name in chosen if re.search(rf"[-\[]{kernel}[-\]]", name)]
          for kernel in ("6.1", "6.12")}
    assert 0 < len(on["6.1"]) <= len(on["6.12"]) / 2
    assert len(on["6.12"]) == len(collected("tests/vm/test_login.py", "--kernel", "6.12"))
