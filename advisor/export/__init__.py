"""Stage 4: Rulebook -> other formats, all made from the rules and never by hand: tables, the map, schemas, and DMN for other engines."""

from collections.abc import Callable, Mapping

from ..rulebook import Rulebook
from .dmn import dmn
from .drawing import mermaid, svg
from .schemas import record_schema, scenario_schema
from .tables import markdown, page

FORMATS: Mapping[str, Callable[[Rulebook], str]] = {
    "markdown": markdown,
    "page": page,
    "mermaid": mermaid,
    "svg": svg,
    "dmn": dmn,
    "json-schema": scenario_schema,
    "record-schema": record_schema,
}
__all__ = ["FORMATS"]
