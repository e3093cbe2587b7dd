"""Concerns and pitfalls: `python -m advisor.reader.beliefs FILE` scores them on JSONL rows with `text`, `concerns` and `pitfalls`.

Their heads are trained with the rest of the reader, by `python -m advisor.reader train`.
"""

import argparse
import json
from pathlib import Path

from .evaluate import evaluate_file


def main() -> None:
    """Prints one JSON object: precision and recall on labelled descriptions."""
    parser = argparse.ArgumentParser(prog="python -m advisor.reader.beliefs", description=__doc__)
    parser.add_argument("file", type=Path)
    print(json.dumps(evaluate_file(parser.parse_args().file), indent=2))


if __name__ == "__main__":
    main()
