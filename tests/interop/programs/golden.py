"""The example frame of each preset as the protocol's own library writes it: a name and its bytes in hex, a line each"""

import io

import bson
import dns.message
from google.protobuf import proto, wrappers_pb2
from kafka.protocol.metadata import ApiVersionsRequest
from pg8000 import core
from pymongo import message
from scapy.contrib.bgp import BGPKeepAlive
from thrift.protocol import TBinaryProtocol
from thrift.Thrift import TMessageType
from thrift.transport import TTransport
from twisted.internet.testing import StringTransport
from twisted.protocols import basic


def twisted(receiver):
    protocol = receiver()
    protocol.makeConnection(StringTransport())
    protocol.sendString(b"hello")
    return protocol.transport.value()


def thrift():
    memory = TTransport.TMemoryBuffer()
    framed = TTransport.TFramedTransport(memory)
    protocol = TBinaryProtocol.TBinaryProtocol(framed)
    protocol.writeMessageBegin("ping", TMessageType.CALL, 0)
    protocol.writeFieldStop()
    framed.flush()
    return memory.getvalue()


def kafka():
    request = ApiVersionsRequest[0]()
    request.with_header(correlation_id=1, client_id=None)
    return request.encode(framed=True, header=True)


def dns_query():
    query = dns.message.make_query("example.com", "A", id=0x1234)
    return query.to_wire(prepend_length=True)


def protobuf():
    out = io.BytesIO()
    proto.serialize_length_prefixed(wrappers_pb2.Int32Value(value=150), out)
    return out.getvalue()


def mongodb():
    options = bson.codec_options.CodecOptions()
    _, packet, _, _ = message._op_msg(0, {"ping": 1}, "admin", None, options)
    # The number of the request is a random one.
    return packet[:4] + b"\1\0\0\0" + packet[8:]


for name, frame in {
    "twisted-8": twisted(basic.Int8StringReceiver),
    "twisted-16": twisted(basic.Int16StringReceiver),
    "twisted-32": twisted(basic.Int32StringReceiver),
    "thrift": thrift(),
    "kafka": kafka(),
    "dns": dns_query(),
    "protobuf": protobuf(),
    "postgres": core._create_message(core.QUERY, b"SELECT 1\0"),
    "mongodb": mongodb(),
    "bgp": bytes(BGPKeepAlive()),
}.items():
    print(name, frame.hex())
