"""Stage 4b: many scenarios through stages 1 to 4, in the order of the input, on any concurrent.futures.Executor.

`classify` gives records to a program; `run` makes a file or a stream of them, as fast and as safely as it goes.
"""

from .answers import CSV_HEADER, to_csv_row, to_jsonl
from .inputs import resolve, total_size
from .output import Handed, Output, ResumableFile, Stream
from .records import classify
from .rows import Row, rows
from .run import FORMATS, format_of, output_file, run
from .summary import Tally, errors, to_line, to_markdown

__all__ = [
    "CSV_HEADER",
    "FORMATS",
    "Handed",
    "Output",
    "ResumableFile",
    "Row",
    "Stream",
    "Tally",
    "classify",
    "errors",
    "format_of",
    "output_file",
    "resolve",
    "rows",
    "run",
    "to_csv_row",
    "to_jsonl",
    "to_line",
    "to_markdown",
    "total_size",
]
