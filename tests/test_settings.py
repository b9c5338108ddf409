"""What the user has set for other programs changes no result, and what does is recorded."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.project import Project, folder_to_train, run, run_stage, run_with_mounts, succeed
from tests.test_resume import checkpoints, going_on, hashes, stop

KERAS = {"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first"}
MATPLOTLIB = "savefig.bbox: tight\ntext.usetex: True\nfont.size: 30\naxes.grid: True\n"
# Of the libraries under TensorFlow each changes the weights where it is heeded.
VARIABLES = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_SET_ONEDNN_FPMATH_MODE": "BF16",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2",
    "KERAS_BACKEND": "jax",
    "KERAS_MAX_EPOCHS": "none",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the home of a user who has set Keras and matplotlib in another way."""
    home = tmp_path / "home"
    (home / ".keras").mkdir(parents=True)
    (home / ".keras/keras.json").write_text(json.dumps(KERAS))
    (home / ".config/matplotlib").mkdir(parents=True)
    # Not UTF-8, as an old editor left it.
    settings = f"# r\xe9glages\n{MATPLOTLIB}".encode("latin-1")
    (home / ".config/matplotlib/matplotlibrc").write_bytes(settings)
    return home


@pytest.mark.parametrize("recipe", ["tutorial", "airbench_small"])
def test_training(slow: Path, template: Path, home: Path, tmp_path: Path, recipe: str) -> None:
    """Against a training for which nothing was set."""
    plain = {"tutorial": slow, "airbench_small": template}[recipe]
    set_up = folder_to_train(plain, tmp_path / "set up", recipe)
    result = run_stage("train", set_up, HOME=str(home), **VARIABLES)
    assert (result.returncode, result.stderr) == (0, "")
    assert hashes(set_up) == hashes(plain)
    assert json.loads((home / ".keras/keras.json").read_text()) == KERAS


def test_evaluation_and_figures(template: Path, trained: Path, home: Path, tmp_path: Path) -> None:
    """Against what `dvc repro` left where nothing was set."""
    set_up = tmp_path / "set up"
    shutil.copytree(trained, set_up, symlinks=True)
    (set_up / "matplotlibrc").write_text(MATPLOTLIB)
    for stage in ("evaluate", "plots"):
        result = run_stage(stage, set_up, HOME=str(home), **VARIABLES)
        assert (result.returncode, result.stderr) == (0, "")
    outs = [path for name in ("metrics", "plots") for path in (set_up / name).iterdir()]
    assert len(outs) > 8
    for path in outs:
        assert path.read_bytes() == (template / path.relative_to(set_up)).read_bytes(), path


FACTS = """
import json
from pipeline.common import device
device.use("auto", "auto")
from stages import train
print(json.dumps(device.provenance()))
"""


def test_processors_and_kernels_of_blas_are_recorded(slow: Path, tmp_path: Path) -> None:
    """OPENBLAS_CORETYPE stays heeded, since some processors need it; so it is recorded."""
    (facts,) = Project(slow).json("metrics/train.json")["environment"]
    assert facts["threads"] == len(os.sched_getaffinity(0))
    command = ["taskset", "-c", "0", "python", "-c", FACTS]
    result = run(command, tmp_path, OPENBLAS_CORETYPE="Haswell")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found == facts | {"threads": 1, "blas": found["blas"]}
    assert found["blas"].endswith(" Haswell")


def test_quota_of_a_container(tmp_path: Path) -> None:
    """As control groups show it, with files of our own in their place."""
    (tmp_path / "own").write_text("0::/\n")
    script = """
        mount -t tmpfs tmpfs /sys/fs/cgroup || exit 100
        echo 100000 100000 > /sys/fs/cgroup/cpu.max
        mount --bind own /proc/$$/cgroup || exit 101
        exec taskset -c 0,1 python -c 'from pipeline.common import device; print(device.THREADS)'
    """
    result = run_with_mounts(script, tmp_path)
    assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr


def test_checkpoint_of_another_number_of_processors_is_dropped(slow: Path, tmp_path: Path) -> None:
    folder = folder_to_train(slow, tmp_path / "killed", "tutorial")
    stop(("taskset", "-c", "0", "python", "-m", "stages.train"), folder, signal.SIGKILL)
    (path,) = checkpoints(folder)
    output = succeed("train", folder)
    assert [*going_on(output)] == []
    assert f"dropped a checkpoint of another training: {path.name}" in output
    assert hashes(folder) == hashes(slow)
    assert not checkpoints(folder)
