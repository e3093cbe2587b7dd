"""advisor: which family of algorithm fits training on many tasks, and the evidence that it does."""

from .engine import Recommendation, recommend
from .facts import establish
from .questions import next_question
from .rulebook import load as load_rules
from .scenario import Scenario

__version__ = "0.1.0"
__all__ = ["Recommendation", "Scenario", "__version__", "establish", "load_rules", "next_question", "recommend"]
