"""The MCP server: CPU seconds until a client has its tools, and CPU milliseconds of a call with facts; the floor is importing the SDK."""

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

from advisor import rulebook

CASE = "mcp-server"
UNIT = "CPU seconds of the server from its start to its end, a client having asked for its tools"
STARTS = 5
CALLS = 500
_ROOT = Path(__file__).parent.parent


def run(seed: int) -> dict[str, Any]:
    """The least of five starts, after one that is not counted; then calls that run through all combinations of the deciding facts."""
    starts = [asyncio.run(server_cpu(0))[0] for _ in range(STARTS + 1)][1:]
    busy, waits = asyncio.run(server_cpu(CALLS))
    floor = min(cpu_of([sys.executable, "-c", "import mcp.server.mcpserver"]) for _ in range(STARTS))
    return {
        "figure": min(starts),
        "cpu_seconds": min(starts),
        "settings": {"starts": STARTS, "calls": CALLS},
        "reference": {
            "floor: python -c 'import mcp.server.mcpserver'": floor,
            "CPU ms of the server a call with facts": 1000 * (busy - statistics.median(starts)) / CALLS,
            "median wall ms a call with facts, client included": 1000 * statistics.median(waits),
        },
    }


async def server_cpu(calls: int) -> tuple[float, list[float]]:
    """CPU seconds of a server that lists its tools and answers so many calls, and the wall seconds of each call."""
    from mcp import Client, StdioServerParameters  # an extra, which listing the cases does without

    facts = rulebook.load().decisive
    points = [
        {fact.id: value for fact, value in zip(facts, values, strict=True)}
        for values in product(*(("unknown", *fact.values) for fact in facts))
    ]
    waits = []
    before = used()
    server = StdioServerParameters(command=sys.executable, args=["-m", "advisor", "mcp"], cwd=_ROOT)
    async with Client(server) as client:
        await client.list_tools()
        for number in range(calls):
            start = time.perf_counter()
            answer = await client.call_tool("recommend", {"facts": points[number % len(points)]})
            waits.append(time.perf_counter() - start)
            assert not answer.is_error
    return used() - before, waits


def used() -> float:
    """CPU seconds of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cpu_of(command: list[str]) -> float:
    """CPU seconds of a whole process."""
    before = used()
    subprocess.run(command, check=True, env={**os.environ})
    return used() - before
