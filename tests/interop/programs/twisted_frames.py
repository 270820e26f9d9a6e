"""Twisted's own IntNStringReceiver: twisted_frames.py PORT BITS COUNT"""

import os
import random
import sys
from collections import deque

from twisted.internet import endpoints, protocol, reactor
from twisted.protocols import basic

PORT, BITS, COUNT = map(int, sys.argv[1:])
RECEIVER = {
    8: basic.Int8StringReceiver,
    16: basic.Int16StringReceiver,
    32: basic.Int32StringReceiver,
}[BITS]
MOST = min(RECEIVER.MAX_LENGTH, 2**BITS - 1)
SIZES = [0, MOST] + [random.randint(0, MOST) for _ in range(COUNT - 2)]


class Frames(RECEIVER):
    def connectionMade(self):
        self.unsent = deque(os.urandom(size) for size in SIZES)
        self.awaited = deque()
        self.back = 0
        for _ in range(10):
            self.sendNext()

    def sendNext(self):
        if self.unsent:
            self.awaited.append(self.unsent.popleft())
            self.sendString(self.awaited[-1])

    def stringReceived(self, string):
        if string != self.awaited.popleft():
            print(f"frame {self.back} came back changed")
            reactor.stop()
            return
        self.back += 1
        if self.back == COUNT:
            print(f"{COUNT} frames")
            self.transport.loseConnection()
        self.sendNext()

    def connectionLost(self, reason=protocol.connectionDone):
        if reactor.running:
            reactor.stop()


endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", PORT)
endpoints.connectProtocol(endpoint, Frames()).addErrback(lambda why: (print(why), reactor.stop()))
reactor.run()
