"""A slow link: forwards Ethernet frames between two devices, each after a delay: relay.py ONE OTHER SECONDS

It says "ready", and ends when its standard input is closed. It takes root."""

import collections
import select
import socket
import sys
import time

ETH_P_ALL = 3
IPV4, UDP = b"\x08\x00", 17


def without_checksum(frame):
    """The kernel leaves UDP checksums of local traffic unfinished; 0 is for none (RFC 768)."""
    start = 14 + 4 * (frame[14] & 15)
    if frame[12:14] != IPV4 or frame[23] != UDP:
        return frame
    return frame[: start + 6] + b"\0\0" + frame[start + 8 :]


devices = []
for name in sys.argv[1:3]:
    device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    device.bind((name, 0))
    devices.append(device)
delay = float(sys.argv[3])
delayed = collections.deque()
print("ready", flush=True)
while True:
    wait = max(0, delayed[0][0] - time.monotonic()) if delayed else None
    ready, _, _ = select.select([sys.stdin, *devices], [], [], wait)
    if sys.stdin in ready:
        break
    for index, device in enumerate(devices):
        if device in ready:
            frame, (_, _, kind, *_) = device.recvfrom(65535)
            if kind != socket.PACKET_OUTGOING:
                delayed.append((time.monotonic() + delay, devices[1 - index], without_checksum(frame)))
    while delayed and delayed[0][0] <= time.monotonic():
        _, device, frame = delayed.popleft()
        device.send(frame)
