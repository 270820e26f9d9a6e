"""uvloop (Python on libuv), no parsing."""

import asyncio
import sys

import uvloop


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


async def main(address):
    host, _, port = address.rpartition(":")
    server = await asyncio.get_running_loop().create_server(Echo, host, int(port), backlog=4096)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"listening on {host}:{port}", flush=True)
    await server.serve_forever()


if len(sys.argv) != 2:
    sys.exit("usage: uvloop_raw.py ADDRESS")
uvloop.install()
asyncio.run(main(sys.argv[1]))
