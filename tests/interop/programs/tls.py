"""Python's ssl: tls.py PORT CA VERSION COUNT [CERTIFICATE KEY], where VERSION is 1.2 or 1.3"""

import os
import random
import socket
import ssl
import struct
import sys

PORT, CA, VERSION, COUNT = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])

context = ssl.create_default_context(cafile=CA)
context.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[VERSION]
if sys.argv[5:]:
    context.load_cert_chain(*sys.argv[5:])


def connect(session=None):
    plain = socket.create_connection(("127.0.0.1", PORT))
    return context.wrap_socket(plain, server_hostname="localhost", session=session)


def receive(connection, count):
    received = bytearray()
    while len(received) < count:
        piece = connection.recv(count - len(received))
        assert piece, f"it ended after {len(received)} of {count} bytes"
        received += piece
    return received


def exchange(connection, count):
    sizes = [0, 1, 16 << 10, (16 << 10) + 1, 1 << 20]
    for index in range(count):
        size = sizes[index] if index < len(sizes) else random.randrange(40_000)
        frame = struct.pack("<I", size) + os.urandom(size)
        connection.sendall(frame)
        assert receive(connection, len(frame)) == frame, f"frame {index} came back changed"
    session = connection.session
    # Sends close_notify, and fails unless the server's follows.
    connection.unwrap().close()
    return session


session = exchange(connect(), COUNT - 5)
again = connect(session)
assert again.session_reused, "the session was not resumed"
exchange(again, 5)
print(f"{COUNT} frames")
