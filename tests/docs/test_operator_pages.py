"""The pages of docs/operators: as their generator would write them, and their examples run."""

import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load_generator():
    path = DOCS / "generate_operators.py"
    spec = importlib.util.spec_from_file_location("generate_operators", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = load_generator()
WRITTEN = {path.name: path.read_text("utf-8") for path in (DOCS / "operators").glob("*.md")}
FAMILIES = sorted({generator.family(op) for op in generator.public_operators().values()})


def test_pages_are_current():
    pages = generator.pages()
    stale = sorted(name for name in pages if pages[name] != WRITTEN.get(name))
    stale += sorted(WRITTEN.keys() - pages.keys())
    assert not stale, f"run `{generator.COMMAND}`: {len(stale)} pages differ: {stale[:5]} …"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_examples_of_a_family(family, run_examples):
    for name, op in generator.public_operators().items():
        if generator.family(op) == family:
            examples = re.findall(r"```python\n(>>> .*?)```", WRITTEN[f"{name}.md"], re.S)
            assert examples, f"docs/operators/{name}.md has no example"
            run_examples(f"docs/operators/{name}.md", "\n\n".join(examples))


def test_links_lead_somewhere():
    targets = set()
    for text in WRITTEN.values():
        targets.update(re.findall(r"\]\(([^)#\s]+)", text))
    missing = [target for target in targets if not (DOCS / "operators" / target).exists()]
    assert not missing


@pytest.mark.parametrize(
    ("doc", "markdown"),
    [
        ("Adds.\n\n    Shape: (*) → (*)\n", "Adds.\n\n- **Shape** (\\*) → (\\*)\n"),
        ("Adds :math:`a * b`.", "Adds $`a * b`$.\n"),
        ("Adds.\n\n    Args: a: one;  b: two\n", "Adds.\n\n- **Args**\n  - a: one\n  - b: two\n"),
        ("Adds.\n\n    Shape: a.    Dtype: b.", "Adds.\n\n- **Shape** a.\n- **Dtype** b.\n"),
        ("Adds.\n\n    Example:\n        >>> 1\n        1", "Adds.\n\n```python\n>>> 1\n1\n```\n"),
        ("Adds.\n\n    Example: one.\n        >>> 1", "Adds.\n\nOne.\n\n```python\n>>> 1\n```\n"),
    ],
)
def test_docstrings_as_markdown(doc, markdown):
    assert generator.body(doc) == markdown


def test_signature_shows_out_and_inplace():
    operators = generator.public_operators()
    assert generator.signature(operators["exp"]) == "(input, *, out=None)"
    assert generator.signature(operators["relu"]) == "(input, inplace=False)"


def test_facts_are_those_of_the_declaration():
    facts = dict(generator.facts(generator.public_operators()["mul"]))
    assert "`torch.multiply`" in facts["also"]
    assert "`Tensor.__mul__`" in facts["method"] and "`Tensor.mul_`" in facts["in place"]
    assert facts["derivative"] == "for `input`, `other`; recorded as `MulBackward0`"
