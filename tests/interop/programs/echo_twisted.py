"""Echoes the strings of Twisted's Int32StringReceiver. Arguments: the port."""

import sys

from twisted.internet import protocol, reactor
from twisted.protocols.basic import Int32StringReceiver


class Echo(Int32StringReceiver):
    def stringReceived(self, string):
        self.sendString(string)


factory = protocol.ServerFactory()
factory.protocol = Echo
reactor.listenTCP(int(sys.argv[1]), factory, interface="127.0.0.1")
reactor.run()
