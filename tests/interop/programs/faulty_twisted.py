"""Twisted's Int32StringReceiver and a server that misbehaves: faulty_twisted.py PORT

Two frames, one after the other: what came of the second.
"""

import sys

from twisted.internet import endpoints, reactor
from twisted.protocols import basic


class Frames(basic.Int32StringReceiver):
    MAX_LENGTH = 1_000_000
    back = 0

    def connectionMade(self):
        self.sendString(b"first")

    def stringReceived(self, string):
        self.back += 1
        if self.back == 1:
            assert string == b"first"
            self.sendString(b"second")
        else:
            print("received", string.decode("latin-1"))
            self.transport.loseConnection()

    def lengthLimitExceeded(self, length):
        print("length", length)
        self.transport.abortConnection()

    def connectionLost(self, reason):
        print(reason.type.__name__, len(self.recvd), "left over")
        if reactor.running:
            reactor.stop()


endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", int(sys.argv[1]))
endpoints.connectProtocol(endpoint, Frames())
reactor.run()
