"""Models of a folder on this machine; nothing is downloaded."""

import sys

import pytest

import taper as torch

HUBCONF = '''
dependencies = ["torch", "numpy"]

from beside_hubconf import WIDTH
import taper

def linear(outputs=1, bias=True):
    """A linear layer."""
    return taper.nn.Linear(WIDTH, outputs, bias=bias)

def _private():
    pass
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "beside_hubconf", raising=False)
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    (tmp_path / "beside_hubconf.py").write_text("WIDTH = 3\n")
    yield str(tmp_path)
    sys.modules.pop("beside_hubconf", None)


def test_load(folder) -> None:
    model = torch.hub.load(folder, "linear", 2, source="local", bias=False)
    assert model.weight.shape == (2, 3) and model.bias is None
    assert folder not in sys.path


def test_list_and_help(folder) -> None:
    assert torch.hub.list(folder) == ["linear"]
    assert torch.hub.help(folder, "linear") == "A linear layer."


def test_what_is_not_there(folder, tmp_path) -> None:
    with pytest.raises(RuntimeError, match="Cannot find callable conv in hubconf"):
        torch.hub.load(folder, "conv", source="local")
    (tmp_path / "hubconf.py").write_text("dependencies = ['no_such_package_here']\n")
    with pytest.raises(RuntimeError, match="Missing dependencies: no_such_package_here"):
        torch.hub.load(folder, "linear", source="local")
    (tmp_path / "hubconf.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"no hubconf\.py"):
        torch.hub.load(folder, "linear", source="local")


def test_nothing_is_downloaded(tmp_path) -> None:
    with pytest.raises(NotImplementedError, match='source="local"'):
        torch.hub.load("pytorch/vision", "resnet18")
    with pytest.raises(NotImplementedError, match="is no folder"):
        torch.hub.list("pytorch/vision")
    with pytest.raises(ValueError, match='Unknown source: "ftp"'):
        torch.hub.load("x", "y", source="ftp")
    with pytest.raises(NotImplementedError, match="downloads nothing"):
        torch.hub.download_url_to_file("https://example.org/a.pt", str(tmp_path / "a.pt"))


def test_state_dicts_that_are_there_already(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "_chosen", {})
    torch.hub.set_dir(tmp_path)
    assert torch.hub.get_dir() == str(tmp_path)
    url = "https://example.org/models/a.pt?x=1"
    with pytest.raises(NotImplementedError, match=r"checkpoints.a\.pt"):
        torch.hub.load_state_dict_from_url(url)
    (tmp_path / "checkpoints").mkdir()
    torch.save({"w": torch.ones(2)}, tmp_path / "checkpoints" / "a.pt")
    assert torch.hub.load_state_dict_from_url(url)["w"].tolist() == [1, 1]


def test_the_folder_of_downloads(monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "_chosen", {})
    monkeypatch.setenv("TORCH_HOME", "/somewhere")
    assert torch.hub.get_dir().replace("\\", "/") == "/somewhere/hub"
