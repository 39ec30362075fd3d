"""Runs every example in taper's docstrings: of operators, classes, methods, functions, modules."""

import importlib
import importlib.util
import inspect
import pkgutil

import pytest

import taper
from taper.ops.declare import OPERATORS, Operator

SKIPPED = {"taper.__main__"}  # runs the command line when imported
if importlib.util.find_spec("tensorboardX") is None:
    SKIPPED.add("taper.utils.tensorboard")  # an extra


def modules():
    for info in pkgutil.walk_packages(taper.__path__, "taper."):
        if info.name not in SKIPPED:
            yield importlib.import_module(info.name)


def examples():
    """(name, docstring) of all that has examples, each docstring once."""
    found = {}
    for op in {id(op): op for op in OPERATORS.values()}.values():
        found[f"torch.{op.path}"] = op.forward.__doc__ or ""
    for module in modules():
        found[module.__name__] = module.__doc__ or ""
        for name, member in vars(module).items():
            if isinstance(member, Operator):
                found.setdefault(f"{module.__name__}.{name}", member.forward.__doc__ or "")
            elif getattr(member, "__module__", None) not in (module.__name__, "torch"):
                continue
            elif inspect.isfunction(member):
                found[f"{module.__name__}.{name}"] = inspect.getdoc(member) or ""
            elif inspect.isclass(member):
                found[f"{module.__name__}.{name}"] = inspect.getdoc(member) or ""
                for method, function in vars(member).items():
                    function = getattr(function, "fget", None) or getattr(
                        function, "__func__", function
                    )
                    if inspect.isfunction(function):
                        found[f"{module.__name__}.{name}.{method}"] = function.__doc__ or ""
    seen = set()
    for name, text in found.items():
        if ">>>" in text and text not in seen:
            seen.add(text)
            yield name, text


EXAMPLES = dict(examples())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, run_examples):
    run_examples(name, EXAMPLES[name])


OPERATORS_WITH_DOCS = {
    op.path: op for op in OPERATORS.values() if not op.name.startswith("_")
}


@pytest.mark.parametrize("name", OPERATORS_WITH_DOCS)
def test_every_operator_is_documented(name):
    """A summary that fits a line, a blank line, and an example."""
    lines = (OPERATORS_WITH_DOCS[name].forward.__doc__ or "").strip().splitlines()
    assert lines, "no docs"
    assert lines[0].endswith("."), f"the summary is no sentence on one line: {lines[0]}"
    assert len(lines) > 1 and not lines[1].strip(), "nothing, or no blank line, behind the summary"
    assert any(line.lstrip().startswith(">>>") for line in lines), "no example"
