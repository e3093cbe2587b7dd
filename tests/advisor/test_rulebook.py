"""Rules files: an own folder over the shipped one, and one clear message for whatever is wrong in it."""

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import rulebook
from advisor.errors import RulesError, UnknownEntry
from advisor.resources import rules_folder

BOOK = rulebook.load()
FACT = """
[[fact]]
id = "night"
kind = "decisive"
question = "Does it work at night?"
why = "Sight."
values = [{ id = "dark", label = "Yes" }, { id = "light", label = "No" }]
source = ["us"]
example = "Night shift."
near_miss = "Day shift."
"""
WHOLE = {
    "facts": FACT,
    "verdicts": "".join(
        f'[[verdict]]\nid = "{i}"\nlabel = "{i}"\nframing = "none"\nfamily = ""\nheadline = "x"\nnext = "x"\nsource = ["us"]\n'
        'example = "x"\nnear_miss = "x"\n'
        for i in ("lamp", "undecided", "window")
    ),
    "settings": "".join(
        f'[[setting]]\nid = "s_{value}"\nlabel = "x"\nwhen = {{ night = ["{value}"] }}\nrecommend = "{verdict}"\npriority = {n}\n'
        f'because = "x"\nsource = ["us"]\nlimits = "x"\nexample = {{ text = "x", facts = {{ night = "{value}" }} }}\n'
        f'near_miss = {{ text = "x", change = {{ night = "{other}" }}, verdict = "{elsewhere}" }}\n'
        for n, value, verdict, other, elsewhere in (
            (1, "dark", "lamp", "light", "window"),
            (2, "light", "window", "dark", "lamp"),
        )
    ),
}


def folder_with(tmp_path: Path, **files: str) -> Path:
    for name, content in files.items():
        (tmp_path / f"{name}.toml").write_text(content)
    return tmp_path


def test_a_copy_of_the_shipped_rules_is_the_same_rule_set(tmp_path: Path) -> None:
    """The version is made from what the rules say: a whole copy, with another comment, bears the same one."""
    folder = tmp_path / "copy"
    shutil.copytree(rules_folder(), folder)
    (folder / "facts.toml").write_text("# our copy\n" + (folder / "facts.toml").read_text())
    assert rulebook.load(folder).version == BOOK.version


def test_an_overlay_names_only_what_differs(tmp_path: Path) -> None:
    """A field of a known entry is replaced, the others and every other entry stay, and the version is another."""
    folder = folder_with(tmp_path, verdicts='[[verdict]]\nid = "maml"\nlabel = "gradient meta-learning"\n')
    book = rulebook.load(folder)
    mine, shipped = book.entries["verdicts"]["maml"], BOOK.entries["verdicts"]["maml"]
    assert mine["label"] == "gradient meta-learning"
    assert {k: v for k, v in mine.items() if k != "label"} == {k: v for k, v in shipped.items() if k != "label"}
    assert book.entries["settings"] == BOOK.entries["settings"] and book.version != BOOK.version
    assert BOOK.entries["verdicts"]["maml"]["label"] == "MAML"


def test_an_entry_can_be_dropped(tmp_path: Path) -> None:
    """`drop = true` takes a shipped entry out."""
    folder = folder_with(tmp_path, golden='[[golden]]\nid = "g12_shift"\ndrop = true\n')
    assert set(BOOK.entries["golden"]) - set(rulebook.load(folder).entries["golden"]) == {"g12_shift"}


def test_rules_that_extend_nothing(tmp_path: Path) -> None:
    """With `extends = false` a folder stands alone: two settings over one fact of its own are a whole rule set."""
    book = rulebook.load(folder_with(tmp_path, rules="extends = false\n", **WHOLE))
    assert [f.id for f in book.decisive] == ["night"] and len(book.settings) == 2 and not book.entries["pitfalls"]


def test_the_facts_of_an_overlay_join_the_others_in_order(tmp_path: Path) -> None:
    """Deciding facts come first, sorted by id, wherever they were added."""
    folder = folder_with(tmp_path, facts=FACT)
    decisive = [f.id for f in rulebook.load(folder).decisive]
    assert decisive == sorted([*(f.id for f in BOOK.decisive), "night"])


