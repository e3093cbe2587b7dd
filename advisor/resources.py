"""The one place that knows where the rules and the reference implementations lie, in a checkout and when installed."""

import importlib.util
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def rules_folder() -> Path:
    """The shipped rules: `rules/` beside the package in a checkout, `advisor/_rules/` in an installed wheel.

    The checkout wins, since an editable install leaves a copy of the rules that grows stale.
    """
    beside = _PACKAGE.parent / "rules"
    return beside if (beside / "settings.toml").is_file() else _PACKAGE / "_rules"


def reference_folder() -> Path:
    """The folder of the reference implementations, found without importing them (and so without torch)."""
    spec = importlib.util.find_spec("reference_impls")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package reference_impls is not installed beside advisor")
    return Path(spec.origin).parent
