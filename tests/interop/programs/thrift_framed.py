"""Apache Thrift's own TFramedTransport: thrift_framed.py PORT COUNT"""

import os
import random
import sys

from thrift.transport import TSocket, TTransport

PORT, COUNT = map(int, sys.argv[1:])
transport = TTransport.TFramedTransport(TSocket.TSocket("127.0.0.1", PORT))
transport.open()
for index in range(COUNT):
    payload = os.urandom(random.randint(1, 200_000))
    transport.write(payload)
    transport.flush()
    assert transport.readAll(len(payload)) == payload, f"frame {index} came back changed"
transport.close()
print(f"{COUNT} frames")
