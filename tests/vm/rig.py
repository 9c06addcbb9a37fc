# SPDX-License-Identifier: GPL-2.0-only
"""What the tests stand on: guests that are booted once and shared by many tests.

Owns: Host, a guest that is target and initiator at once (the quickest topology), Pair,
two guests with a cable between them, Sim, one with a simulated adapter, Iommu, where that
is behind an IOMMU, and Rig, which keeps one of each per kernel and process (pytest-xdist's;
the tests of one file on one kernel are run by the same).

Normally: a guest boots when the first test wants it. The standing LUN, logged in with
default settings, is shared by all tests that do not ask for anything else. A test that
does gets a host with nothing on it and may leave it as it likes: it is cleared after.

Recovery: a test that fails has its guests cleared, and a guest that cannot be cleared, or
does not answer, or whose kernel has given up its checks, is switched off; the next test
boots another one. So one wedged guest costs one test. Logs of all guests since their boot
stay in the results directory.
"""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from iserlab import fabric, module, simhca
from iserlab.guest import Guest
from iserlab.hostile import Hostile
from iserlab.initiator import Initiator, Session, source_version
from iserlab.link import Link
from iserlab.paths import REPO, LabError
from iserlab.target import Disk, Lio, Portal, Target
from iserlab.tgt import Tgt

RESULTS = Path(os.environ.get("RESULTS") or REPO / "results")
SHOWN = 60
IQN = "iqn.2026-01.lab.iser:target"
PROVISIONED = (("emulate_tpu", 1), ("emulate_tpws", 1))
TCP_PORT = 3262

BOOT = 200      # seconds
# Seconds for what goes in the background: LIO waits 15 for a login, and the CM of a target 70
# until it believes that nobody wants its answer.
SETTLE = 100

# Tests that expect a refusal should not wait for its repetition.
PATIENCE = {
    "discovery__sendtargets__reopen_max": 1,
    "node__session__initial_login_retry_max": 1,
    "node__conn[0]__timeo__login_timeout": 8,
}
# of buffers, see direct.py: with all lengths
LAYOUTS = tuple(f"{length}:{layout}"
                for layout in ("page+4", "page+512", "page+4092", "gaps", "pieces")
                for length in (512, 4096, 8192, 12800, 64 << 10, 256 << 10, 512 << 10))
# Nobody sends anything that was not asked for.
NO_PINGS = {"node.conn[0].timeo.noop_out_interval": 0, "node.conn[0].timeo.noop_out_timeout": 0}


def haste(kernel):
    """Recovery need not be gentle to the target."""
    return PATIENCE | {"node__session__iscsi__DefaultTime2Wait": 0,
                       "node__conn[0]__timeo__login_timeout": 2 + 2 * kernel.patience}


@dataclass
class Lun:
    """A LUN as both sides see it: device at the initiator, store at the target."""
    host: object
    session: Session
    device: str
    store: str
    server: object

    def run(self, command, **kwargs):
        """Run a command that has DEVICE and STORE in its environment."""
        env = {"DEVICE": self.device, "STORE": self.store}
        return self.host.guest.run(command, env=env, **kwargs)


class Host:
    """A guest that is target and initiator at once."""

    def __init__(self, kernel, stock, logs):
        self.guest = Guest(kernel, name="host", workdir=logs, boot_timeout=BOOT)
        self.stock = stock
        self.module = module.IB_ISER
        self.built = self.port = self.initiator = self.tcp = None
        self.target, self.tgt = Lio(self.guest), Tgt(self.guest)
        self.standing = None
        self.clean, self.started = True, False

    def start(self):
        """Boot, and get everything ready for a login."""
        self.guest.start()
        self.built, self.port = prepare(self.guest, self.stock)
        self.initiator, self.tcp = Initiator(self.guest), Initiator(self.guest, "default")
        self.initiator.load()
        self.initiator.start(**PATIENCE)
        self.started = True

    def guests(self):
        """The guests of this topology."""
        return [self.guest]

    @property
    def portal(self):
        """The portal that tests use when it does not matter."""
        return Portal(self.port.ipv4)

    @property
    def tcp_portal(self):
        """A portal that does not speak iSER."""
        return Portal(self.port.ipv4, TCP_PORT, iser=False)

    def login(self, target, portal=None, server=None, **kwargs):
        """Serve a target with a single session, and log in to it."""
        (server or self.target).serve(target)
        (session,) = self.initiator.login(target.iqn, portal or target.portals[0],
                                          luns=len(target.disks), **kwargs)
        return session

    def standing_lun(self, server=None):
        """The LUN that is there for any test that just wants one; of LIO unless told."""
        server = server or self.target
        if self.standing is None or self.standing.server is not server:
            self.clean = False
            self.clear()
            target = Target(IQN, (Disk("disk0", 320, PROVISIONED),),
                            (self.portal, self.tcp_portal))
            self.clean = False
            session = self.login(target, server=server)
            self.standing = Lun(self, session, session.disk, target.disks[0].path, server)
        return self.standing

    def clear(self):
        """No session, no record, no target; the module loaded."""
        if not self.clean:
            self.standing = None
            self.initiator.clear()
            self.target.clear()
            self.tgt.clear()
            self.use(module.IB_ISER)
            self.initiator.load()
            self.clean = True

    def use(self, variant):
        """Have a variant of the module loaded, until what is there is cleared."""
        change_module(self, variant)

    def program(self, name, *words, **kwargs):
        """Run one of the programs in tests/vm/guest."""
        return program(self.guest, name, *words, **kwargs)


