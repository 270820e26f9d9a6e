"""picows on uvloop: each message goes back from its callback."""

import asyncio
import sys

import uvloop
from picows import WSListener, WSMsgType, ws_create_server

LIMIT = 16 << 20


class Echo(WSListener):
    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview(), frame.fin)


async def main(address):
    host, _, port = address.rpartition(":")
    server = await ws_create_server(
        lambda request: Echo(), host, int(port), backlog=4096, max_frame_size=LIMIT
    )
    host, port = server.sockets[0].getsockname()[:2]
    print(f"listening on {host}:{port}", flush=True)
    await server.serve_forever()


if len(sys.argv) != 2:
    sys.exit("usage: picows_echo.py ADDRESS")
uvloop.install()
asyncio.run(main(sys.argv[1]))
