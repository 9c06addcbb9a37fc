# SPDX-License-Identifier: GPL-2.0-only
"""Packages from the machine's own Debian mirror, without touching its apt.

Normally: read which Debian mirror the machine uses (both formats of
sources, signing keys, proxies), write a private configuration with lists
and a cache of its own, and download packages and unpack them. Nothing is
installed, nothing needs root, and what happens to be installed or pinned
on the machine has no influence.

Recovery: package lists are refreshed when they are older than MAX_AGE; if
the mirror cannot be reached, older lists are used and the lab says so, and
does not try again for RETRY seconds.
"""

import functools
import os
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import host
from .paths import CACHE, LabError, cached, lock, remove, say

MAX_AGE = 12 * 3600
RETRY = 1800
ETC = Path("/etc/apt")
ARCHITECTURE = "amd64"


@dataclass(frozen=True)
class Source:
    """One place packages come from, as one stanza of a .sources file."""
    uris: tuple
    suites: tuple
    components: tuple
    options: dict = field(hash=False)

    def stanza(self):
        """The stanza as apt reads it."""
        lines = ["Types: deb", f"URIs: {' '.join(self.uris)}",
                 f"Suites: {' '.join(self.suites)}"]
        if self.components:
            lines.append(f"Components: {' '.join(self.components)}")
        lines += [f"{key}: {value}" for key, value in self.options.items()]
        return "\n".join(lines) + "\n"


def codename():
    """The name of the machine's Debian release, e.g. bookworm."""
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    if "ID=debian\n" not in text:
        raise LabError("this is not Debian; the lab needs a Debian 12 host "
                       "(its packages are the lab's kernels and root filesystem)")
    return re.search(r"^VERSION_CODENAME=(\w+)", text, re.M)[1]


def parse_deb822(text):
    """The sources of a .sources file."""
    for stanza in re.split(r"\n\s*\n", text):
        stanza = "\n".join(line for line in stanza.splitlines()
                           if not line.startswith("#"))
        fields = {key.lower(): (key, value.strip()) for key, value in
                  re.findall(r"^(\S+?):((?:.*)(?:\n[ \t].*)*)", stanza, re.M)}
        value = {key: pair[1] for key, pair in fields.items()}
        if "deb" not in value.pop("types", "").split():
            continue
        if value.pop("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        uris, suites, components = (tuple(value.pop(key, "").split())
                                    for key in ("uris", "suites", "components"))
        options = {fields[key][0]: text for key, text in value.items()}
        yield Source(uris, suites, components, options)


OPTION_NAMES = {"signed-by": "Signed-By", "trusted": "Trusted", "arch": "Architectures",
                "check-valid-until": "Check-Valid-Until", "check-date": "Check-Date",
                "by-hash": "By-Hash"}


def parse_one_line(text):
    """The sources of a .list file."""
    pattern = r"^deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)[ \t]*([^\n#]*)"
    for options, uri, suite, components in re.findall(pattern, text, re.M):
        pairs = (word.split("=", 1) for word in options.split() if "=" in word)
        named = {OPTION_NAMES[key.lower()]: value.replace(",", " ")
                 for key, value in pairs if key.lower() in OPTION_NAMES}
        yield Source((uri,), (suite,), tuple(components.split()), named)


def machine_sources():
    """All package sources that this machine is configured with."""
    for path in [ETC / "sources.list", *sorted(ETC.glob("sources.list.d/*"))]:
        parse = {".list": parse_one_line, ".sources": parse_deb822}.get(path.suffix)
        if parse and path.is_file():
            yield from parse(path.read_text(encoding="utf-8"))


def release_sources():
    """Those of the machine's sources that carry its own Debian release."""
    name = codename()
    wanted = {name + tail for tail in ("", "-updates", "-security", "/updates")}
    wanted |= {suite.replace(name, "stable") for suite in wanted}
    for source in machine_sources():
        suites = tuple(suite for suite in source.suites if suite in wanted)
        if suites and not source.uris[0].startswith("cdrom:"):
            yield Source(source.uris, suites, source.components, source.options)


