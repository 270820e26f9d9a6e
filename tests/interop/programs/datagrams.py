"""Datagrams of every kind of size, byte by byte: datagrams.py HOST PORT COUNT LONGEST"""

import os
import random
import socket
import sys

HOST, PORT = sys.argv[1], int(sys.argv[2])
COUNT, LONGEST = int(sys.argv[3]), int(sys.argv[4])
SIZES = [0, 1, 1452, 1453, 1472, 1473, LONGEST]
SIZES += [random.randint(0, LONGEST) for _ in range(COUNT - len(SIZES))]

family, kind, _, _, address = socket.getaddrinfo(HOST, PORT, type=socket.SOCK_DGRAM)[0]
with socket.socket(family, kind) as udp:
    udp.settimeout(60)
    udp.connect(address)
    for size in SIZES:
        sent = os.urandom(size)
        udp.send(sent)
        assert udp.recv(65535) == sent, f"a datagram of {size} bytes came back changed"
print(f"{COUNT} datagrams")
