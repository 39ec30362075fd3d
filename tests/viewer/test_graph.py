"""`taper.graph`: what it reads out of a history, and how it tells."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

import taper as torch
from taper.viewer import Graph


@pytest.fixture
def picture() -> Graph:
    w = torch.nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    x = torch.tensor([1.0, -1.0])
    y = (w * x).relu()
    return torch.graph((y * y).sum(), names={"w": w, "x": x})


def test_what_there_is(picture: Graph) -> None:
    titles = [item.title for item in picture.items]
    assert titles == ["w", "MulBackward0", "ReluBackward0", "MulBackward0", "SumBackward0",
                      "result"]
    leaf, times, relu, mul, total, result = picture.items
    assert leaf.kind == "leaf" and leaf.shape == (2, 2) and leaf.dtype == "float32"
    assert times.inputs == [0] and times.shape == (2, 2)
    assert mul.inputs == [2, 2]  # both factors
    assert ("result", "float32 [2, 2]") in relu.saved and relu.saved_bytes == 16
    assert mul.saved_bytes == 0  # what relu has already
    assert picture.saved_bytes == 16 + times.saved_bytes
    assert total.shape == () and result.kind == "result"
    assert times.place.endswith(f"test_graph.py:{picture_line('w * x')}")
    assert "w * x" in times.source


def picture_line(words: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(i for i, line in enumerate(lines, 1) if words in line)


def test_gradients() -> None:
    x = torch.tensor([3.0, 4.0], requires_grad=True)
    y = x * 2
    loss = (y * y).sum()
    picture = torch.graph(loss)
    by_title = {item.title: item.gradient for item in picture.items}
    assert by_title["result"] == 1
    assert by_title["SumBackward0"] == 1
    assert by_title["Tensor"] == pytest.approx(40)  # 8x
    assert x.grad is None
    loss.backward()  # the graph was kept


def test_names_of_a_modules_parameters() -> None:
    model = torch.nn.Linear(3, 2)
    loss = model(torch.ones(1, 3)).sum()
    assert {i.title for i in torch.graph(loss, names=model).items if i.kind == "leaf"} == {
        "weight", "bias"}
    assert {i.title for i in torch.graph(loss, names={"net": model}).items if i.kind == "leaf"} == {
        "net.weight", "net.bias"}
    with pytest.raises(TypeError, match="names must be"):
        torch.graph(loss, names=3)


def test_histories_that_were_freed_or_are_none() -> None:
    x = torch.ones(2, requires_grad=True)
    y = x.exp().sum()
    y.backward()
    picture = torch.graph(y)
    saved = [item.saved for item in picture.items if item.title == "ExpBackward0"]
    assert saved == [[("result", "freed")]]
    assert [item.title for item in torch.graph(torch.ones(2)).items] == ["Tensor", "result"]
    with pytest.raises(TypeError, match="must be Tensor, not int"):
        torch.graph(3)


def test_text(picture: Graph) -> None:
    lines = str(picture).splitlines()
    assert lines[0].startswith("result")
    assert any(line.lstrip(" │├└─").startswith("ReluBackward0 #2 (above)") for line in lines)
    assert repr(picture) == "<taper.Graph of history of a tensor: 4 operations>"


def test_files(picture: Graph, tmp_path: Path) -> None:
    picture.save(tmp_path / "g.svg")
    root = ElementTree.parse(tmp_path / "g.svg").getroot()
    boxes = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("class") == "box"]
    assert len(boxes) == 6
    page = picture.save(tmp_path / "g.html").read_text()
    data = re.search(r"openPicture\((\[.*\])\);\n", page)
    assert data is not None
    assert next(item["title"] for item in json.loads(data[1])) == "w"
    assert picture.save(tmp_path / "g.dot").read_text().count("->") == 6
    assert picture.save(tmp_path / "g.txt").read_text() == f"{picture}\n"
    assert "<iframe" in picture._repr_html_()
    with pytest.raises(ValueError, match=r"must end in \.html"):
        picture.save(tmp_path / "g.jpeg")


def test_pictures_by_graphviz(picture: Graph, tmp_path: Path,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("dot") is not None:
        assert picture.save(tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="graphviz"):
        picture.save(tmp_path / "g.png")


def test_titles_are_escaped() -> None:
    x = torch.ones(1, requires_grad=True)
    picture = torch.graph(x * 2, names={"</script><b>": x}, title="<i>")
    page = picture.html()
    assert "</script><b>" not in page and "<i>" not in page


def test_long_histories_take_no_recursion() -> None:
    x = torch.ones(1, requires_grad=True)
    y = x
    for _ in range(3000):
        y = y + 1
    picture = torch.graph(y, gradients=False)
    assert len(picture.items) == 3002
    assert len(str(picture).splitlines()) == 3002
    assert picture.svg().count('class="box"') == 3002