def test_find_knows_ids_that_two_kinds_share() -> None:
    """An id that is a family and a verdict finds both; `kind/id` finds one; a wrong one offers the nearest."""
    assert [kind for kind, _ in BOOK.find("maml")] == ["families", "verdicts"]
    assert [kind for kind, _ in BOOK.find("verdicts/maml")] == ["verdicts"]
    with pytest.raises(UnknownEntry, match="did you mean `maml`"):
        BOOK.find("mmal")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, ["holds no rules", "settings.toml"]),
        ({"setings": ""}, ["setings.toml", "did you mean `settings`"]),
        ({"rules": "extend = false"}, ["rules.toml", "did you mean `extends`"]),
        ({"rules": 'extends = "no"'}, ["rules.toml", "true or false"]),
        ({"rules": "extends = false"}, ["facts.toml is missing"]),
        ({"rules": "extends = false", **WHOLE, "facts": ""}, ["nothing to decide"]),
        ({"facts": "[[fact"}, ["facts.toml, line 1", "TOML"]),
        ({"facts": "a = 1\n\nb = = 2"}, ["facts.toml, line 3", "TOML"]),
        ({"facts": "fact = 3"}, ["facts.toml", "[[fact]]"]),
        ({"facts": "[[fakt]]\nid = 'x'"}, ["`fakt`", "did you mean `fact`"]),
        ({"facts": "[[fact]]\nkind = 'decisive'"}, ["facts.toml, entry 1", "has no id"]),
        ({"facts": "[[fact]]\nid = 'Big One'"}, ["entry 1", "`Big One`", "lower-case"]),
        ({"facts": FACT + FACT}, ["facts.toml, night", "stands twice"]),
        ({"facts": FACT.replace('"decisive"', '"deciding"')}, ["facts.toml, night", "decisive or refining"]),
        ({"facts": FACT.replace('question = "Does it work at night?"', "")}, ["night", "`question` is missing"]),
        ({"facts": FACT.replace("question", "qestion")}, ["night", "is it `qestion`?"]),
        ({"facts": FACT + "dont_knov = 5\n"}, ["night", "`dont_knov`", "did you mean `dont_know`"]),
        ({"facts": FACT + "cost = -1\n"}, ["night", "`cost` must be a number"]),
        ({"facts": FACT.replace('"dark"', '"unknown"')}, ["night", "`unknown` is no name for a value"]),
        ({"facts": FACT.replace('"dark"', '"light"')}, ["night", "twice"]),
        ({"facts": FACT.replace('"night"', '"text"')}, ["facts.toml, text", "column"]),
        ({"facts": '[[fact]]\nid = "task_count"\nbounds = [{ when = { night = ["dark"] } }]\n'}, ["task_count", "`night`"]),
        ({"verdicts": '[[verdict]]\nid = "maml"\nframing = "mata"\n'}, ["verdicts.toml, maml", "did you mean `meta`"]),
        ({"verdicts": '[[verdict]]\nid = "maml"\nfamily = "mmal"\n'}, ["verdicts.toml, maml", "did you mean `maml`"]),
        ({"verdicts": '[[verdict]]\nid = "undecided"\ndrop = true\n'}, ["verdicts.toml", "`undecided` is missing"]),
        ({"settings": '[[setting]]\nid = "shifted"\nrecommend = "undecided"\n'}, ["settings.toml, shifted", "`undecided`"]),
        ({"settings": '[[setting]]\nid = "shifted"\nwhen = { reward = ["dense"] }\n'}, ["shifted", "`reward` does not decide"]),
        ({"settings": '[[setting]]\nid = "shifted"\nwhen = { test_tasks = "shifted" }\n'}, ["shifted", "list of values"]),
        ({"settings": '[[setting]]\nid = "shifted"\npriority = "first"\n'}, ["shifted", "`priority` must be a whole number"]),
        ({"settings": '[[setting]]\nid = "shifted"\npriority = 4\n'}, ["`no_gradient` and `shifted` both have priority 4"]),
        ({"settings": '[[setting]]\nid = "shifted"\nexample = { text = "x" }\n'}, ["shifted", "`text` and `facts`"]),
        ({"settings": '[[setting]]\nid = "shifted"\nnear_miss = { text = "x", change = {}, verdict = "maml" }\n'}, ["one fact"]),
        ({"settings": '[[setting]]\nid = "single_new"\ndrop = true\n'}, ["gap", "training_tasks = single"]),
        ({"golden": '[[golden]]\nid = "g12_shift"\nfacts = { test_tasks = "shiftd" }\n'}, ["golden.toml, g12_shift", "`shifted`"]),
        ({"golden": '[[golden]]\nid = "g12_shift"\nfacts = { test_tasks = ["shifted"] }\n'}, ["golden.toml, g12_shift"]),
        ({"facts": FACT.replace("Sight.", "\\u001b[31mSight.")}, ["facts.toml, night", "control character: \\x1b[31mSight."]),
        ({"facts": FACT.replace("Night shift.", "a\\u202eb")}, ["facts.toml, night", "control character"]),
        ({"facts": "x = " + "[" * 5000}, ["facts.toml", "TOML"]),
        ({"facts": "x = " + "9" * 6000}, ["facts.toml"]),
        ({"facts": "# " + "x" * 1_000_001}, ["facts.toml", "larger than"]),
    ],
)  # fmt: skip
def test_faults_are_one_message_with_place_and_next_step(
    tmp_path: Path, files: dict[str, str], words: list[str]
) -> None:
    """Whatever is wrong in a folder of rules, the message names the file and the entry, and says what to do."""
    with pytest.raises(RulesError) as caught:
        rulebook.load(folder_with(tmp_path, **files))
    said = str(caught.value)
    assert all(word in said for word in words), said
    assert caught.value.exit_code == 1 and "\n" in said, said  # the second line is the next step


