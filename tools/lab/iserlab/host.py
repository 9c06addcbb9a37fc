# SPDX-License-Identifier: GPL-2.0-only
"""Runs a command on the host for the lab's own work.

Normally quiet: output is kept and shown only if the command fails, in a
LabError that names the command, its status and the end of what it said.
"""

import os
import subprocess

from .paths import LabError


def environment(**extra):
    """The environment of all that the lab runs on the host.

    Little of ours is passed on, so that no setting of a user's (MAKEFLAGS,
    ARCH, PERL5LIB...) changes what comes out. A plain user's PATH lacks
    /sbin, where mke2fs and depmod live.
    """
    kept = ("HOME", "LOGNAME", "USER", "TERM", "TMPDIR", "XDG_CACHE_HOME")
    env = {name: value for name, value in os.environ.items()
           if name in kept or name.lower().endswith("_proxy")}
    env.update(LC_ALL="C.UTF-8", DEBIAN_FRONTEND="noninteractive",
               PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return {**env, **extra}


def run(*argv, what=None, **kwargs):
    """Run argv, return its standard output; raise LabError if it fails."""
    argv = [str(word) for word in argv]
    kwargs.setdefault("env", environment())
    kwargs.setdefault("stderr", subprocess.PIPE)
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              text=True, errors="replace", check=False, **kwargs)
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]}: {error.strerror}; `make deps` installs "
                       "what the lab needs") from error
    if done.returncode:
        tail = "\n".join((done.stdout + (done.stderr or "")).splitlines()[-30:])
        raise LabError(f"{what or 'command'} failed with status {done.returncode}: "
                       f"{' '.join(argv)}\n{tail}")
    return done.stdout


def cpus():
    """How many CPUs we may use."""
    return len(os.sched_getaffinity(0))
