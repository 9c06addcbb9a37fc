# SPDX-License-Identifier: GPL-2.0-only
"""Finds what a kernel complains about in a guest's console log.

Normally: `find(text)` returns the reports in a piece of log, each with the
lines that follow it. All patterns are here, each with the reason why it
means that something is wrong. Lines that merely look alike are listed as
benign, and reports of bugs in other code as known, each with its reason too;
nothing else is forgiven.
"""

import re

PATTERNS = (
    (r"\bBUG:? ", "oops, KASAN, KFENCE, sleeping in atomic, soft lockup, corrupted slab"),
    (r"\bkernel BUG at ", "a BUG_ON"),
    (r"\bWARNING: ", "a WARN_ON, and lockdep's reports"),
    (r"\bOops: |\bgeneral protection fault", "a bad access in the kernel"),
    (r"\bUnable to handle ", "a bad access in the kernel"),
    (r"\bINFO: task .* blocked (in I/O wait )?for more than", "a hung task"),
    (r"\bINFO: (trying to register non-static key|possible |lockdep )", "lockdep"),
    (r"\bsuspicious RCU usage", "lockdep-RCU"),
    (r"\brcu: .*(stall|starved)", "RCU stall: a CPU did not come round"),
    (r"\bUBSAN: ", "undefined behaviour"),
    (r"\bDMA-API: .*(device driver|out of memory|disabl)",
     "DMA mapping misuse, or its check gave up"),
    (r"\bDMAR: .*[Ff]ault", "a device touched what is not mapped: the IOMMU's own word"),
    (r"\bkmemleak: .*(new suspected memory leak|disabled)", "leaked memory, or no check any more"),
    (r"\brefcount_t: ", "reference counted below or beyond"),
    (r"\bODEBUG: ", "life cycle of a timer, work or kobject"),
    (r"\blist_(add|del) corruption", "a broken list"),
    (r"\bKernel panic ", "the guest ended"),
    (r"\bhard LOCKUP|\bWatchdog detected hard", "a CPU with interrupts off for ever"),
    (r"\bclosing a still-registered|Objects remaining in ", "a cache destroyed while in use"),
    (r"\bsimhca\d+: violation: v_(dma|object)_leak", "a session left something in an adapter"),
)

BENIGN = (
    (r"\btraps: \S+\[\d+\] ", "a program of user space crashed"),
    (r"clocksource: .*[Ww]atchdog", "emulated clocks drift when the host is busy"),
)

# Whole reports of bugs that are not ours to mend, from the first line on, and why that is certain.
KNOWN = (
    (r"(?s)check_flush_dependency.*Workqueue: iscsi_ctrl_\S+ __iscsi_unbind_session",
     "scsi_transport_iscsi removes a target in a workqueue for reclaim, and the SCSI layer waits "
     "for runtime PM there; no code of a transport is involved"),
    (r"(?s)(rxe_task\.c:|KASAN: slab-use-after-free).* rxe_sched_task\+.* rxe_rcv\+",
     "rxe_resp_queue_pkt() queues a packet, with which its reference to the queue pair goes, and "
     "then uses that: whoever destroys one while the other end still sends can hit it"),
    (r"(?s)possible irq lock inversion.* iscsit_handle_time2retain_timeout\+",
     "LIO's timer of a session without connection takes a lock, below which LIO takes others that "
     "it holds elsewhere with timers allowed"),
)

REPORT = re.compile("|".join(pattern for pattern, _ in PATTERNS))
HARMLESS = re.compile("|".join(pattern for pattern, _ in BENIGN))
FOLLOWING = 60
END = re.compile(r"---\[ end |^.{0,40}={60}")


def find(text):
    """The reports in a console log, each as one string of several lines."""
    lines = text.splitlines()
    found, number = [], 0
    while number < len(lines):
        if REPORT.search(lines[number]) and not HARMLESS.search(lines[number]):
            end = _end(lines, number)
            report = "\n".join(lines[number:end])
            known = [match.end() for pattern, _ in KNOWN if (match := re.search(pattern, report))
                     and "\n" not in report[:match.start()]]
            if known:
                # another one may begin before its last line
                number += report.count("\n", 0, min(known)) + 1
            else:
                found.append(report)
                number = end
        else:
            number += 1
    return found


def _end(lines, first):
    """The line after a report's last line."""
    last = min(first + FOLLOWING, len(lines))
    for number in range(first + 2, last):
        if END.search(lines[number]):
            return number + 1
    return last