class Pair:
    """Two guests with a cable between them: a target and an initiator."""

    def __init__(self, kernel, stock, logs):
        cable = Link()
        self.near, self.far = (Guest(kernel, name=name, nets=[cable], workdir=logs,
                                     boot_timeout=BOOT) for name in ("initiator", "target"))
        self.stock = stock
        self.network = "rxe"
        self.target = self.initiator = self.portal = self.hostile = self.standing = None
        self.clean, self.started = True, False

    def start(self):
        """Boot both at once, and get everything ready for a login."""
        with ThreadPoolExecutor(2) as pool:
            _, far = pool.map(self._boot, (self.near, self.far), (1, 2))
        self.portal = Portal(far.ipv4)
        self.target, self.initiator = Lio(self.far), Initiator(self.near)
        self.hostile = Hostile(self.far, far.ipv4)
        self.near.run(f"ping -c 1 -w 10 {far.ipv4}")
        self.initiator.load()
        self.initiator.start()
        self.started = True

    def _boot(self, guest, number):
        guest.start()
        return prepare(guest, self.stock, number)[1]

    def guests(self):
        """The guests of this topology."""
        return [self.near, self.far]

    def use(self, network):
        """Be on this kind of RDMA network: rxe, or siw where the kernel has it."""
        if network != self.network:
            self.clear()
            self.network = None
            for guest in self.guests():
                fabric.change(guest, network)
            self.network = network
            self.target.iwarp = network == "siw"

    def clear(self):
        """No session, no record, no target; the cable plugged in."""
        if not self.clean:
            self.standing = None
            self.near.link("eth0", True)
            self.near.run("killall -q fio; true")
            self.initiator.clear()
            self.target.clear()
            self.hostile.clear()
            self.clean = True


