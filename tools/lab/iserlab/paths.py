# SPDX-License-Identifier: GPL-2.0-only
"""Where things lie, and how something gets into the cache.

Owns: the repository root, the cache directory, and the one way to put a
file or a directory into that cache. The name of a cached thing contains
what it was made from (version, hash of its recipe), so a cached thing is
never out of date, only unused.

Recovery: makers write to a temporary name under a lock and rename at the
end. A maker that was killed leaves a temporary that the next one removes.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ib_iser-lab"


class LabError(Exception):
    """Something about the lab itself went wrong; the text says what to do."""


def say(text):
    """Progress for a human; never part of anything that is parsed."""
    print(f"lab: {text}", flush=True)


def digest(*parts):
    """A short name for contents: strings, bytes and files."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            part = part.read_bytes()
        elif isinstance(part, str):
            part = part.encode()
        sha.update(len(part).to_bytes(8, "big") + part)
    return sha.hexdigest()[:16]


@contextlib.contextmanager
def lock(path, wait=True):
    """Keep a second lab from making the same thing at the same time.

    @wait: until a first one is ready; or it is a BlockingIOError that there is one
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def remove(path):
    """Remove a file or a tree, whichever it is, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def cached(path, make, days=30):
    """Return path; if it is not there yet, make(temporary) makes it.

    make() is given a name next to the final one and creates a file or a
    directory there. It becomes visible only when it is complete. Whatever
    lies next to it and was not used for some days goes.
    """
    with lock(path):
        if not path.exists():
            _forget_unused(path.parent, days)
            temporary = path.with_name(path.name + ".tmp")
            remove(temporary)
            make(temporary)
            temporary.rename(path)
        os.utime(path)
    return path


def cached_in_place(path, make, days=30):
    """The same for a directory that cannot be renamed, as builds record
    their own name. A file next to it says that it is complete.
    """
    done = path.with_name(path.name + ".done")
    with lock(path):
        if not done.exists():
            _forget_unused(path.parent, days)
            remove(path)
            path.mkdir()
            make(path)
            done.touch()
        os.utime(path)
        os.utime(done)
    return path


def _forget_unused(directory, days):
    oldest = time.time() - days * 24 * 3600
    for path in directory.iterdir():
        if path.lstat().st_mtime < oldest:
            remove(path)
