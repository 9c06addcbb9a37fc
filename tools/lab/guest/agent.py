# SPDX-License-Identifier: GPL-2.0-only
"""Runs the host's commands in a guest.

Normally: started last by ./init, it announces itself on the virtio-serial
port named PORT and then starts a process for each request, passing its
input and output as frames. Any number of commands run side by side; each
is the leader of a session of its own, so that killing it takes its
children along. A file is read or written by a thread, as a process takes half
a second on a kernel with all checks, and the kernel may take long with a file;
that can't be killed.

A frame is HEAD (command number, kind, length) and that many bytes. Kinds
from the host: X start, I input (empty: end of input), K kill. To the host:
H hello, O output, E error output, A input bytes consumed, S ended.

Recovery: none is tried. If the port fails, the agent ends and the guest
powers off; the host sees the port close.
"""

import errno
import glob
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import threading

HEAD = struct.Struct(">IcI")
PORT = "iserlab.agent"
CHUNK = 65536


def open_port():
    """Open the virtio-serial port that the host is on."""
    for name in glob.glob("/sys/class/virtio-ports/*/name"):
        with open(name, encoding="ascii") as handle:
            if handle.read().strip() == PORT:
                return os.open("/dev/" + name.split("/")[-2], os.O_RDWR)
    sys.exit(f"agent: no virtio-serial port is called {PORT}")


class Port:
    """Frames over the port."""

    def __init__(self):
        self.fd = open_port()
        self.buffer = bytearray()
        self.lock = threading.Lock()

    def send(self, number, kind, data=b""):
        """Send one frame; blocks while the host does not read."""
        frame = memoryview(HEAD.pack(number, kind, len(data)) + data)
        with self.lock:
            while frame:
                frame = frame[os.write(self.fd, frame):]

    def end(self, number, status, error=None):
        """Send what a command ended with."""
        if error:
            self.send(number, b"E", f"{error}\n".encode())
        self.send(number, b"S", json.dumps({"status": status}).encode())

    def frames(self):
        """Read what is there and yield the frames that are complete."""
        data = os.read(self.fd, CHUNK)
        if not data:
            sys.exit("agent: the host closed the port")
        self.buffer += data
        while len(self.buffer) >= HEAD.size:
            number, kind, length = HEAD.unpack_from(self.buffer)
            end = HEAD.size + length
            if len(self.buffer) < end:
                return
            yield number, kind, bytes(self.buffer[HEAD.size:end])
            del self.buffer[:end]


class Command:
    """One running command."""

    def __init__(self, agent, number, request):
        self.agent, self.number = agent, number
        self.process = subprocess.Popen(
            request["argv"], cwd=request.get("cwd", "/root"),
            env={**os.environ, **request.get("env", {})}, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self.pidfd = os.pidfd_open(self.process.pid)
        self.pending = []       # input that the command has not taken yet
        self.outputs = {self.process.stdout: b"O", self.process.stderr: b"E"}
        for pipe in (self.process.stdin, *self.outputs):
            os.set_blocking(pipe.fileno(), False)
        for pipe, kind in self.outputs.items():
            agent.watch(pipe, lambda pipe=pipe, kind=kind: self.forward(pipe, kind))
        agent.watch(self.pidfd, self.ended)

    def forward(self, pipe, kind):
        """Pass on what the command wrote; False if nothing is left."""
        try:
            data = os.read(pipe.fileno(), CHUNK)
        except BlockingIOError:
            return False
        if data:
            self.agent.port.send(self.number, kind, data)
        else:
            self.agent.forget(pipe)
        return bool(data)

    def feed(self, data):
        """Take input from the host; no data means that was all of it."""
        if self.process.stdin.closed:
            return
        self.pending.append(data)
        if len(self.pending) == 1:
            self.agent.watch(self.process.stdin, self.write, selectors.EVENT_WRITE)

    def write(self):
        """The command can take input."""
        data = self.pending[0]
        try:
            done = os.write(self.process.stdin.fileno(), data) if data else 0
        except BlockingIOError:
            return
        except BrokenPipeError:
            data = b""
        if not data:
            self.pending.clear()
            self.agent.forget(self.process.stdin)
            self.process.stdin.close()
            return
        self.agent.port.send(self.number, b"A", done.to_bytes(4, "big"))
        self.pending[0] = data[done:]
        if not self.pending[0]:
            del self.pending[0]
        if not self.pending:
            self.agent.forget(self.process.stdin)

    def kill(self, number):
        """Send a signal to the command and its children."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def ended(self):
        """The command ended: pass on what it wrote last, then its status.

        A daemon that it left behind may hold the pipes open; nobody waits
        for that.
        """
        status = self.process.wait()
        for pipe, kind in self.outputs.items():
            while not pipe.closed and self.forward(pipe, kind):
                pass
        for pipe in (self.process.stdin, *self.outputs):
            self.agent.forget(pipe)
            pipe.close()
        self.agent.forget(self.pidfd)
        os.close(self.pidfd)
        del self.agent.commands[self.number]
        self.agent.port.end(self.number, status)


def read(path):
    """All that is in a file."""
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    """Write a file, at once; says nothing."""
    with open(path, "wb", buffering=0) as file:
        if data and file.write(data) != len(data):
            raise OSError(errno.EIO, "not all was written", path)
    return b""


def access(port, number, request):
    """Read or write a file for the host."""
    path = request["file"]
    try:
        said = write(path, request["text"].encode()) if "text" in request else read(path)
    except OSError as error:
        port.end(number, 1, f"{path}: {error.strerror}")
        return
    for at in range(0, len(said), CHUNK):
        port.send(number, b"O", said[at:at + CHUNK])
    port.end(number, 0)


class Agent:
    """The loop: frames from the host, output and ends of commands."""

    def __init__(self):
        self.port = Port()
        self.commands = {}
        self.calls = {}
        self.selector = selectors.DefaultSelector()
        self.watch(self.port.fd, self.receive)

    def watch(self, source, call, event=selectors.EVENT_READ):
        """Call when source is ready."""
        key = self.selector.register(source, event, call)
        self.calls[key.fd] = call

    def forget(self, source):
        """Stop watching, if it was watched."""
        try:
            key = self.selector.unregister(source)
            del self.calls[key.fd]
        except (KeyError, ValueError):
            pass

    def receive(self):
        """Handle frames from the host."""
        for number, kind, data in self.port.frames():
            if kind == b"X":
                self.start(number, json.loads(data))
            elif number in self.commands:
                command = self.commands[number]
                if kind == b"I":
                    command.feed(data)
                elif kind == b"K":
                    command.kill(int(data))

    def start(self, number, request):
        """Start a command; if that fails, that is its result."""
        if "file" in request:
            threading.Thread(target=access, args=(self.port, number, request),
                             daemon=True).start()
            return
        try:
            self.commands[number] = Command(self, number, request)
        except OSError as error:
            self.port.end(number, 127, error)

    def loop(self):
        """Run until the host closes the port."""
        while True:
            for key, _ in self.selector.select():
                # an earlier call of this round may have closed it
                if self.calls.get(key.fd) is key.data:
                    key.data()


def main():
    """Say hello, then serve."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    agent = Agent()
    agent.port.send(0, b"H", os.uname().release.encode())
    agent.loop()


if __name__ == "__main__":
    main()