class Apt:
    """A private apt: sources, lists and cache of its own."""

    def __init__(self, name, sources):
        self.name = name
        self.base = CACHE / "apt" / name
        self.text = "\n".join(source.stanza() for source in sources)

    @property
    def config(self):
        """The configuration file that makes apt private."""
        return self.base / "apt.conf"

    @property
    def acquire(self):
        """The machine's settings for reaching a mirror: proxies and the like."""
        return self.base / "acquire.conf"

    @property
    def sources(self):
        """The file that names the mirror."""
        return self.base / "parts" / "lab.sources"

    def _configure(self):
        """Write the configuration; keep only the machine's Acquire settings."""
        for name in ("lists/partial", "cache/archives/partial", "parts", "empty"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        (self.base / "status").touch()
        acquire = [line for line in host.run("apt-config", "dump").splitlines()
                   if re.match(r"(Acquire|APT::Architecture)\b", line)]
        self.acquire.write_text("\n".join(acquire) + "\n", encoding="utf-8")
        self.config.write_text("\n".join(acquire + [
            f'Dir::Etc::Parts "{self.base}/empty";',
            f'Dir::Etc::SourceList "{self.base}/empty/none";',
            f'Dir::Etc::SourceParts "{self.base}/parts";',
            f'Dir::Etc::Preferences "{self.base}/empty/none";',
            f'Dir::Etc::PreferencesParts "{self.base}/empty";',
            f'Dir::State::Lists "{self.base}/lists";',
            f'Dir::State::Status "{self.base}/status";',
            f'Dir::Cache "{self.base}/cache";',
            'APT::Sandbox::User "";',
            'APT::Get::List-Cleanup "true";',
            'Acquire::Retries "3";',
            'Acquire::Languages "none";']) + "\n", encoding="utf-8")
        self.sources.write_text(self.text, encoding="utf-8")

    def run(self, *argv, **kwargs):
        """Run an apt command under the private configuration."""
        return host.run(*argv, env=host.environment(APT_CONFIG=self.config), **kwargs)

    def refresh(self):
        """Have package lists, not older than MAX_AGE if that can be had."""
        stamp = self.base / "stamp"
        with lock(self.base):
            known = (stamp.exists() and self.sources.exists()
                     and self.sources.read_text(encoding="utf-8") == self.text)
            if known and time.time() - stamp.stat().st_mtime < MAX_AGE:
                return self
            self._configure()
            try:
                self.run("apt-get", "update", "--error-on=any", what="reading package lists")
                stamp.touch()
            except LabError as error:
                if not known:
                    raise
                say(f"using older package lists of {self.name}: {error}")
                retry = time.time() - MAX_AGE + RETRY
                os.utime(stamp, (retry, retry))
        return self

    def origins(self):
        """(uri, suite, origin) of each archive that was read."""
        lines = self.run("apt-get", "indextargets", "--format",
                         "$(REPO_URI)|$(RELEASE)|$(ORIGIN)", "Created-By: Packages")
        return {tuple(line.split("|")) for line in lines.splitlines()}

    def show(self, package):
        """The control fields of the newest version of a package, or None."""
        try:
            text = self.run("apt-cache", "show", "--no-all-versions", package)
        except LabError:
            return None
        fields = re.findall(r"^(\S+?):\s*((?:.*)(?:\n[ \t].*)*)", text, re.M)
        return dict(fields) if fields else None

    def names(self, pattern):
        """All package names that match a regular expression."""
        lines = self.run("apt-cache", "pkgnames").splitlines()
        return [name for name in lines if re.fullmatch(pattern, name)]

    def unpack(self, packages, directory):
        """Download packages and unpack them all into one directory."""
        debs = directory.with_name(directory.name + ".debs")
        remove(debs)
        debs.mkdir(parents=True)
        self.run("apt-get", "download", *packages, cwd=debs, what="downloading packages")
        directory.mkdir(parents=True, exist_ok=True)
        for deb in sorted(debs.glob("*.deb")):
            host.run("dpkg-deb", "-x", deb, directory)
        shutil.rmtree(debs)


@functools.cache
def release():
    """The machine's own Debian release, from its own mirror."""
    return Apt(codename(), list(release_sources())).refresh()


def _mirror():
    """The source that carries the release itself, and is really Debian's."""
    base = release()
    debian = {uri.rstrip("/") for uri, suite, origin in base.origins()
              if origin == "Debian" and suite in (codename(), "stable")}
    for source in release_sources():
        uris = tuple(uri for uri in source.uris if uri.rstrip("/") in debian)
        if uris and {codename(), "stable"} & set(source.suites):
            return Source(uris, (), source.components, source.options)
    raise LabError(f"no source of Debian {codename()} among the machine's apt sources "
                   f"({ETC}/sources.list, {ETC}/sources.list.d)")


@functools.cache
def extra(suite):
    """A suite that the machine is not configured with, from the same mirror."""
    mirror = _mirror()
    source = Source(mirror.uris, (suite,), ("main",), mirror.options)
    return Apt(suite, [source]).refresh()


def backports():
    """Newer packages built for the machine's release."""
    return extra(f"{codename()}-backports")


def tree(packages, apt):
    """Packages unpacked together, cached under their names and versions."""
    versions = [f"{name}_{(apt.show(name) or {}).get('Version')}" for name in packages]
    missing = [name for name in versions if name.endswith("_None")]
    if missing:
        raise LabError(f"not in {apt.name}: {', '.join(missing)}")
    path = CACHE / "packages" / versions[0].replace(":", "%")
    return cached(path, lambda tmp: apt.unpack(packages, tmp))
