# SPDX-License-Identifier: GPL-2.0-only
"""Lets memory run out in a guest, at each place of ib_iser that needs any.

Owns: failslab and fail_page_alloc of the fault injection framework, which the debug kernel
has, see Documentation/fault-injection in the kernel's source.

Normally: places() finds all calls in the module below which something is allocated, by the
kernel's tracing; so what the RDMA core and its drivers allocate for the module counts, too.
exhausted() lets the nth allocation below one of them fail, once. None of the kernel's own check
of DMA mappings is meant: that gives up without memory.

Recovery: the kernel counts for ever and does not tell, but fails at multiples only. When
nothing failed, as there were fewer allocations, a process that nobody needs allocates until
that happens to it; so the count is always known. The same makes the count begin above 0, as
there is no counting to 1.

The module's load is different, as its code goes away: there the kernel counts for one process
(fail-nth), below do_one_initcall().
"""

import contextlib
import re

KINDS = ("fail_page_alloc", "failslab")
ANY = """
set -e
cd /sys/kernel/debug/{kind}
echo N >ignore-gfp-wait
[ ! -e min-order ] || echo 0 >min-order
[ ! -e ignore-gfp-highmem ] || echo N >ignore-gfp-highmem
echo 1 >verbose
"""
SET_UP = ANY + """
set -- $(grep -A1 ' add_dma_entry$' /proc/kallsyms | cut -d' ' -f1)
echo 0x$1 >reject-start
echo 0x$2 >reject-end
echo 100 >probability
echo {at} >interval
# nobody's yet, nor the shell's
echo Y >task-filter
echo 1 >times
"""
BELOW = """
cd /sys/kernel/debug/{kind}
echo 32 >stacktrace-depth
echo {first} >require-start
echo {last} >require-end
"""
ANYWHERE = """
cd /sys/kernel/debug/{kind}
echo 0 >stacktrace-depth
echo 0 >require-start
echo 0xffffffffffffffff >require-end
"""
ARM = "set -e" + BELOW + """
echo {at} >interval
echo 1 >times
"""
DISARM = """
set -e
cd /sys/kernel/debug/{kind}
left=$(cat times)
echo 0 >times
echo $left
[ $left = 1 ] || exit 0
""" + ANYWHERE + """
echo Y >task-filter
echo 1 >times
(
    echo 1 >/proc/self/make-it-fail
    until [ $(<times) = 0 ]; do ls -R /etc; done
) >&- 2>&- || :
[ $(<times) = 0 ]
echo N >task-filter
"""
INIT = """awk '$3 == "do_one_initcall" { print $1; getline; print $1 }' /proc/kallsyms"""
# Says whether it was loaded, and how far the count is from 0.
LOAD = """python3 - $(modinfo -n ib_iser) <<END
import ctypes, os, sys
finit_module = 313
module = os.open(sys.argv[1], os.O_RDONLY)
count = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
os.write(count, b"{nth}")
failed = ctypes.CDLL(None).syscall(finit_module, module, b"", 0)
print(failed, os.pread(count, 20, 0).decode())
os.write(count, b"0")
END"""
# What allocates, with all who called it.
EVENTS = {"failslab": "kmalloc kmem_cache_alloc", "fail_page_alloc": "mm_page_alloc"}
WATCH = """
set -e
cd /sys/kernel/tracing
echo 100000 >buffer_size_kb
echo >trace
echo 1 >options/stacktrace
echo 1 >options/sym-offset
for event in {events}; do echo 1 >events/kmem/$event/enable; done
"""
# The innermost function of the module in each stack; the kernel's inline ones do not count. Nor
# does what can't be had again: a small allocation needs a page by chance, and so does a socket
# buffer, and the kernel's check of DMA mappings a node of its tree. Nor what failslab does not see:
# an allocation of more than 8192 bytes is pages. Nor what kmemleak has for its own, or an
# interrupt.
PLACES = r"""
set -e
cd /sys/kernel/tracing
echo >set_event
awk '
    function end() { if (place && !chance && !large) print place; place = chance = "" }
    !/^ => / { end() }
    match($0, /bytes_alloc=[0-9]+/) { large = substr($0, RSTART + 12, RLENGTH - 12) + 0 > 8192 }
    /^ => (new_slab|allocate_slab|_*page_frag|stack_depot_save)/ { chance = 1 }
    /^ => (_*create_object|add_dma_entry)/ { chance = 1 }
    /^ => asm_(sysvec|common)/ && !place { chance = 1 }
    /^ => iser_.*\[ib_iser\]/ && !place { place = $2 }
    END { end() }' trace | sort -u
"""
UNWATCH = """
cd /sys/kernel/tracing
echo >set_event
echo 0 >options/stacktrace
echo 1 >buffer_size_kb
"""
SYMBOLS = """awk '$4 == "[ib_iser]" { print $1, $3 }' /proc/kallsyms"""


class Shortage:
    """One of KINDS in one guest."""

    def __init__(self, guest, kind):
        self.guest, self.kind = guest, kind
        self.count = 2          # the kernel's own
        self.times = 0          # that it happened
        self.guest.run(SET_UP.format(kind=kind, at=self.count) + DISARM.format(kind=kind),
                       timeout=120)

    @contextlib.contextmanager
    def exhausted(self, place, nth):
        """Let the nth allocation below that place fail, once."""
        at = self.count + nth
        self.guest.run(ARM.format(kind=self.kind, first=place, last=place + 1, at=at))
        try:
            yield
        finally:
            self.times += self.guest.run(DISARM.format(kind=self.kind),
                                         timeout=120).stdout == "0\n"
        self.count = at


@contextlib.contextmanager
def only_at_load(guest):
    """Count only what the initialization of modules allocates."""
    first, last = guest.run(INIT).stdout.split()
    for kind in KINDS:
        guest.run((ANY + BELOW).format(kind=kind, first=f"0x{first}", last=f"0x{last}"))
    try:
        yield
    finally:
        for kind in KINDS:
            guest.run(ANYWHERE.format(kind=kind))


def load(guest, nth):
    """Load the module, and let the nth allocation that is counted fail.

    Returns whether it was loaded, and whether there were as many.
    """
    failed, left = map(int, guest.run(LOAD.format(nth=nth)).stdout.split())
    return not failed, not left


def places(guest, kind, play):
    """Where the module has something allocated of that kind while a function plays.

    Each time that it plays: what is there only once, for a debugging aid that needed more just
    then, cannot be had again. Returns return addresses by their names, which are as in the kernel's
    traces.
    """
    seen = []
    try:
        for _ in range(2):
            guest.run(WATCH.format(events=EVENTS[kind]), timeout=300)
            play()
            seen.append(set(guest.run(PLACES, timeout=600).stdout.split()))
    finally:
        guest.run(UNWATCH, timeout=300)
    start = {name: int(address, 16) for address, name in
             map(str.split, guest.run(SYMBOLS).stdout.splitlines())}
    return {name: start[name.split("+")[0]] + int(re.split("[+/]", name)[1], 16)
            for name in sorted(set.intersection(*seen))}
