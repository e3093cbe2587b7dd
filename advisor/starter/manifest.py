"""advisor.json of a project, read back. It lies in a folder of the user's, so nothing in it is believed unchecked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import scenario as scenarios
from ..errors import BadScenario, quoted
from ..facts import Facts, Known
from ..reader import Span
from ..rulebook import Rulebook
from ..scenario import Scenario
from .files import project_name

NAME = "advisor.json"


@dataclass(frozen=True)
class Manifest:
    """What a project was made from; `files` holds the hash (SHA-256, hex) of each file as it was written."""

    project: str
    scenario: Scenario
    facts: Facts
    verdict: str
    family: str
    insisted: bool
    env: str
    files: Mapping[str, str]


def read(folder: Path, book: Rulebook) -> Manifest:
    """The manifest of a project. Raises BadScenario where there is none, or what it holds can't be used."""
    path = folder / NAME
    place = quoted(str(path), 300)
    if path.is_symlink() or not path.is_file():
        raise BadScenario(
            "is no starter project: it has no advisor.json", quoted(str(folder), 300), "write one: advisor new"
        )
    held = scenarios.load_mapping(path)
    family, project, files = held.get("family"), held.get("project", ""), held.get("files")
    env, text = held.get("env", ""), held.get("text", "")
    if not all(isinstance(word, str) for word in (family, project, env, text)) or not isinstance(files, dict):
        raise BadScenario("holds no `family`, `files` and `facts` as advisor writes them", place, "restore it")
    scenarios.check_text(text, place)
    return Manifest(
        project=project_name(project or folder.name),
        scenario=Scenario(str(held.get("scenario") or "")[:200], text),
        facts=_facts(held.get("facts"), place, book),
        verdict=str(held.get("verdict") or ""),
        family=str(family),
        insisted=held.get("insisted") is True,
        env=env,
        files=_hashes(files),
    )


def hashes(folder: Path) -> dict[str, str]:
    """The hash of each file that advisor wrote into a folder; empty where it wrote nothing that could be told."""
    path = folder / NAME
    try:
        held = scenarios.load_mapping(path) if path.is_file() and not path.is_symlink() else {}
    except BadScenario:
        return {}
    files = held.get("files")
    return _hashes(files) if isinstance(files, dict) else {}


def _hashes(files: Mapping[Any, Any]) -> dict[str, str]:
    return {
        name: digest
        for name, digest in files.items()
        if isinstance(name, str) and isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)
    }


def _facts(held: Any, place: str, book: Rulebook) -> dict[str, Known]:
    if not isinstance(held, dict):
        raise BadScenario("holds no `facts`", place, "restore it")
    facts = {}
    for name, entry in held.items():
        value = entry.get("value") if isinstance(entry, dict) else None
        if name not in book.facts or not isinstance(value, str) or not book.facts[name].accepts(value):
            raise BadScenario(
                f"holds the fact `{quoted(str(name))}` with a value that the rules don't know",
                place,
                "see: advisor rules list facts",
            )
        sure, source = entry.get("confidence"), entry.get("source")
        spans = entry.get("evidence") if isinstance(entry.get("evidence"), list) else []
        facts[name] = Known(
            value,
            float(sure) if isinstance(sure, int | float) and 0 <= sure <= 1 else 1.0,
            source if source in ("text", "assumed", "file", "answer") else "file",
            tuple(
                Span(int(s["start"]), int(s["end"]), s["text"])
                for s in spans
                if isinstance(s, dict)
                and isinstance(s.get("text"), str)
                and isinstance(s.get("start"), int)
                and isinstance(s.get("end"), int)
            ),
        )
    return facts
