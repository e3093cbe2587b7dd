"""`advisor mcp`: advisor as tools for a coding agent."""

import gc
from pathlib import Path
from typing import Annotated

import typer

from .. import rulebook as rulebooks
from ..executors import MissingExtra
from .common import RulesFolder


def mcp(
    root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Starter projects may be written in this folder; without it in none."),
    ] = None,
    rules: RulesFolder = None,
) -> None:
    """Serves advisor to a coding agent: an MCP server over stdin and stdout."""
    gc.disable()  # the SDK defines hundreds of models and no garbage: looking for some is a tenth of the start
    try:
        from .. import mcp_server
    except ModuleNotFoundError as fault:
        if (fault.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise MissingExtra("the server needs the SDK", hint="pip install 'metarl-advisor[mcp]'") from fault
    server = mcp_server.build(rulebooks.load(rules), root)
    gc.enable()
    server.run("stdio")
