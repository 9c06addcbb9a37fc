# SPDX-License-Identifier: GPL-2.0-only
"""The lab keeps what it promises, so that a test of the module can rely on it.

One guest serves most tests; those that end a guest bring their own.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from iserlab import kernels, reports
from iserlab.guest import CommandFailed, Guest, GuestDied, Timeout
from iserlab.link import Link
from iserlab.paths import REPO

BOOT = f"""
import sys, time
sys.path.insert(0, {str(REPO / "tools" / "lab")!r})
from iserlab import kernels
from iserlab.guest import Guest
with Guest(kernels.get("6.1")) as g:
    print(g.process.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module", name="guest")
def _guest(tmp_path_factory):
    with Guest(kernels.get("6.1"), workdir=tmp_path_factory.mktemp("guest")) as guest:
        yield guest


def test_output_and_status_arrive_apart(guest):
    result = guest.run("echo out; echo err >&2; exit 3", check=False)
    assert (result.status, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_failure_names_command_status_and_output(guest):
    with pytest.raises(CommandFailed, match=r"(?s)status 7 .*echo why; exit 7.*why"):
        guest.run("echo why; exit 7")


def test_missing_program_is_a_failure(guest):
    assert guest.run(["/no/such/program"], check=False).status == 127


def test_a_command_that_hangs_is_killed_with_its_children(guest):
    began = time.monotonic()
    with pytest.raises(Timeout, match="(?s)after 1 s, killed: .*started"):
        guest.run("echo started; sleep 299 & sleep 299", timeout=1)
    assert time.monotonic() - began < 15
    assert guest.run("pgrep -fx 'sleep 299'", check=False).status == 1


def test_a_daemon_left_behind_does_not_hold_up_its_starter(guest):
    result = guest.run("setsid sleep 5 & echo done", timeout=4)
    assert result.stdout == "done\n"


def test_commands_run_side_by_side(guest):
    slow = guest.spawn("sleep 2; echo slow")
    assert guest.run("echo quick").stdout == "quick\n"
    assert slow.poll() is None
    assert slow.wait(30).stdout == "slow\n"


def test_a_spawned_command_can_be_killed(guest):
    job = guest.spawn("sleep 300")
    job.kill(signal.SIGTERM)
    assert job.wait(10, check=False).status == -signal.SIGTERM


def test_large_files_go_in_and_out_unchanged(guest, tmp_path):
    data = os.urandom(1 << 20) * 24
    (tmp_path / "in").write_bytes(data)
    guest.put(tmp_path / "in", "/tmp/a/file")
    assert guest.run("sha256sum </tmp/a/file").stdout.split()[0] == \
        hashlib.sha256(data).hexdigest()
    guest.get("/tmp/a/file", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    guest.run("rm -r /tmp/a")


def test_a_file_is_read_and_written(guest):
    guest.write("/tmp/small", "one\ntwo\n")
    guest.write("/tmp/small", "three\n")
    assert guest.read("/tmp/small") == "three\n"
    text = "much\n" * 100000
    guest.write("/tmp/large", text)
    assert guest.read("/tmp/large") == text


def test_a_file_that_is_not_there_is_named(guest):
    with pytest.raises(CommandFailed, match=r"/no/such/file: No such file"):
        guest.read("/no/such/file")
    with pytest.raises(CommandFailed, match=r"to /proc/version\n/proc/version: "):
        guest.write("/proc/version", "2.4")


def test_a_file_that_takes_long_holds_nobody_up(guest):
    guest.run("mkfifo /tmp/fifo")
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(guest.read, "/tmp/fifo")
        assert guest.run("echo quick").stdout == "quick\n"
        assert not slow.done()
        guest.write("/tmp/fifo", "slow\n")
        assert slow.result() == "slow\n"


def test_input_that_nobody_reads_does_no_harm(guest):
    guest.run("true", input=bytes(4 << 20))
    assert guest.run("head -c 3", input="abcdef").stdout == "abc"


def test_root_filesystem_is_complete(guest):
    tools = ("iscsiadm iscsid tgtd tgtadm fio mkfs.ext4 mkfs.xfs sg_inq sg_reset iscsi-test-cu "
             "ibv_devinfo rping ib_write_bw rdma ip ethtool multipath nvme lsscsi parted strace "
             "mount losetup getfattr udevadm ping6").split()
    missing = guest.run(f"for t in {' '.join(tools)}; do type -p $t >/dev/null || echo $t; done")
    assert missing.stdout == ""
    assert guest.run("ls -d /sys/kernel/config/ /sys/kernel/debug/tracing "
                     "/sys/fs /dev/pts/ptmx").status == 0
    assert guest.run("stat -c %U /etc/passwd /bin/mount").stdout.split() == ["root", "root"]
    assert guest.run("find / -xdev -nouser").stdout == ""


def test_a_warning_is_reported_and_only_after_the_mark(guest):
    guest.run("echo '<4>WARNING: CPU: 0 PID: 1 at before' >/dev/kmsg")
    mark = guest.mark()
    assert guest.reports(mark) == []
    guest.run("echo '<4>BUG: KASAN: slab-use-after-free in test' >/dev/kmsg")
    assert "KASAN" in guest.reports(mark)[0]
    assert "before" in guest.reports()[0]


def test_the_cable_can_be_pulled(guest):
    guest.run("ip link set eth0 up")
    guest.link("eth0", False)
    guest.run("until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do sleep 0.1; done")
    guest.link("eth0", True)
    guest.run("until [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do sleep 0.1; done")


def test_soft_rdma_loads(guest):
    mark = guest.mark()
    guest.run("ip link set eth0 mtu 4200 up; ip addr add 10.0.0.1/24 dev eth0; "
              "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0")
    assert "rxe0" in guest.run("rdma link show").stdout
    assert guest.reports(mark) == []


def test_two_guests_on_a_link(tmp_path):
    link, kernel = Link(), kernels.get("6.1")
    with Guest(kernel, "left", smp=1, mem_mb=512, nets=[link], workdir=tmp_path) as left, \
            Guest(kernel, "right", smp=1, mem_mb=512, nets=[link], workdir=tmp_path) as right:
        for guest, address in ((left, "10.0.0.1"), (right, "10.0.0.2")):
            guest.run(f"ip link set eth0 mtu 4200 up; ip addr add {address}/24 dev eth0")
        ping = "ping -M do -s 4172 -c 3 -i 0.2 -W 5 10.0.0.2"
        left.run(ping)
        right.powercut()
        assert left.run(ping.replace("-W 5", "-W 1"), check=False).status == 1
        # more than any queue on the way holds: the peer must not stall
        left.run("ip neigh replace 10.0.0.2 lladdr 52:54:00:00:01:00 dev eth0; "
                 "ping -f -s 4000 -c 2000 -W 1 10.0.0.2 || true", timeout=60)
        right.start()
        right.run("ip link set eth0 mtu 4200 up; ip addr add 10.0.0.2/24 dev eth0")
        left.run(ping)


def test_a_panic_ends_what_waits(tmp_path):
    with Guest(kernels.get("6.1"), smp=1, mem_mb=512, workdir=tmp_path) as guest:
        job = guest.spawn("sleep 100")
        began = time.monotonic()
        with pytest.raises(GuestDied, match="kernel panicked"):
            guest.run("echo c >/proc/sysrq-trigger; sleep 60", timeout=50)
        assert time.monotonic() - began < 20
        assert guest.panicked and guest.reports()
        with pytest.raises(GuestDied):
            job.wait()
        with pytest.raises(GuestDied):
            guest.run("true")


def test_no_guest_outlives_a_killed_lab():
    with subprocess.Popen([sys.executable, "-c", BOOT], stdout=subprocess.PIPE) as lab:
        pid = int(lab.stdout.readline())
        assert os.path.exists(f"/proc/{pid}")
        lab.kill()
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _runs(pid)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as handle:
            return handle.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


BOOT_LOG = """
[    0.1] rcu: Hierarchical RCU implementation.
[    0.2] DMA-API: preallocated 65536 debug entries
[    0.2] DMA-API: debugging enabled by kernel config
[    0.3] kmemleak: Kernel memory leak detector initialized (mem pool available: 31000)
[    0.4] clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable
[    0.5] rcu: RCU debug extended QS entry/exit.
[    0.6] PCI: if necessary, use "pci=nocrs" and report a bug
"""


def test_an_ordinary_boot_log_has_no_reports():
    assert reports.find(BOOT_LOG) == []


@pytest.mark.parametrize("line", [
    "BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "BUG: KFENCE: use-after-free read in foo",
    "BUG kmalloc-64 (Tainted: G    B     O      ): Poison overwritten",
    "kernel BUG at lib/list_debug.c:29!",
    "WARNING: CPU: 1 PID: 77 at drivers/foo.c:1 foo+0x1/0x2 [ib_iser]",
    "WARNING: possible circular locking dependency detected",
    "WARNING: drivers/foo.c:1 at foo+0x1/0x2 [ib_iser], CPU#1: iscsid/77",
    "Oops: 0000 [#1] PREEMPT SMP KASAN NOPTI",
    "INFO: task iscsid:77 blocked for more than 120 seconds.",
    "INFO: task iscsid:77 blocked in I/O wait for more than 120 seconds.",
    "rcu: INFO: rcu_preempt self-detected stall on CPU",
    "INFO: trying to register non-static key.",
    "UBSAN: array-index-out-of-bounds in foo.c:1:2",
    "DMA-API: rxe 0000:00: device driver frees DMA memory with different size",
    "DMA-API: cacheline tracking ENOMEM, dma-debug disabled",
    "DMA-API: debugging out of memory - disabling",
    "DMAR: [DMA Write NO_PASID] Request device [00:10.0] fault addr 0xffff0000",
    "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "refcount_t: underflow; use-after-free.",
    "general protection fault, probably for non-canonical address: 0000 [#1]",
    "Kernel panic - not syncing: Fatal exception",
    "list_del corruption. next->prev should be",
    "simhca0: violation: v_object_leak: 1 MRs are left",
])
def test_reports_are_recognised(line):
    assert len(reports.find(f"[   12.3] {line}\n[   12.4] Call Trace:\n")) == 1


@pytest.mark.parametrize("caller, found", (("rxe_rcv", 0), ("iser_teardown", 1)))
def test_a_bug_of_others_is_known_by_its_stack(caller, found):
    lines = ("BUG: KASAN: slab-use-after-free in __lock_acquire+0x4288/0x63d0", "Call Trace:",
             " rxe_sched_task+0x8c/0xf0 [rdma_rxe]", f" {caller}+0x7ef/0x1760 [rdma_rxe]")
    assert len(reports.find("".join(f"[   12.3] {line}\n" for line in lines))) == found


def test_a_report_behind_that_of_a_bug_of_others():
    lines = ("WARNING: CPU: 0 PID: 1 at drivers/infiniband/sw/rxe/rxe_task.c:1", "Call Trace:",
             " rxe_sched_task+0x8c/0xf0", " rxe_rcv+0x7ef/0x1760", " process_backlog+0x1/0x2",
             "WARNING: foo.c:1 at iser_foo+0x1")
    (report,) = reports.find("".join(f"[   12.3] {line}\n" for line in lines))
    assert "iser_foo" in report


def test_a_report_in_front_of_that_of_a_bug_of_others():
    lines = ("kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
             "WARNING: CPU: 0 PID: 1 at drivers/infiniband/sw/rxe/rxe_task.c:1", "Call Trace:",
             " rxe_sched_task+0x8c/0xf0", " rxe_rcv+0x7ef/0x1760")
    (report,) = reports.find("".join(f"[   12.3] {line}\n" for line in lines))
    assert "kmemleak" in report
