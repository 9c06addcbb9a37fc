# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that the lab builds itself from Debian's linux-source packages.

Normally: the source package is unpacked once per version, and a kernel is
configured from `tinyconfig` plus fragments of ours and built out of that
tree. The lab checks that each line of them took effect; in mainline, where
options come and go, it only says which did not.

Recovery: trees carry the version in their names and builds the hash of the
fragments, too; what was interrupted is begun again.
"""

import re
import shutil

from . import apt, host, images
from .paths import CACHE, REPO, LabError, cached, cached_in_place, digest, say

DEBUG, MAINLINE = REPO / "tests" / "debug.config", REPO / "tests" / "mainline.config"
FRAGMENTS = {"6.12": (DEBUG,), "mainline": (DEBUG, MAINLINE)}


class Unavailable(LabError):
    """Newest mainline cannot be had today; nothing of ours is to blame."""


def find_source(name):
    """(private apt, package) of the newest source of a kernel.

    @name: a version like 6.12, or mainline: the newest one in Debian's
           development suite, where older ones vanish
    """
    if name != "mainline":
        package = f"linux-source-{name}"
        for packages in (apt.release(), apt.backports()):
            if packages.show(package):
                return packages, package
        raise LabError(f"package {package} is neither in Debian {apt.codename()} nor in its "
                       "backports on this machine's mirror")
    packages = apt.extra("sid")
    found = packages.names(r"linux-source-\d+\.\d+")
    if not found:
        raise LabError("no linux-source-* in Debian sid on this machine's mirror")
    return packages, max(found, key=_version)


def _version(package):
    return [int(word) for word in re.findall(r"\d+", package)]


def source(name):
    """The source tree of a kernel."""
    packages, package = find_source(name)
    version = packages.show(package)["Version"]
    path = CACHE / "sources" / f"{package}_{version}"

    def make(tmp):
        say(f"unpacking the source of Linux {version}")
        packages.unpack([package], tmp / "package")
        archive, = (tmp / "package" / "usr" / "src").glob("linux-source-*.tar.xz")
        host.run("tar", "-C", tmp, "--strip-components=1", "-xf", archive)
        shutil.rmtree(tmp / "package")

    return cached(path, make)


def _place(name, tree):
    """Where the kernel of a source tree is built."""
    return CACHE / "builds" / f"{tree.name}-{digest(*FRAGMENTS[name])}"


def build(name):
    """A kernel that boots: (release, directory of the build)."""
    tree = source(name)
    path = _place(name, tree)

    def make(base):
        say(f"building {tree.name}; this takes 25 minutes on 2 idle CPUs")
        configure(name, tree, base, strict=name != "mainline")
        kmake(tree, base, "bzImage", "modules")
        kmake(tree, base, f"INSTALL_MOD_PATH={base / 'root'}", "INSTALL_MOD_STRIP=1",
              "modules_install")
        release = kernel_release(base)
        host.run("depmod", "-b", base / "root", release)
        images.ext4(base / "root" / "lib" / "modules" / release, base / "modules.ext4",
                    label="modules", spare_mb=64)

    cached_in_place(path, make)
    return kernel_release(path), path


def prepared(name):
    """A tree against which modules can be built, but not loaded: (release, tree).

    If the whole kernel was built, that is used; it knows the symbols.
    """
    try:
        return _prepared(name)
    except LabError as error:
        raise Unavailable(str(error)) from error


def _prepared(name):
    tree = source(name)
    whole = _place(name, tree)
    if whole.with_name(whole.name + ".done").exists():
        return kernel_release(whole), whole
    path = whole.with_name(whole.name + "-prepared")

    def make(base):
        say(f"preparing {tree.name} to build modules against")
        configure(name, tree, base, strict=False)
        kmake(tree, base, "modules_prepare")

    cached_in_place(path, make)
    return kernel_release(path), path


def kernel_release(base):
    """The release that a build directory is of."""
    return (base / "include" / "config" / "kernel.release").read_text(encoding="ascii").strip()


def kmake(tree, base, *targets):
    """Build targets of a kernel outside of its tree."""
    return host.run("make", "-C", tree, f"O={base}", f"-j{host.cpus()}", *targets,
                    what=f"building {' '.join(targets)} of {tree.name}")


def configure(name, tree, base, strict=True):
    """Write the configuration."""
    wanted = "".join(fragment.read_text(encoding="utf-8") for fragment in FRAGMENTS[name])
    kmake(tree, base, "tinyconfig")
    with open(base / ".config", "a", encoding="utf-8") as config:
        config.write(wanted)
    kmake(tree, base, "olddefconfig")
    lost = ineffective(wanted, (base / ".config").read_text(encoding="utf-8"))
    if lost:
        files = " and ".join(fragment.name for fragment in FRAGMENTS[name])
        told = f"{files}: no effect in {tree.name}: {', '.join(lost)}"
        if strict:
            raise LabError(told)
        say(told)


def ineffective(fragment, config):
    """The lines of a fragment that a configuration does not follow."""
    lines = set(config.splitlines())
    lost = []
    for line in fragment.splitlines():
        setting = re.match(r"(CONFIG_\w+)=|# (CONFIG_\w+) is not set$", line)
        if setting and line not in lines:
            # what does not exist is not set
            if setting[1] or re.search(rf"^{setting[2]}=", config, re.M):
                lost.append(line)
    return lost
