# SPDX-License-Identifier: GPL-2.0-only
"""A guest: a virtual machine that runs one kernel and does what it is told.

Normally:

    with Guest(kernels.get("6.1")) as g:
        print(g.run("uname -a").stdout)

start() boots it and waits for the agent inside (tools/lab/guest/agent.py);
run() and spawn() run commands there; put(), get(), write() and read() move
files. What the kernel says goes to a console log in the work directory.
The disks are thrown away at the end.

Recovery: whatever happens to this process, qemu ends with it (qemu.py). If
the guest dies, whoever waits for it gets GuestDied at once, with the end of
the console log. A command that does not end in time is killed in the guest
with all its children, and Timeout is raised.
"""

import atexit
import json
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

from . import boot, host, qemu, reports, rootfs
from .fabric import MTU
from .paths import CACHE, LabError

HEAD = struct.Struct(">IcI")
WINDOW = 256 * 1024     # input on its way to a command
CHUNK = 65536
TAIL = 25
BOOTS = 3
KMEMLEAK = "/sys/kernel/debug/kmemleak"
HALF_PATCHED = "Oops: int3"

CMDLINE = (
    "console=ttyS0", "loglevel=7", "net.ifnames=0",
    # end the guest (qemu is told not to reboot), so a panic is noticed at once
    "panic=-1",
    # under emulation these cost seconds of each boot
    "mitigations=off", "cryptomgr.notests",
    # and this has the same program translated anew for each process
    "norandmaps",
    # all emulated CPUs read the same clock
    "tsc=reliable",
    # the check panics if no timer interrupt comes in time, as on a busy host
    "no_timer_check",
    # the host may be busy; only a stall of a minute says something
    "rcupdate.rcu_cpu_stall_timeout=60", "watchdog_thresh=30",
)

_running = weakref.WeakSet()
# called with each guest that still answers before it is ended, even by a power cut;
# coverage.py takes out of it what would be lost
before_end = []


class GuestDied(LabError):
    """The guest ended although nobody asked it to."""


class CommandFailed(LabError):
    """A command in a guest ended with a status other than 0."""

    def __init__(self, command, result):
        self.command, self.result = command, result
        said = "\n".join((result.stdout + result.stderr).splitlines()[-TAIL:])
        super().__init__(f"status {result.status} after {result.seconds:.1f} s "
                         f"from: {command}\n{said}")


class Timeout(LabError):
    """A command in a guest did not end in time."""


@dataclass
class Result:
    """What a command did."""
    status: int
    output: bytes
    errors: bytes
    seconds: float

    @property
    def stdout(self):
        """Standard output as text."""
        return self.output.decode(errors="replace")

    @property
    def stderr(self):
        """Standard error as text."""
        return self.errors.decode(errors="replace")


class Job:
    """A command that runs in a guest."""

    def __init__(self, guest, number, command):
        self.guest, self.number, self.command = guest, number, command
        self.output, self.errors = bytearray(), bytearray()
        self.status = None
        self.credit = WINDOW
        self.began = time.monotonic()
        self.seconds = None

    @property
    def stdout(self):
        """What it wrote so far."""
        return bytes(self.output).decode(errors="replace")

    @property
    def stderr(self):
        """What it wrote to standard error so far."""
        return bytes(self.errors).decode(errors="replace")

    def poll(self):
        """Its status, or None while it runs."""
        return self.status

    def kill(self, number=signal.SIGKILL):
        """Signal it and its children."""
        if self.status is None:
            self.guest.send(self.number, b"K", str(int(number)).encode())

    def wait(self, timeout=60, check=True):
        """Wait for its end and return the Result.

        @timeout: seconds that are more than enough for it on a stock kernel
        """
        timeout *= self.guest.kernel.patience
        if not self._ended(timeout):
            self.kill()
            dead = self._ended(10)
            raise Timeout(f"{self.guest.name}: no end after {timeout} s, "
                          f"{'killed' if dead else 'and it cannot be killed'}: {self.command}\n"
                          + "\n".join((self.stdout + self.stderr).splitlines()[-TAIL:]))
        result = Result(self.status, bytes(self.output), bytes(self.errors), self.seconds)
        if check and self.status:
            raise CommandFailed(self.command, result)
        return result

    def _ended(self, timeout):
        with self.guest.changed:
            self.guest.changed.wait_for(
                lambda: self.status is not None or self.guest.dead, timeout)
            if self.status is None and self.guest.dead:
                raise self.guest.obituary(f"during: {self.command}")
            return self.status is not None

    def feed(self, source):
        """Pass input on as fast as the command takes it."""
        while self.status is None:
            data = source.read(CHUNK)
            with self.guest.changed:
                self.guest.changed.wait_for(
                    lambda: self.credit > 0 or self.status is not None or self.guest.dead)
                if self.status is not None or self.guest.dead:
                    return
                self.credit -= len(data)
            self.guest.send(self.number, b"I", data)
            if not data:
                return


