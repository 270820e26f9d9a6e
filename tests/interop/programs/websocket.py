"""PyPI's websockets: websocket.py URL COUNT PATH, where no message may be longer than 1 MiB"""

import asyncio
import os
import random
import sys

import websockets
from websockets.asyncio.client import connect, unix_connect

URL, COUNT, PATH = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def message(index):
    size = [0, 1, 125, 126, 65535, 65536, 1 << 20][index] if index < 7 else random.randrange(5000)
    return os.urandom(size) if index % 2 else "é€𝄞x"[: size % 4] + "é" * (size // 4)


async def exchange(socket):
    messages = [message(index) for index in range(COUNT)]

    async def send():
        for index, message in enumerate(messages):
            if index % 5 or len(message) < 9:
                await socket.send(message)
            else:
                # An iterable leaves as the fragments of one message.
                cut = len(message) // 3
                await socket.send([message[:cut], message[cut : 2 * cut], message[2 * cut :]])

    sender = asyncio.create_task(send())
    for index, message_ in enumerate(messages):
        assert await socket.recv() == message_, f"message {index} came back changed"
    await sender
    await (await socket.ping(b"still there?"))


async def main():
    async with connect(URL, subprotocols=["chat"]) as socket:
        assert socket.subprotocol == "chat"
        await exchange(socket)
    assert socket.close_code == 1000
    async with unix_connect(PATH, "ws://localhost/") as socket:
        await exchange(socket)
    async with connect(URL) as socket:
        await socket.send(b"x" * ((1 << 20) + 1))
        try:
            await socket.recv()
        except websockets.ConnectionClosedError as closed:
            assert closed.rcvd.code == 1009, closed
        else:
            raise AssertionError("a message over the limit came back")


asyncio.run(main())
print(f"{COUNT} messages")
