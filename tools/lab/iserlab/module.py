# SPDX-License-Identifier: GPL-2.0-only
"""Builds our modules for a kernel, and puts them into a guest.

Normally: `build(kernel)` copies the sources into the cache and lets the
kernel's build system work there, so the checkout stays clean and builds
for several kernels do not meet. All warnings and sparse are on, but for the
debug kernel; what they say is kept with the result, for `lab lint`.
`install(guest)` puts it where `make install` puts it: updates/, which wins
over the kernel's own module of the same name.

Recovery: the copy's name is a hash of the sources; a build that was
interrupted or failed is begun again. What was not used for a week goes.
"""

import io
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from . import host
from .paths import CACHE, REPO, LabError, cached, cached_in_place, digest

TYPES = (".c", ".h", ".S")
NAMES = ("Kbuild", "Makefile", "Kconfig")
KEPT = 7    # days; each change of a source makes another build
SPARSE = REPO / "tools" / "lab" / "sparse.h"
CHECKS = ("W=1", "C=1", f"CHECK=sparse -include {SPARSE}")
SAID = "build.log"      # in the directory of the build


@dataclass(frozen=True)
class Module:
    """A module of ours. Paths are relative to the repository."""
    name: str
    top: str            # where Kbuild is told to begin
    result: str         # the file that it makes
    sources: tuple      # what it is built from
    edits: tuple = ()   # (file, text, other text): a variant, to compare with


IB_ISER = Module("ib_iser", ".", "drivers/infiniband/ulp/iser/ib_iser.ko",
                 ("Kbuild", "Makefile", "drivers", "include"))
SIMHCA = Module("simhca", "tests/simhca", "tests/simhca/simhca.ko",
                ("tests/simhca",))


def sources(module):
    """The files that a module is built from."""
    for name in module.sources:
        path = REPO / name
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.name.endswith(".mod.c"):
                continue
            if file.suffix in TYPES or file.name in NAMES:
                yield file


def build(kernel, module=IB_ISER):
    """Build a module for a kernel; return the path of the .ko file."""
    return built(kernel, module) / module.result


def built(kernel, module):
    """The directory in which a module is built for a kernel."""
    files = list(sources(module))
    if not files:
        raise LabError(f"there are no sources of {module.name} in {', '.join(module.sources)}")
    # the same in each checkout
    words = " ".join(options(kernel, module)).replace(str(SPARSE), "")
    key = digest(str(kernel.kdir), str(module.edits), words,
                 *(str(file.relative_to(REPO)) for file in files), *files, SPARSE)

    def make(base):
        copy_sources(files, base)
        for edit in module.edits:
            change(base, *edit)
        said = kbuild(kernel, base / module.top, *options(kernel, module),
                      stderr=subprocess.STDOUT, what=f"building {module.name} for {kernel.release}")
        (base / SAID).write_text(said, encoding="utf-8")

    return cached_in_place(CACHE / "modules" / f"{module.name}-{kernel.release}-{key}", make, KEPT)


def options(kernel, module):
    """How a module is built for a kernel."""
    if kernel.name == "debug":      # its source is that of another one, which is checked
        return () if module.edits else ("GCOV_PROFILE=y",)  # what a variant executes says nothing
    # what is only prepared for building has no list of the kernel's symbols
    return CHECKS if kernel.image else (*CHECKS, "KBUILD_MODPOST_WARN=1")


def copy_sources(files, base):
    """Copy files of the repository, keeping their places."""
    for file in files:
        copy = base / file.relative_to(REPO)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)


def change(base, name, text, other):
    """Replace a text that is there once."""
    path = base / name
    source = path.read_text(encoding="utf-8")
    if source.count(text) != 1:
        raise LabError(f"{name} has {source.count(text)} times what a variant replaces: {text}")
    path.write_text(source.replace(text, other), encoding="utf-8")


def kbuild(kernel, directory, *words, **kwargs):
    """Let a kernel's build system build modules in a directory."""
    return host.run("make", "-C", kernel.kdir, f"M={directory}", f"-j{host.cpus()}",
                    "CONFIG_INFINIBAND_ISER=m", *words, "modules", **kwargs)


def install(guest, *modules):
    """Install modules in a guest (ib_iser if none is named), where they win
    over the kernel's own.
    """
    made = [build(guest.kernel, module) for module in modules or (IB_ISER,)]
    base = f"lib/modules/{guest.kernel.release}"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, name in _installed(guest.kernel, made):
            tar.add(path, f"{base}/{name}", filter=_as_root)
    guest.run(["tar", "-C", "/", "-xf", "-"], input=archive.getvalue())


def bring(guest, module, where):
    """Put a module into a guest to be inserted, and load what it depends on."""
    guest.put(build(guest.kernel, module), where)
    guest.run(f"modprobe -a $(modinfo -F depends {where} | tr , ' ')", timeout=120)


def _as_root(member):
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _installed(kernel, modules):
    """(file, name below lib/modules/RELEASE) of modules and new indexes.

    depmod takes long in a guest; here it takes a moment.
    """
    key = digest(kernel.release, *modules)

    def make(tmp):
        base = tmp / "lib" / "modules" / kernel.release
        shutil.copytree(kernel.module_dir, base, copy_function=_hardlink, symlinks=True)
        (base / "updates").mkdir()
        for module in modules:
            shutil.copy(module, base / "updates")
        for index in base.glob("modules.*"):
            # depmod would write through the hard link; these it only reads
            if not re.match(r"modules\.(order|builtin(\.modinfo)?)$", index.name):
                index.unlink()
        host.run("depmod", "-b", tmp, kernel.release)
        shutil.rmtree(base / "kernel")

    tree = cached(CACHE / "modules" / f"index-{kernel.release}-{key}", make, KEPT)
    base = tree / "lib" / "modules" / kernel.release
    return [(path, path.relative_to(base)) for path in sorted(base.rglob("*")) if path.is_file()]


def _hardlink(src, dst):
    Path(dst).hardlink_to(src)
