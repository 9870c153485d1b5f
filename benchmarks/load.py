"""A load generator in its own process: keep-alive connections that each send the same request again and again.

Prints one JSON line: answers per second, p50 and p99 in milliseconds, and how many answers were no 200.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path


async def connection(
    host: str, port: int, request: bytes, until: float, latencies: list[float], errors: list[bytes]
) -> None:
    """Send requests one after the other until the time is over."""
    reader, writer = await asyncio.open_connection(host, port)
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        latencies.append(time.perf_counter() - started)
        if not head.startswith(b"HTTP/1.1 200"):
            errors.append(head)
    writer.close()


async def main() -> None:
    """Parse, load, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    body = options.image.read_bytes()
    head = f"POST {options.path} HTTP/1.1\r\nHost: x\r\nContent-Type: image/webp\r\nContent-Length: {len(body)}\r\n\r\n"
    latencies: list[float] = []
    errors: list[bytes] = []
    started = time.perf_counter()
    until = started + options.seconds
    request = head.encode() + body
    await asyncio.gather(
        *(connection(options.host, options.port, request, until, latencies, errors) for _ in range(options.concurrency))
    )
    seconds = time.perf_counter() - started
    latencies.sort()
    at = {p: 1000 * latencies[min(len(latencies) - 1, int(p * len(latencies)))] for p in (0.5, 0.99)}
    print(
        json.dumps(
            {"per_second": len(latencies) / seconds, "p50_ms": at[0.5], "p99_ms": at[0.99], "errors": len(errors)}
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
