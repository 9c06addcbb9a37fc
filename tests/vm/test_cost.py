# SPDX-License-Identifier: GPL-2.0-only
"""What an I/O costs has not gone up: instructions and work requests, see tests/bench/guard.py.

Normally: a guest of its own, whose clock counts instructions.
Recovery: a failure says what costs more; `make bench BENCH="--device simhca"` shows where.
"""

import sys

from iserlab.paths import REPO

sys.path.insert(0, str(REPO / "tests" / "bench"))

import guard  # noqa: E402  pylint: disable=wrong-import-position

KERNELS = ("6.12",)     # both with --all
CAPABLE = guard.KERNELS


def test_an_io_costs_what_it_did(rig, tell):
    """No workload costs more than was recorded, nor is the module's own share of it larger."""
    found = guard.measure(rig.kernel, workdir=rig.logs)
    for workload, figures in found.items():
        tell(f"cost on {rig.kernel.name}: {workload}: instructions: "
             f"{figures['kernel_insns_per_io']:.0f} in the kernel, "
             f"{figures['module_insns_per_io']:.0f} of them the module's")
    release, record = guard.recorded(rig.kernel.name)
    lines = guard.worse(found, record, rig.kernel.release, release)
    assert not lines, "\n".join(lines)
