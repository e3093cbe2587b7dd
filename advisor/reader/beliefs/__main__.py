"""Concerns and pitfalls: `python -m advisor.reader.beliefs evaluate FILE` and `python -m advisor.reader.beliefs train`."""

import argparse
import json
from pathlib import Path


def main() -> None:
    """Prints one JSON object: precision and recall on labelled descriptions, or what the heads were trained on."""
    parser = argparse.ArgumentParser(prog="python -m advisor.reader.beliefs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("train", help="rebuild the shipped heads from the corpus")
    commands.add_parser("evaluate", help="score JSONL rows with `text`, `concerns` and `pitfalls`").add_argument(
        "file", type=Path
    )
    chosen = parser.parse_args()
    if chosen.command == "evaluate":
        from .evaluate import evaluate_file

        print(json.dumps(evaluate_file(chosen.file), indent=2))
    else:
        from .train import labelled_rows, train, write

        table, arrays = train(labelled_rows())
        write(table, arrays)
        print(
            json.dumps({**table["trained_on"], "features": len(table["features"]), "thresholds": table["thresholds"]})
        )


if __name__ == "__main__":
    main()
