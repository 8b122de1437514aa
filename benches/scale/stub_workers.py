#!/usr/bin/env python3
"""Many workers that do nothing: one process that a coordinator takes for N workers, which are always ready.

Listens at N addresses of the loopback network (127.77.0.1, 127.77.0.2, …) on one port and prints them, separated by commas.
Each answers the two calls that a coordinator makes before work, as planner/src/distributed/call.rs has them: `Hello` and
`Ping`. Whatever else is asked is never answered. It speaks as much of HTTP/2 and gRPC as that takes. Ends with its standard input.

Usage: stub_workers.py N PORT
"""

import asyncio
import resource
import sys

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
# `:status: 200` and `content-type: application/grpc`, then `grpc-status: 0`, as HPACK writes fields that it keeps no table of.
ANSWER = b"\x88\x0f\x10\x10application/grpc"
TRAILER = b"\x00\x0bgrpc-status\x010"
# Numbers of the calls.
HELLO, ASKED_HOW_IT_IS = 0, 2


def varint(value):
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def counted(content):
    return varint(len(content)) + content


def frame(kind, flags, stream, content=b""):
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def reply(content):
    """A good reply as a message of gRPC: `Ok` of bytes."""
    content = b"\x00" + counted(content)
    return b"\x00" + len(content).to_bytes(4, "big") + content


class Worker:
    """One address."""

    def __init__(self, number):
        instance = varint(number)
        threads, memory = varint(2), varint(8 << 30)
        self.facts = reply(instance + counted(b"stub") + threads + memory)
        self.pong = reply(instance + b"\x00" * 4)

    async def serve(self, reader, writer):
        try:
            assert await reader.readexactly(len(PREFACE)) == PREFACE
            # Requests never wait for room.
            writer.write(frame(SETTINGS, 0, 0) + frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))
            while True:
                await self.answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, reader, writer):
        head = await reader.readexactly(9)
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        content = await reader.readexactly(int.from_bytes(head[:3], "big"))
        if kind in (SETTINGS, PING) and not flags & ACK:
            writer.write(frame(kind, ACK, 0, content if kind == PING else b""))
        # Calls are shorter than a frame. Behind a byte and the length stands the number of the call.
        if kind == DATA and len(content) > 5 and content[5] in (HELLO, ASKED_HOW_IT_IS):
            message = self.facts if content[5] == HELLO else self.pong
            writer.write(
                frame(HEADERS, END_HEADERS, stream, ANSWER)
                + frame(DATA, 0, stream, message)
                + frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILER)
            )


async def main(n_workers, port):
    addresses = [f"127.77.{number // 250}.{number % 250 + 1}" for number in range(n_workers)]
    for number, address in enumerate(addresses):
        await asyncio.start_server(Worker(number + 1).serve, address, port)
    print(",".join(f"{address}:{port}" for address in addresses), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
