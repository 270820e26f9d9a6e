"""Scapy's BGP messages over its own stream socket: bgp.py PORT COUNT"""

import os
import random
import socket
import sys

from scapy.contrib.bgp import (
    BGPHeader,
    BGPKeepAlive,
    BGPNLRI_IPv4,
    BGPNotification,
    BGPOpen,
    BGPPAOrigin,
    BGPPathAttr,
    BGPUpdate,
)
from scapy.supersocket import StreamSocket

PORT, COUNT = map(int, sys.argv[1:])
LONGEST, HEADER, BATCH = 4096, 19, 10


def notification(size):
    """Its data is free, so it can have any size."""
    data = os.urandom(size - HEADER - 2)
    return BGPHeader() / BGPNotification(error_code=6, error_subcode=2, data=data)


def update():
    routes = [
        BGPNLRI_IPv4(prefix=f"10.{random.randrange(256)}.{random.randrange(256)}.0/24")
        for _ in range(random.randrange(100))
    ]
    origin = BGPPathAttr(type_code="ORIGIN", attribute=BGPPAOrigin(origin="IGP"))
    return BGPHeader() / BGPUpdate(path_attr=[origin], nlri=routes)


def random_message():
    return random.choice(
        (
            BGPKeepAlive,
            lambda: BGPHeader() / BGPOpen(my_as=65000, hold_time=180, bgp_id="192.0.2.1"),
            lambda: notification(random.randint(HEADER + 2, LONGEST)),
            update,
        )
    )()


messages = [BGPKeepAlive(), notification(LONGEST)]
messages += [random_message() for _ in range(COUNT - len(messages))]
with socket.create_connection(("127.0.0.1", PORT)) as connection:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = StreamSocket(connection, BGPHeader)
    for start in range(0, COUNT, BATCH):
        batch = messages[start : start + BATCH]
        for message in batch:
            assert stream.send(message) == len(message)
        for index, message in enumerate(batch, start):
            back = stream.recv()
            assert bytes(back) == bytes(message), f"message {index} came back changed"
            assert back.type == message.type and back.len == len(message)
print(f"{COUNT} frames")
