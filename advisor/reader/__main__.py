"""`python -m advisor.reader evaluate FILE` scores the reader; `python -m advisor.reader train` rebuilds its weights."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from ..errors import AdvisorError


def main(argv: list[str] | None = None) -> int:
    """Run one of the two commands; 0 done, 2 input that cannot be read or is missing."""
    parser = argparse.ArgumentParser(prog="python -m advisor.reader", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    scoring = commands.add_parser("evaluate", help="score labelled descriptions and print one JSON object")
    scoring.add_argument("file", type=Path, help="JSONL rows with text, recommendation and facts")
    scoring.add_argument("--reader", choices=["careful", "quick", "llm"], default="careful")
    training = commands.add_parser(
        "train",
        help="rebuild the shipped weights from the corpus; what was fine-tuned on the same rows with the same settings is taken over",
    )
    training.add_argument("--out", type=Path, default=None, help="folder for the weights (default: the shipped ones)")
    training.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    training.add_argument("--anew", action="store_true", help="fine-tune the encoders in any case (hours of CPU)")
    options = parser.parse_args(argv)
    if options.command == "train" and options.workers < 1:
        training.error("--workers must be at least 1")
    if options.command == "evaluate":
        from .evaluate import evaluate_file

        try:
            figures = evaluate_file(options.file, options.reader)
        except (OSError, ValueError) as error:
            print(f"error[unreadable-rows]: {error}", file=sys.stderr)
            return 2
        except AdvisorError as error:
            print(error, file=sys.stderr)
            return error.exit_code
        print(json.dumps(figures, indent=2))
        return 0
    from .model import WEIGHTS
    from .train import TRAINING, build, save

    if not (start := WEIGHTS / TRAINING / "published.safetensors").is_file():
        print(f"error[no-start]: {start} is missing: wheels leave it out; train from a checkout", file=sys.stderr)
        return 2
    made = build(
        say=lambda line: print(line, file=sys.stderr, flush=True),
        workers=options.workers,
        earlier=None if options.anew else WEIGHTS,
    )
    save(made, options.out or WEIGHTS)
    shown = {name: made.about[name] for name in ("corpus_sha256", "clauses", "descriptions", "held_out")}
    print(json.dumps(shown, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
