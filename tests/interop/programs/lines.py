"""asyncio's own streams: lines.py PORT COUNT LONGEST"""

import asyncio
import random
import sys

PORT, COUNT, LONGEST = map(int, sys.argv[1:])


async def exchange():
    lines = [
        bytes(random.choices(range(ord(" "), 256), k=size)) + random.choice((b"\n", b"\r\n"))
        for size in [0, LONGEST] + [random.randint(0, LONGEST) for _ in range(COUNT - 2)]
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT, limit=LONGEST + 3)

    async def send():
        for line in lines:
            writer.write(line)
            await writer.drain()

    sender = asyncio.create_task(send())
    for index, line in enumerate(lines):
        assert await reader.readline() == line, f"line {index} came back changed"
    await sender
    writer.close()


async def be_refused():
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(b"good\n" + b"x" * (LONGEST + 2))
    assert await reader.read() == b"good\n"
    writer.close()


asyncio.run(exchange())
asyncio.run(be_refused())
print(f"{COUNT} lines")
