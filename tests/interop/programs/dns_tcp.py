"""dnspython's own messages over TCP: dns_tcp.py PORT COUNT"""

import random
import socket
import sys

import dns.message
import dns.query

PORT, COUNT = map(int, sys.argv[1:])
with socket.create_connection(("127.0.0.1", PORT)) as connection:
    for index in range(COUNT):
        name = ".".join("x" * random.randint(1, 60) for _ in range(random.randint(1, 4)))
        query = dns.message.make_query(name, random.choice(("A", "AAAA", "TXT")))
        dns.query.send_tcp(connection, query)
        back, _ = dns.query.receive_tcp(connection)
        assert back.to_wire() == query.to_wire(), f"message {index} came back changed"
print(f"{COUNT} frames")
