"""Event files hold what was added; without tensorboardX the import says what to install."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import taper as torch


def test_without_the_package_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['tensorboardX'] = None\n"
        "try:\n    import taper.utils.tensorboard\n"
        "except ImportError as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                         check=True, timeout=60, env=environment())
    assert "pip install 'taper[tensorboard]'" in run.stdout


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(torch.__file__).parents[1])}


@pytest.fixture
def writer(tmp_path):
    pytest.importorskip("tensorboardX")
    from taper.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as made:
        yield made


def values_in(folder) -> dict[str, list]:
    from tensorboardX.proto import event_pb2

    found: dict[str, list] = {}
    for file in folder.glob("events*"):
        data = file.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + size])
            data = data[12 + size + 4 :]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value))
    return found


def test_scalars(writer, tmp_path) -> None:
    assert writer.log_dir == writer.get_logdir() == str(tmp_path)
    for step in range(3):
        writer.add_scalar("loss", torch.tensor(step / 2, requires_grad=True), step)
    writer.add_scalar("half", torch.tensor(1.5, dtype=torch.bfloat16), new_style=True)
    writer.close()
    found = values_in(tmp_path)
    assert [(step, value.simple_value) for step, value in found["loss"]] == [
        (0, 0.0), (1, 0.5), (2, 1.0)
    ]
    assert found["half"][0][1].simple_value == 1.5


def test_histograms_and_images(writer, tmp_path) -> None:
    writer.add_histogram("weights", torch.arange(10.0), 1)
    writer.add_image("picture", torch.zeros(3, 4, 5))
    writer.add_text("note", "hello")
    writer.close()
    found = values_in(tmp_path)
    assert found["weights"][0][1].histo.num == 10
    image = found["picture"][0][1].image
    assert (image.height, image.width) == (4, 5)


def test_what_needs_torchscript_says_so(writer) -> None:
    with pytest.raises(NotImplementedError, match="TorchScript"):
        writer.add_graph(torch.nn.Linear(1, 1))
