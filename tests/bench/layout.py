# SPDX-License-Identifier: GPL-2.0-only
"""Which cache lines an I/O touches of the module's own structures: `make bench-layout`.

An instruction counter does not see what waits for memory; this is what there is to be looked at
instead. pahole reads the layout from a module that was just built, and HOT says which fields a
plain command and its response touch.

Recovery: a field that is not there any more is an error, so that the list can't grow old unnoticed.
"""

import re
import sys
from collections import defaultdict

import bench
from iserlab import host, kernels, module
from iserlab.paths import LabError

LINE = 64
# lines are counted from where a structure begins, which need not be where one of memory does
HOT = {
    "iser_conn": "state device limits qp sq_avail signal_every unsignalled chain chain_last "
                 "chained tx_ring nr_tx tx_next tx_sent tx_acked plain_cqe gen_key gen_bits "
                 "nr_gens slots mr_free iscsi nr_slots rx_done nr_rx_done rx_posted discovery "
                 "released",
    "iser_slot": "headers send sge next_chained gen posted",
    "iser_task": "conn mr mapped rkey_live inv_posted plan",
    "iser_mr": "mr reg inv task free",
}
FIELD = re.compile(r"(\w+)(?:\[\d+\])?(?: __attribute__.*)?; +/\* +(\d+) +(\d+) \*/")


def fields(pahole):
    """{field: (offset, size)} out of what pahole says about one structure."""
    return {name: (int(offset), int(size)) for name, offset, size in FIELD.findall(pahole)}


def lines(layout, hot):
    """{cache line: [fields that begin in it or reach into it]}."""
    found = defaultdict(list)
    for name in hot:
        if name not in layout:
            raise LabError(f"there is no field {name} any more")
        offset, size = layout[name]
        for line in range(offset // LINE, (offset + size - 1) // LINE + 1):
            found[line].append(name)
    return dict(sorted(found.items()))


def main():
    """Print it."""
    built = module.build(kernels.get("6.12"))
    for name, hot in HOT.items():
        said = host.run("pahole", "-C", name, built)
        found = lines(fields(said), hot.split())
        of = re.search(r"size: (\d+), cachelines: (\d+)", said)
        print(f"\nstruct {name}: {len(found)} of {of[2]} cache lines, {of[1]} bytes\n")
        for line, names in found.items():
            print(f"  {line:2}  {' '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(bench.status(main))
