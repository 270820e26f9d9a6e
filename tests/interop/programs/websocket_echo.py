"""PyPI's websockets as a server that echoes, for a load that starts it; every other message goes back in fragments"""

import asyncio

from websockets.asyncio.server import serve


async def echo(socket):
    count = 0
    async for message in socket:
        cut = len(message) // 2
        await socket.send([message[:cut], message[cut:]] if count % 2 and cut else message)
        count += 1
        if count % 100 == 0:
            await (await socket.ping())


async def main():
    # It would agree on compression, but none is offered to it.
    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"listening on ws://127.0.0.1:{port}", flush=True)
        await server.serve_forever()


asyncio.run(main())
