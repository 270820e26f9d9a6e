"""Protocol Buffers' own length-prefixed messages: protobuf_delimited.py PORT COUNT"""

import os
import random
import socket
import sys
import threading

from google.protobuf import proto, wrappers_pb2

PORT, COUNT = map(int, sys.argv[1:])
MESSAGES = [wrappers_pb2.BytesValue()] + [
    wrappers_pb2.BytesValue(value=os.urandom(random.choice((100, 300, 100_000)) * i // COUNT))
    for i in range(1, COUNT)
]


def send(writer):
    for message in MESSAGES:
        proto.serialize_length_prefixed(message, writer)
    writer.flush()


with socket.create_connection(("127.0.0.1", PORT)) as connection:
    sender = threading.Thread(target=send, args=(connection.makefile("wb"),))
    sender.start()
    reader = connection.makefile("rb")
    for index, message in enumerate(MESSAGES):
        back = proto.parse_length_prefixed(wrappers_pb2.BytesValue, reader)
        assert back == message, f"message {index} came back changed"
    sender.join()
print(f"{COUNT} frames")
