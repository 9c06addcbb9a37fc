# SPDX-License-Identifier: GPL-2.0-only
"""The Makefile builds and installs the module, and lint finds what is wrong.

No guest is needed; the headers of the stock 6.1 kernel are.
"""

import re
import shutil
import subprocess

import pytest

from iserlab import apt, host, kernels, lint, module
from iserlab.kbuild import ineffective
from iserlab.paths import REPO

BROKEN = """// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>
#include <linux/types.h>

{}

MODULE_LICENSE("GPL");
"""


@pytest.fixture(scope="module", name="kernel")
def _kernel():
    return kernels.get("6.1")


@pytest.fixture(scope="module", name="checkout")
def _checkout(tmp_path_factory):
    """A copy of what the module is built from."""
    base = tmp_path_factory.mktemp("checkout")
    module.copy_sources(list(module.sources(module.IB_ISER)), base)
    return base


def make(checkout, *words, check=True):
    return subprocess.run(["make", "-C", checkout, *words], check=check, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=host.environment())


def test_install_and_uninstall(checkout, kernel, tmp_path):
    modules = tmp_path / "lib" / "modules" / kernel.release
    shutil.copytree(kernel.module_dir, modules, copy_function=shutil.copy)
    place = [f"KDIR={kernel.kdir}", f"DESTDIR={tmp_path}"]

    def winner():
        lines = (modules / "modules.dep").read_text(encoding="utf-8").splitlines()
        return [line.split(":")[0] for line in lines if "/ib_iser.ko" in line]

    before = winner()
    make(checkout, "install", *place)
    assert winner() == ["updates/drivers/infiniband/ulp/iser/ib_iser.ko"]
    make(checkout, "uninstall", *place)
    assert winner() == before == ["kernel/drivers/infiniband/ulp/iser/ib_iser.ko"]
    assert not (modules / "updates").exists()


def test_dkms_builds_and_installs(checkout, kernel, tmp_path):
    """From the project's own description, for a kernel that need not run."""
    version = re.search('PACKAGE_VERSION="(.*)"', (REPO / "dkms.conf").read_text())[1]
    source = tmp_path / "src" / f"ib_iser-{version}"
    shutil.copytree(checkout, source)
    shutil.copy(REPO / "dkms.conf", source)
    trees = [f"--{name}={tmp_path / name}" for name in ("dkmstree", "installtree")]
    for path in ("dkmstree", "installtree"):
        (tmp_path / path / kernel.release).mkdir(parents=True)

    host.run("fakeroot", "dkms", "install", f"ib_iser/{version}", *trees, "--no-depmod", "--force",
             f"--sourcetree={source.parent}", "-k", kernel.release,
             f"--kernelsourcedir={kernel.kdir}", what="dkms")
    made, = (tmp_path / "installtree").rglob("ib_iser.ko*")
    assert made.parent == tmp_path / "installtree" / kernel.release / "updates" / "dkms"
    assert host.run("/sbin/modinfo", "-F", "version", made, what="modinfo").strip() == version


def test_missing_headers_are_named(checkout):
    done = make(checkout, "KDIR=/no/such/tree", check=False)
    assert done.returncode
    assert "/no/such/tree" in done.stdout and "linux-headers" in done.stdout


@pytest.mark.parametrize("code, complaint", [
    ("int not_declared(void);\nstatic int unused(void) { return 0; }", "defined but not used"),
    ("void no_prototype(void) {}", "no previous prototype"),
    ("__be32 swapped(u32 x);\n__be32 swapped(u32 x) { return x; }",
     "incorrect type in return expression"),
])
def test_lint_finds_what_compilers_find(kernel, tmp_path, monkeypatch, code, complaint):
    monkeypatch.setattr(module, "REPO", tmp_path)
    monkeypatch.setattr(module, "CACHE", tmp_path / "cache")
    top = tmp_path / "broken"
    top.mkdir()
    (top / "Kbuild").write_text("obj-m += broken.o\n", encoding="utf-8")
    (top / "broken.c").write_text(BROKEN.format(code), encoding="utf-8")
    with pytest.raises(lint.Found, match=complaint):
        lint.build(kernel, module.Module("broken", "broken", "broken/broken.ko", ("broken",)))


@pytest.fixture(name="project")
def _project(tmp_path, monkeypatch):
    """A project of one file, which a test writes."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(lint, "REPO", tmp_path)
    return tmp_path


def complaints(check):
    with pytest.raises(lint.Found) as found:
        check()
    return str(found.value)


def test_lint_finds_bad_style(project):
    (project / "bad.c").write_text(
        "// SPDX-License-Identifier: GPL-2.0-only\nint f( int a ){\n\treturn a; }\n",
        encoding="utf-8")
    assert "OPEN_BRACE" in complaints(lint.checkpatch)


def test_lint_finds_bad_scripts(project):
    (project / "tool").write_text("#!/usr/bin/python3\nimport os\n", encoding="utf-8")
    assert "'os' imported but unused" in complaints(lint.python)
    (project / "script").write_text("#!/bin/sh\n[ $1 == a ] && cd $2\n", encoding="utf-8")
    assert "SC2086" in complaints(lint.shell)


def test_lint_finds_what_does_not_belong(project, monkeypatch):
    (project / "data.bin").write_bytes(b"\0\1\2")
    monkeypatch.setattr(lint.apt, "machine_sources", lambda: apt.parse_deb822(DEB822))
    (project / "notes").write_text("see http://mirror.example/\n", encoding="utf-8")
    assert "data.bin: a binary file" in complaints(lint.contents)
    assert "notes: names a package mirror" in complaints(lint.contents)
    assert "notes" in complaints(lint.licenses)


def test_the_project_has_sources():
    assert REPO / "drivers/infiniband/ulp/iser/iser.h" in module.sources(module.IB_ISER)


DEB822 = """# comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
# Enabled: no

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""

ONE_LINE = """
# deb http://off.example/debian bookworm main
deb [arch=amd64 signed-by=/keys/a.gpg] http://mirror.example/debian bookworm main non-free # x
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/security bookworm-security main
"""


def test_sources_in_new_format():
    source, = apt.parse_deb822(DEB822)
    assert source.uris == ("http://mirror.example/debian",)
    assert source.suites == ("bookworm", "bookworm-updates")
    assert "PGP" in source.options["Signed-By"]
    assert list(apt.parse_deb822(source.stanza())) == [source]


def test_sources_in_old_format():
    first, second = apt.parse_one_line(ONE_LINE)
    assert first.components == ("main", "non-free")
    assert first.options == {"Signed-By": "/keys/a.gpg", "Architectures": "amd64"}
    assert second.suites == ("bookworm-security",)


def test_a_setting_that_has_no_effect_is_found():
    fragment = "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\n# CONFIG_D is not set\n"
    config = "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n"
    assert ineffective(fragment, config) == ["CONFIG_B=m", "# CONFIG_C is not set"]