class Guest:
    """One virtual machine.

    @kernel: a kernels.Kernel
    @nets: network cards, eth0 first: a Link to another guest, or None for
           one that is plugged into nothing
    @icount: virtual time counts instructions, repeatable; there are two processors, as on any
             machine, but one runs
    @devices: more of them, as qemu wants them on its command line
    @workdir: where the console log goes; temporary if not given
    """

    def __init__(self, kernel, name="guest", smp=2, mem_mb=2048, icount=False, nets=(None,),
                 devices=(), extra_cmdline="", workdir=None, boot_timeout=180, shell=False):
        self.kernel, self.name, self.nets, self.devices = kernel, name, list(nets), devices
        self.smp, self.mem_mb, self.icount = (2 if icount else smp), mem_mb, icount
        self.extra_cmdline, self.shell = extra_cmdline, shell
        self.boot_timeout = boot_timeout * kernel.patience
        self._own_workdir = None if workdir else _temporary(name)
        self.workdir = Path(workdir or self._own_workdir.name)
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.console_log = self.workdir / f"{name}.console"
        self.changed = threading.Condition()
        self.process = None
        self.dead = True
        self.jobs = {}
        self._marks = 0

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    # life

    def start(self):
        """Boot, and return when commands can be run.

        A kernel patches itself while it boots. Emulated, a processor now and then sees
        half of that, which no real one does: then once more.
        """
        if self.running:
            raise LabError(f"{self.name} runs already")
        for left in reversed(range(BOOTS)):
            began = self.console_log.stat().st_size if self.console_log.exists() else 0
            try:
                return self._boot()
            except GuestDied:
                if not left or HALF_PATCHED not in self.console(began):
                    raise
                self.kill()
                os.truncate(self.console_log, began)

    def _boot(self):
        """Start qemu and wait for the agent."""
        self.jobs, self._next, self.dead, self._hello = {}, 1, False, False
        agent, agent_fd = qemu.channel()
        monitor, monitor_fd = qemu.channel()
        wires = [net.plug(self) for net in self.nets if net is not None]
        inherited = [agent_fd, monitor_fd, *wires]
        for wire in wires:
            wire.set_inheritable(True)
        initrd = self.workdir / f"{self.name}.initrd"
        initrd.write_bytes(boot.initramfs(self.kernel))
        with open(self.workdir / f"{self.name}.qemu", "wb") as errors:
            self.process = qemu.start(
                self._argv(initrd, agent_fd.fileno(), monitor_fd.fileno()),
                pass_fds=[sock.fileno() for sock in inherited],
                env=host.environment(TMPDIR=str(self.workdir)),
                stdin=None if self.shell else subprocess.DEVNULL,
                stdout=None if self.shell else errors, stderr=errors)
        _running.add(self)
        agent_fd.close()
        monitor_fd.close()
        self._agent, self._send_lock = agent, threading.Lock()
        threading.Thread(target=self._receive, args=(agent,), daemon=True).start()
        self.qmp = qemu.Qmp(monitor)
        try:
            self.qmp.greet()
        except (LabError, OSError) as error:
            raise self.obituary("at its start") from error
        with self.changed:
            self.changed.wait_for(lambda: self._hello or self.dead, self.boot_timeout)
            if self.dead:
                raise self.obituary("while it booted")
            if not self._hello:
                raise LabError(f"{self.name}: no agent after {self.boot_timeout} s\n"
                               + self.tail())
        return self

    @property
    def running(self):
        """Whether there is a qemu."""
        return self.process is not None and self.process.poll() is None

    @property
    def panicked(self):
        """Whether its kernel panicked."""
        return "Kernel panic" in self.console()

    def stop(self):
        """End it. Nothing inside is asked; the disks are thrown away."""
        self.kill()
        if self._own_workdir:
            self._own_workdir.cleanup()
            self._own_workdir = None

    def kill(self):
        """End it at once, as a power failure does."""
        if self.process is None:
            return
        try:
            for call in before_end if self._hello and not self.dead else ():
                call(self)
        finally:
            self.process.kill()
            self.process.wait()
            _running.discard(self)
            with self.changed:
                self.dead = True
                self.changed.notify_all()

    powercut = kill

    def obituary(self, when):
        """The exception for a guest that ended."""
        why = "its kernel panicked" if self.panicked else "it ended"
        said = (self.workdir / f"{self.name}.qemu").read_text(errors="replace").strip()
        return GuestDied(f"{self.name}: {why} {when}\n{said}\n{self.tail()}".strip())

    def _argv(self, initrd, agent, monitor):
        """The command line of qemu."""
        accel = qemu.TCG_ICOUNT if self.icount else qemu.accelerator(self.kernel, initrd)
        argv = [*accel, *qemu.machine(self.smp, self.mem_mb), *self.devices,
                "-kernel", self.kernel.image, "-initrd", initrd, "-append", self._cmdline(),
                "-chardev", f"file,id=console,path={self.console_log},append=on",
                "-serial", "chardev:console",
                "-chardev", f"socket,id=monitor,fd={monitor}",
                "-mon", "chardev=monitor,mode=control",
                "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
                "-chardev", f"socket,id=agent,fd={agent}",
                "-device", "virtserialport,chardev=agent,name=iserlab.agent"]
        if self.shell:
            argv += ["-chardev", "stdio,id=shell,signal=off", "-device",
                     "virtconsole,chardev=shell"]
        for serial, image in (("root", rootfs.get()), ("modules", self.kernel.disk)):
            argv += ["-drive", f"if=none,id={serial},file={image},format=raw,snapshot=on",
                     "-device", f"virtio-blk-pci,drive={serial},serial={serial}"]
        for number, net in enumerate(self.nets):
            argv += self._card(number, net)
        return argv

    def _card(self, number, net):
        """One network card; its address tells guests of a link apart."""
        side = 0
        back = f"hubport,hubid={number},id=net{number}"
        sink = []
        if net is None:
            # A hub with nobody else on it takes no packets, and the card would hang.
            sink = ["-netdev", f"hubport,hubid={number},id=sink{number}"]
        else:
            wire = net.plug(self)
            side = net.sockets.index(wire)
            back = f"dgram,id=net{number},local.type=fd,local.str={wire.fileno()}"
        # receives into pages of its own, not those of a pool
        plain = f"mrg_rxbuf=off,host_mtu={MTU}," if self.kernel.page_pools else ""
        return [*sink, "-netdev", back, "-device",
                f"virtio-net-pci,id=nic{number},netdev=net{number},romfile=,{plain}"
                f"mac=52:54:00:00:{side:02x}:{number:02x}"]

    def _cmdline(self):
        words = [*CMDLINE, f"lab.name={self.name}", self.extra_cmdline]
        if self.icount:
            words.append("maxcpus=1")
        if self.shell:
            words.append("lab.shell")
        return " ".join(words)

    # commands

    def run(self, cmd, timeout=60, check=True, input=None, **request):
        """Run a command and return its Result.

        @cmd: a shell command, or a list of words
        @input: str, bytes or a binary file
        @request: cwd= and env= for the command
        """
        return self.spawn(cmd, input=input, **request).wait(timeout, check)

    def spawn(self, cmd, input=None, **request):
        """Start a command and return its Job."""
        argv = ["/bin/bash", "-o", "pipefail", "-c", cmd] if isinstance(cmd, str) else \
            [str(word) for word in cmd]
        job = self._request(cmd, argv=argv, **request)
        if input is None:
            self.send(job.number, b"I")
        else:
            source = input if hasattr(input, "read") else _source(input)
            threading.Thread(target=job.feed, args=(source,), daemon=True).start()
        return job

    def _request(self, command, **request):
        with self.changed:
            if self.dead:
                raise self.obituary(f"before: {command}")
            number, self._next = self._next, self._next + 1
            job = self.jobs[number] = Job(self, number, command)
        self.send(number, b"X", json.dumps(request).encode())
        return job

    def send(self, number, kind, data=b""):
        """Send one frame to the agent."""
        try:
            with self._send_lock:
                self._agent.sendall(HEAD.pack(number, kind, len(data)) + data)
        except OSError:
            pass        # the guest is gone; the reader notices

    def _receive(self, agent):
        """Take frames from the agent until qemu is gone."""
        stream = agent.makefile("rb", buffering=1 << 20)
        try:
            while len(head := stream.read(HEAD.size)) == HEAD.size:
                number, kind, length = HEAD.unpack(head)
                self._handle(number, kind, stream.read(length))
        except OSError:
            pass
        with self.changed:
            if agent is self._agent:
                self.dead = True
            self.changed.notify_all()

    def _handle(self, number, kind, data):
        """Handle one frame from the agent."""
        with self.changed:
            job = self.jobs.get(number)
            if kind == b"H":
                self._hello = True
            elif kind == b"O":
                job.output += data
            elif kind == b"E":
                job.errors += data
            elif kind == b"A":
                job.credit += int.from_bytes(data, "big")
            elif kind == b"S":
                job.seconds = time.monotonic() - job.began
                job.status = json.loads(data)["status"]
                del self.jobs[number]
            self.changed.notify_all()

    # files

    def put(self, src, dst, timeout=120):
        """Copy a file of the host into the guest, with its mode."""
        src = Path(src)
        with open(src, "rb") as handle:
            self.run(f"mkdir -p $(dirname {shlex.quote(str(dst))}) && cat >{shlex.quote(str(dst))} "
                     f"&& chmod {src.stat().st_mode & 0o777:o} {shlex.quote(str(dst))}",
                     timeout, input=handle)

    def get(self, src, dst, timeout=120):
        """Copy a file of the guest to the host."""
        Path(dst).write_bytes(self.run(["cat", src], timeout).output)

    def write(self, path, text, timeout=60):
        """Write a file in the guest; one write(2), as sysfs and configfs want."""
        self._request(f"write {text!r} to {path}", file=str(path), text=text).wait(timeout)

    def read(self, path):
        """Read a file in the guest."""
        return self._request(f"read {path}", file=str(path)).wait().stdout

    # what its kernel said

    def console(self, since=0):
        """The console log, from an offset that mark() gave."""
        if not self.console_log.exists():
            return ""
        with open(self.console_log, "rb") as handle:
            handle.seek(since)
            return handle.read().decode(errors="replace")

    def said(self, since):
        """All that the console log has up to now: for what must not be in it."""
        self.mark("is there more")
        return self.console(since)

    def tail(self, lines=TAIL):
        """The console's last lines."""
        return "\n".join(self.console().splitlines()[-lines:])

    def mark(self, text="mark"):
        """A place in the console log, for reports(). Also a line in it."""
        self._marks += 1
        line = f"lab: {text} #{self._marks}"
        before = self.logged()
        try:
            self.write("/dev/kmsg", f"<6>{line}\n", timeout=20)
        except LabError:
            pass        # the guest is gone or stuck: its log still is what it is
        else:
            deadline = time.monotonic() + 10
            while line not in self.console(before) and time.monotonic() < deadline:
                time.sleep(0.02)
        return self.logged()

    def logged(self):
        """How long the console log is, with what a guest of this name wrote before."""
        return self.console_log.stat().st_size if self.console_log.exists() else 0

    def reports(self, since=0):
        """What the kernel complained about since a mark."""
        return reports.find(self.said(since))

    def blind(self):
        """Whether its kernel has given up checking locks, as it does after most reports.

        KASAN reports only once, too.
        """
        return self.kernel.checks and not re.search(r"debug_locks: *1$",
                                                    self.read("/proc/lockdep_stats"), re.MULTILINE)

    def forget_leaks(self):
        """What was leaked up to now is not looked for by leaks()."""
        if self.kernel.checks:
            self.write(KMEMLEAK, "clear", timeout=120)

    def leaks(self):
        """What kmemleak finds, on a kernel that has it."""
        if not self.kernel.checks:
            return ""
        # what is younger than 5 seconds is not looked at, and once is not enough
        self.look_for_leaks()
        time.sleep(6)
        self.look_for_leaks()
        return self.read(KMEMLEAK).strip()

    def look_for_leaks(self):
        """Let kmemleak look once; of what it finds twice, the log has a report."""
        if self.kernel.checks:
            self.write(KMEMLEAK, "scan", timeout=200)

    # faults

    def link(self, nic, up):
        """Plug or unplug a network card's cable: link("eth0", False)."""
        self.qmp("set_link", name=f"nic{int(nic.removeprefix('eth'))}", up=up)


def _source(data):
    """A str or bytes as something to read from."""
    import io
    return io.BytesIO(data.encode() if isinstance(data, str) else data)


def _temporary(name):
    """A work directory that goes with its guest, or when its lab was killed."""
    base = CACHE / "guests"
    base.mkdir(parents=True, exist_ok=True)
    for path in base.iterdir():
        if not Path("/proc", path.name.split("-")[0]).exists():
            shutil.rmtree(path, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-{name}-", dir=base)


@atexit.register
def _end_all():
    for guest in list(_running):
        guest.kill()
