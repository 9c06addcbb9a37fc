# SPDX-License-Identifier: GPL-2.0-only
"""Runs in a guest: says wrong things to the kernel, as a broken iscsid would.

    python3 netlink.py CASE TIMES ADDRESS...

Normally: speaks the iSCSI netlink protocol (scsi/iscsi_if.h) with the transport `iser`,
plays CASE TIMES times with each address and prints, as JSON, for each address the sorted
set of outcomes: an errno with its sign as the kernel said it, 0 where the kernel found
nothing wrong. What a case has made it takes away again.

Recovery: none; a kernel that does not answer in time ends it with an exception.
"""

import json
import socket
import struct
import sys
import time

NETLINK_ISCSI = 8
(CREATE_SESSION, DESTROY_SESSION, CREATE_CONN, DESTROY_CONN, BIND_CONN, SET_PARAM, START_CONN,
 STOP_CONN, SEND_PDU, GET_STATS, _, EP_CONNECT, EP_POLL, EP_DISCONNECT) = range(11, 25)
CREATE_BOUND_SESSION = 28
IF_ERROR = 103
NLMSG = struct.Struct("=IHHII")
EVENT = struct.Struct("=IiQ24s16s")     # type, error, transport, request, reply
NO_SUCH = 0xdead
PATIENCE = 20


class Refused(Exception):
    """The kernel said no; args[0] is the errno, negative."""