class Sim:
    """A guest with a simulated adapter (tests/simhca) whose target never lies, until told to."""
    name, devices, cmdline, dma_device = "sim", (), "", None

    def __init__(self, kernel, stock, logs):
        self.guest = Guest(kernel, name=self.name, devices=self.devices,
                           extra_cmdline=self.cmdline, workdir=logs, boot_timeout=BOOT)
        self.stock = stock
        self.module = module.IB_ISER
        self.hca = self.initiator = self.standing = self.had = None
        self.broken = []        # what was until the last clear()
        self.clean, self.started = True, False

    def start(self):
        """Boot, and get everything ready for a login."""
        self.guest.start()
        if not self.stock:
            module.install(self.guest)
        self.hca = simhca.load(self.guest, dma_device=self.dma_device)
        # else no mapping would be checked, and nothing would seem to be wrong with them
        assert self.dma_device or self.hca.counters()["dma_ops"]
        self.initiator = Initiator(self.guest)
        self.initiator.load()
        self.initiator.start(**haste(self.guest.kernel))
        self.started = True

    def guests(self):
        """The guests of this topology."""
        return [self.guest]

    def login(self, **settings):
        """Log in; returns the session."""
        (session,) = self.initiator.login(self.hca.iqn(), self.hca.portal(), settings)
        return session

    def hurry(self, session):
        """Have the SCSI layer wait for its commands for no longer than 2 seconds."""
        self.guest.run(f"echo 2 >/sys/block/{session.disk[5:]}/device/timeout")

    def start_io(self, session, size="2m", verify=True, **options):
        """Begin to write and read blocks of several sizes; returns the job."""
        words = {"filename": session.disk, "rw": "randrw", "size": size, "ioengine": "libaio",
                 "bssplit": "4k/50:64k/30:256k/20", "iodepth": 8, "direct": 1,
                 "allow_file_create": 0, "output": "/dev/null", **options}
        if verify:
            words |= {"rw": "randwrite", "verify": "crc32c"}
        said = " ".join(f"--{name}={value}" for name, value in words.items())
        return self.guest.spawn(f"fio --name=io --thread {said}")

    def io(self, session, timeout=120, **options):
        """The same, to the end; an error or wrong data raise CommandFailed."""
        self.start_io(session, **options).wait(timeout=timeout)

    def layouts(self, session):
        """Move data of buffers that start anywhere, and of pieces with holes between them.

        Nobody but the target sees its disk, so that what is compared with goes by the same way, to
        and from the pages of a cache.
        """
        program(self.guest, "direct.py", session.disk, session.disk, *LAYOUTS, timeout=120)

    def try_login(self):
        """What iscsiadm says to a login that may fail."""
        self.initiator.record(self.hca.iqn(), self.hca.portal())
        return self.initiator.try_login(self.hca.iqn(), self.hca.portal())

    def standing_session(self):
        """The session that is there for any test that just wants one."""
        if self.standing is None:
            self.clear()
            self.standing = self.login()
            self.clean = False
        return self.standing

    def adapter(self, **knobs):
        """Be another kind of adapter, wire, target or disk."""
        self.hca.power(False)
        self.hca.set(**knobs)
        self.hca.power(True)

    def kept_the_rules(self):
        """Whether nothing was done to the adapter that must not be; else it says what."""
        assert not self.hca.counters().violations, "\n".join(self.hca.violations())
        return True

    def some(self, *gauges):
        """Which of these are not 0."""
        counted = self.hca.counters()
        return {name: counted[name] for name in gauges if counted[name]}

    def under_way(self):
        """What should be none while nobody does anything."""
        return self.some("rkeys_live", "tasks")

    def left(self):
        """What still exists of sessions, when there should be none."""
        # the core keeps completion queues in a pool of the device
        return self.some("pds", "qps", "mrs", "rkeys_live", "dma_mapped", "connections",
                         "sessions", "tasks")

    def ends_well(self, session):
        """No key outlives a command; the session goes and leaves nothing; no rule was broken."""
        busy = in_the_end(self.under_way)
        assert not busy, busy
        self.initiator.logout(session)
        assert self.kept_the_rules()
        assert not self.left()

    def use(self, variant):
        """Have a variant of the module loaded, until what is there is cleared."""
        change_module(self, variant)

    def clear(self):
        """An adapter that behaves, and nothing that uses it."""
        if not self.clean:
            self.standing = None
            self.hca.calm()
            self.initiator.clear()
            self.use(module.IB_ISER)
            self.adapter()
            self.broken = self.hca.violations()
            self.hca.reset()
            self.clean = True


class Iommu(Sim):
    """The same behind an emulated IOMMU, in which an unmapped page is gone at once."""
    name = "iommu"
    devices = ("-device", "intel-iommu", "-device", "pci-testdev,addr=10")
    cmdline = "intel_iommu=on iommu.passthrough=0 iommu.strict=1"
    dma_device = "0000:00:10.0"


def program(guest, name, *words, **kwargs):
    """Run one of the programs in tests/vm/guest there."""
    text = (REPO / "tests" / "vm" / "guest" / name).read_text(encoding="utf-8")
    return guest.run(["python3", "-", *map(str, words)], input=text, **kwargs)


def change_module(topology, variant):
    """Load a variant of our module; nobody is logged in."""
    if variant == topology.module:
        return
    if topology.stock:
        raise LabError("there are no variants of the kernel's own module")
    topology.module = None
    topology.initiator.unload()
    module.install(topology.guest, variant)
    topology.initiator.load()
    topology.module = variant


def prepare(guest, stock, number=1):
    """Make a booted guest a host of the RDMA network that loads the module under test.

    Returns the module's source version (None: the kernel's own) and the RDMA port.
    """
    built = None
    if not stock:
        built = source_version(module.build(guest.kernel))
        module.install(guest)
    return built, fabric.up(guest, number)


ENOUGH = "/tmp/enough"


def again_and_again(guest, command):
    """Begin to run a command, once it has ended anew, until it was enough(); the job."""
    return guest.spawn(f"rm -f {ENOUGH}; until [ -e {ENOUGH} ]; do {command} || exit; done")


