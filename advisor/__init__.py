"""advisor: which family of algorithm fits training on many tasks, and the evidence that it does.

Six functions and their types are public; each is imported on first use, so that `import advisor` costs next to nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import AdvisorError
    from .fit import FitReport
    from .library import classify_many, fit_scenario, new, next_question, read, recommend
    from .record import QuestionRecord, Record
    from .scenario import Scenario
    from .starter import Project

__version__ = "0.1.0"
__all__ = [
    "AdvisorError",
    "FitReport",
    "Project",
    "QuestionRecord",
    "Record",
    "Scenario",
    "__version__",
    "classify_many",
    "fit_scenario",
    "new",
    "next_question",
    "read",
    "recommend",
]
_HOMES = {
    "AdvisorError": "errors",
    "FitReport": "fit",
    "Project": "starter",
    "QuestionRecord": "record",
    "Record": "record",
    "Scenario": "scenario",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module `advisor` has no attribute `{name}`; public are: {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES.get(name, 'library')}", __name__), name)


def __dir__() -> list[str]:
    return list(__all__)