class Iser:
    """The transport `iser`, as iscsid sees it."""

    def __init__(self):
        with open("/sys/class/iscsi_transport/iser/handle", encoding="ascii") as handle:
            self.handle = int(handle.read())
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ISCSI)
        self.socket.bind((0, 0))
        self.socket.settimeout(PATIENCE)

    def call(self, kind, request, payload=b""):
        """One request; returns the reply's bytes or raises Refused."""
        event = EVENT.pack(kind, 0, self.handle, request, b"") + payload
        event += bytes(-len(event) % 4)
        self.socket.send(NLMSG.pack(NLMSG.size + len(event), kind, 0, 0, 0) + event)
        while True:
            answer = self.socket.recv(65536)
            got, error, _, _, reply = EVENT.unpack_from(answer, NLMSG.size)
            if got == IF_ERROR:
                raise Refused(error)
            if got == kind:
                return reply

    def retcode(self, kind, request, payload=b""):
        """A request that is answered with a return code."""
        code = struct.unpack_from("=i", self.call(kind, request, payload))[0]
        if code < 0:
            raise Refused(code)
        return code

    def connect(self, address, non_blocking=1):
        """Begin to connect, or connect; returns an endpoint."""
        return struct.unpack_from("=Q", self.call(
            EP_CONNECT, struct.pack("=I", non_blocking), address))[0]

    def wait(self, endpoint):
        """Wait until an endpoint is connected."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.retcode(EP_POLL, struct.pack("=QI", endpoint, 1000)):
                return
        raise TimeoutError("the endpoint neither connects nor fails")

    def disconnect(self, endpoint):
        """Give an endpoint back."""
        self.call(EP_DISCONNECT, struct.pack("=Q", endpoint))

    def session(self, endpoint, commands=32, depth=16):
        """A session on an endpoint."""
        return struct.unpack_from("=I", self.call(CREATE_BOUND_SESSION, struct.pack(
            "=QIHH", endpoint, 1, commands, depth)))[0]

    def connection(self, session):
        """The connection of a session."""
        self.call(CREATE_CONN, struct.pack("=II", session, 0))

    def close(self, session):
        """End a session and its connection, whose endpoint is gone."""
        self.call(STOP_CONN, struct.pack("=IIQI", session, 0, 0, 1))
        self.call(DESTROY_CONN, struct.pack("=II", session, 0))
        self.call(DESTROY_SESSION, struct.pack("=I", session))


def address(text):
    """A sockaddr from FAMILY,HOST,PORT; a family that is a number makes a bogus one."""
    family, host, port = text.split(",")
    if family == "4":
        return struct.pack("=H", socket.AF_INET) + struct.pack(">H", int(port)) + \
            socket.inet_aton(host) + bytes(8)
    if family == "6":
        host, _, scope = host.partition("%")
        return struct.pack("=H", socket.AF_INET6) + struct.pack(">HI", int(port), 0) + \
            socket.inet_pton(socket.AF_INET6, host) + struct.pack("=I", int(scope or 0))
    return struct.pack("=H", int(family)) + bytes(26)


def outcome(call, *args):
    """What came of a call: 0 or an errno."""
    try:
        call(*args)
    except Refused as refused:
        return refused.args[0]
    return 0


# cases: each yields outcomes

def reach(iser, times, where):
    """Connect to an address, all at once, and wait for each."""
    where, endpoints = address(where), []
    for _ in range(times):
        try:
            endpoints.append(iser.connect(where))
        except Refused as refused:
            yield refused.args[0]
    for endpoint in endpoints:
        yield outcome(iser.wait, endpoint)
        iser.disconnect(endpoint)


def leave(iser, times, where):
    """Give an endpoint back while it still connects."""
    for _ in range(times):
        iser.disconnect(iser.connect(address(where)))
        yield 0


def block(iser, times, where):
    """Connect without a way to do anything else meanwhile."""
    for _ in range(times):
        yield outcome(lambda: iser.disconnect(iser.connect(address(where), 0)))


def strangers(iser, times, _):
    """Handles and numbers that never were."""
    handle, number = struct.pack("=Q", NO_SUCH), struct.pack("=IIQI", NO_SUCH, 0, 0, 1)
    for _ in range(times):
        yield outcome(iser.retcode, EP_POLL, handle + bytes(4))
        yield outcome(iser.call, EP_DISCONNECT, handle)
        yield outcome(iser.call, CREATE_BOUND_SESSION, handle + struct.pack("=IHH", 1, 32, 16))
        for kind in (DESTROY_SESSION, CREATE_CONN, DESTROY_CONN, BIND_CONN, SET_PARAM,
                     START_CONN, STOP_CONN, SEND_PDU, GET_STATS):
            yield outcome(iser.call, kind, number)


def with_session(iser, where, use):
    """Play with a session that has an endpoint but is not logged in."""
    endpoint = iser.connect(address(where))
    iser.wait(endpoint)
    session = iser.session(endpoint)
    iser.connection(session)
    try:
        yield from use(session, endpoint)
    finally:
        iser.disconnect(endpoint)
        iser.close(session)


def sizes(iser, times, where):
    """Sessions with numbers of commands and depths that make no sense."""
    endpoint = iser.connect(address(where))
    iser.wait(endpoint)
    for _ in range(times):
        for commands, depth in ((0, 0), (1, 1), (3, 0), (7, 65535), (65535, 65535)):
            try:
                session = iser.session(endpoint, commands, depth)
            except Refused as refused:
                yield refused.args[0]
            else:
                iser.call(DESTROY_SESSION, struct.pack("=I", session))
                yield 0
    iser.disconnect(endpoint)


def parameters(iser, times, where):
    """Values that the data path could not live with."""
    wrong = [(number, value) for number in (2, 3, 12, 13) for value in (b"1", b"maybe")]
    wrong += [(number, value) for number in (0, 1, 7, 8)
              for value in (b"0", b"-1", b"4294967296", b"many")]

    def use(session, endpoint):
        bound = struct.pack("=IIQI", session, 0, endpoint, 1)
        iser.retcode(BIND_CONN, bound)
        for _ in range(times):
            for number, value in wrong:
                request = struct.pack("=IIII", session, 0, number, len(value) + 1)
                result = outcome(iser.retcode, SET_PARAM, request, value + b"\0")
                if not result:
                    print(f"accepted: parameter {number} = {value}", file=sys.stderr)
                yield result

    yield from with_session(iser, where, use)


def early(iser, times, where):
    """Started, counted and sent to before it is bound, and bound to what is not there."""
    def use(session, _):
        this, login = struct.pack("=II", session, 0), bytes([0x43, 0x87]) + bytes(46)
        for _ in range(times):
            yield outcome(iser.retcode, START_CONN, this)
            yield outcome(iser.retcode, BIND_CONN, this + struct.pack("=QI", NO_SUCH, 1))
            yield outcome(iser.retcode, SEND_PDU, this + struct.pack("=II", 48, 0), login)

    yield from with_session(iser, where, use)


def pdus(iser, times, where):
    """PDUs that iscsid should not send: too long, or of a kind that is not its business."""
    def use(session, endpoint):
        iser.retcode(BIND_CONN, struct.pack("=IIQI", session, 0, endpoint, 1))
        head = struct.pack("=II", session, 0)
        for _ in range(times):
            for opcode, length in ((0x43, 8193), (0x43, 16384), (0x01, 0), (0x05, 512),
                                   (0x3f, 0)):
                header = bytes([opcode, 0x80, 0, 0, 0]) + length.to_bytes(3, "big") + bytes(40)
                yield outcome(iser.retcode, SEND_PDU, head + struct.pack("=II", 48, length),
                              header + bytes(length))

    yield from with_session(iser, where, use)


CASES = {case.__name__: case for case in
         (reach, leave, block, strangers, sizes, parameters, early, pdus)}


def main():
    """Play one case."""
    case, times, *addresses = sys.argv[1:]
    iser = Iser()
    print(json.dumps({where: sorted(set(CASES[case](iser, int(times), where)))
                      for where in addresses}))


main()
