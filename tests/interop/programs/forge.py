"""Sends one UDP datagram with a source address that is another's, which takes root: forge.py FROM TO"""

import socket
import struct
import sys

(source, source_port), (target, target_port) = (word.rsplit(":", 1) for word in sys.argv[1:])
payload = b"forged"
length = 8 + len(payload)
udp = struct.pack("!HHHH", int(source_port), int(target_port), length, 0) + payload
# The kernel fills in what is zero: length, identification and checksum.
addresses = socket.inet_aton(source) + socket.inet_aton(target)
ip = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
    raw.sendto(ip + udp, (target, 0))