def test_too_many_facts_to_prove(tmp_path: Path) -> None:
    """A space too large to be walked is refused before it is walked."""
    facts = "".join(FACT.replace("night", f"night_{n:02}") for n in range(12))
    with pytest.raises(RulesError, match="more than the 20000"):
        rulebook.load(folder_with(tmp_path, facts=facts))


def test_what_is_no_folder(tmp_path: Path) -> None:
    """A file, or nothing at all, in the place of a folder is said to be that; so is a folder in the place of a file."""
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "nothing"):
        with pytest.raises(RulesError, match="is no folder"):
            rulebook.load(place)
    (tmp_path / "rules" / "facts.toml").mkdir(parents=True)
    with pytest.raises(RulesError, match="is no file"):
        rulebook.load(tmp_path / "rules")


def loads_or_says(folder: Path) -> None:
    try:
        rulebook.load(folder)
    except RulesError as fault:
        assert fault.where and str(fault).isprintable() or "\n" in str(fault)


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=300), file=st.sampled_from(sorted(rulebook.KINDS)))
def test_any_bytes_as_a_rules_file(tmp_path_factory: pytest.TempPathFactory, content: bytes, file: str) -> None:
    """Whatever bytes a rules file holds, it loads or is refused with a place; nothing else is raised."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / f"{file}.toml").write_bytes(content)
    loads_or_says(folder)


PLAIN = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False),
    st.booleans(),
    st.sampled_from(["maml", "shifted", ""]),
)
NAMES = st.sampled_from(["id", "label", "test_tasks", "prior", "when", "facts"])
VALUE = st.recursive(
    PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)), max_leaves=6
)


def as_toml(value: object) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{k} = {as_toml(v)}' for k, v in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08X}" for c in value) + '"'
    return str(value).lower()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_value_in_any_field(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever value stands in a field of an entry, the rules load or are refused with a place."""
    kind = data.draw(st.sampled_from(sorted(rulebook.KINDS)))
    entry = data.draw(st.sampled_from(sorted(BOOK.entries[kind])))
    known = sorted(BOOK.entries[kind][entry])
    field = data.draw(st.sampled_from([*known, "values", "bounds", "drop", "minimum", "other"]))
    folder = tmp_path_factory.mktemp("rules")
    row = f'[[{rulebook.KINDS[kind].key}]]\nid = "{entry}"\n'
    row += f"{field} = {as_toml(data.draw(VALUE))}\n" if field != "id" else ""
    (folder / f"{kind}.toml").write_text(row, encoding="utf-8")
    loads_or_says(folder)


def test_damaged_copies_of_the_shipped_files(tmp_path: Path) -> None:
    """With a piece cut out of any shipped file, the rules load or are refused with a place."""
    draw = random.Random(0)
    folder = tmp_path / "rules"
    for round_ in range(40):
        kind = sorted(rulebook.KINDS)[round_ % len(rulebook.KINDS)]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        raw = (rules_folder() / f"{kind}.toml").read_bytes()
        begin = draw.randrange(len(raw))
        (folder / f"{kind}.toml").write_bytes(raw[:begin] + raw[begin + draw.randrange(1, 40) :])
        loads_or_says(folder)
