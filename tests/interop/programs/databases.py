"""What the clients of Kafka, MongoDB and PostgreSQL themselves write: databases.py PORT PRESET COUNT

Those clients would not take an echo for an answer, so their bytes are what is compared.
"""

import random
import socket
import sys
import threading

PORT, PRESET, COUNT = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])


def text():
    return "".join(random.choice("abcdefgh ") for _ in range(random.choice((1, 100, 10_000))))


def kafka():
    from kafka.protocol.metadata import ApiVersionsRequest, MetadataRequest
    from kafka.protocol.parser import KafkaProtocol

    protocol = KafkaProtocol(client_id="interop")
    for index in range(COUNT):
        if index % 2:
            protocol.send_request(ApiVersionsRequest[0]())
        else:
            protocol.send_request(MetadataRequest[1]([text()[:200]]))
        yield protocol.send_bytes()


def mongodb():
    import bson
    from pymongo import message

    for _ in range(COUNT):
        command = {"insert": "lines", "text": text()}
        _, packet, _, _ = message._op_msg(
            0, command, "test", None, bson.codec_options.CodecOptions()
        )
        yield packet


def postgres():
    from pg8000 import core

    for _ in range(COUNT):
        yield core._create_message(core.QUERY, text().encode() + b"\0")


packets = list({"kafka": kafka, "mongodb": mongodb, "postgres": postgres}[PRESET]())
assert len(packets) == COUNT
with socket.create_connection(("127.0.0.1", PORT)) as connection:
    sender = threading.Thread(target=lambda: [connection.sendall(packet) for packet in packets])
    sender.start()
    reader = connection.makefile("rb")
    for index, packet in enumerate(packets):
        assert reader.read(len(packet)) == packet, f"frame {index} came back changed"
    sender.join()
print(f"{COUNT} frames")