def enough(guest, job, timeout):
    """Let the command that was begun so end, with an error if it had one."""
    guest.run(f"touch {ENOUGH}")
    job.wait(timeout=timeout)


def more(before, after, allowed=0):
    """What there is more of than there was."""
    return {name: (before.get(name, 0), count) for name, count in after.items()
            if count - before.get(name, 0) > allowed}


def in_the_end(left):
    """What is left when all that goes in the background had its time."""
    deadline = time.monotonic() + SETTLE
    while (remains := left()) and time.monotonic() < deadline:
        time.sleep(1)
    return remains


def blind(topology):
    """Whether a kernel there reports no more, or does not answer."""
    try:
        return any(guest.blind() for guest in topology.guests())
    except LabError:
        return True


def leaks(guest):
    """What kmemleak finds in a guest, or why it cannot look."""
    try:
        return guest.leaks()
    except LabError as error:
        return str(error)


def cleared(topology):
    """Whether a topology could be cleared."""
    try:
        topology.clear()
    except LabError:
        return False
    return True


def logs(kernel, stock):
    """Where everything goes that the guests of a kernel leave."""
    return RESULTS / f"{kernel}{'-stock' if stock else ''}"


class Rig:
    """All guests of one kernel."""

    def __init__(self, kernel, stock):
        self.kernel, self.stock = kernel, stock
        self.logs = logs(kernel.name, stock) / os.environ.get("PYTEST_XDIST_WORKER", "")
        self.up = {}
        self.marks = {}

    def host(self):
        """A Host, booted if there is none."""
        return self._get(Host)

    def pair(self):
        """A Pair, booted if there is none."""
        return self._get(Pair)

    def sim(self):
        """A Sim, booted if there is none."""
        return self._get(Sim)

    def iommu(self):
        """An Iommu, booted if there is none."""
        return self._get(Iommu)

    def _get(self, kind):
        if kind not in self.up:
            made = kind(self.kernel, self.stock, self.logs)
            self.up[kind] = made
            self.marks |= {guest: guest.logged() for guest in made.guests()}
            made.start()
        return self.up[kind]

    def begin(self):
        """Remember where the logs of all guests are now."""
        self.marks = {guest: guest.mark() for guest in self._guests()}

    def reports(self):
        """What the kernels complained about since begin()."""
        return [f"{guest.name}: {report}" for guest in self._guests()
                for report in guest.reports(self.marks.get(guest, 0))]

    def keep(self, name):
        """Keep the logs for a test that failed; returns the part worth reading now."""
        said = []
        directory = self.logs / re.sub(r"[^\w.=+-]+", "_", name).strip("_")
        directory.mkdir(parents=True, exist_ok=True)
        for guest in self._guests():
            (directory / f"{guest.name}.console").write_text(guest.console(), encoding="utf-8")
            since = guest.console(self.marks.get(guest, 0)).splitlines()
            said += [f"--- {guest.name}, whole log in {directory}", *since[-SHOWN:]]
        return "\n".join([*self.reports(), *said])

    def recover(self):
        """After a failure: clear what is still of use, switch off what is not."""
        for kind, topology in list(self.up.items()):
            topology.clean = False
            if not (topology.started and cleared(topology)) or blind(topology):
                self.switch_off(kind)

    def renew(self):
        """After any test: switch off what would not tell the next one of a bug."""
        for kind, topology in list(self.up.items()):
            if blind(topology):
                self.switch_off(kind)

    def switch_off(self, kind):
        """End guests whose state is of no more use; who wants some gets others."""
        topology = self.up.pop(kind)
        topology.clean = True       # for whom still has it
        for guest in topology.guests():
            guest.stop()

    def leaks(self):
        """What kmemleak finds in guests that are still there; it takes long, so at once."""
        with ThreadPoolExecutor() as pool:
            return [f"{guest.name}: {found}"
                    for guest, found in zip(self._guests(), pool.map(leaks, self._guests()))
                    if found]

    def look_for_leaks(self, name):
        """Let kmemleak look once in a guest, if there is one of this name."""
        for guest in self._guests():
            if guest.name == name:
                guest.look_for_leaks()

    def stop(self):
        """Switch everything off."""
        for guest in self._guests():
            guest.stop()
        self.up.clear()

    def _guests(self):
        return [guest for topology in self.up.values() for guest in topology.guests()]
