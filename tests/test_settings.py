"""What the user has set for other programs changes no result, and what does is recorded."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.project import folder_to_train, run, run_with_mounts
from tests.test_resume import hashes

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


def in_set_up(program: str, folder: Path, home: Path) -> None:
    """Run a Python program, which must not complain, with all that the user has set."""
    result = run([sys.executable, "-c", program], folder, HOME=str(home), **VARIABLES)
    assert (result.returncode, result.stderr) == (0, "")


TRAIN = """
import os
from stages.train import keras, main
for recipe in ("tutorial", "airbench_small"):
    os.chdir(recipe)
    main()
    os.chdir("..")
    # Else it would count the layers of both networks in their names.
    keras.utils.clear_session()
"""


def test_trainings(slow: Path, template: Path, home: Path, tmp_path: Path) -> None:
    """Against trainings for which nothing was set."""
    plain = {"tutorial": slow, "airbench_small": template}
    for recipe, folder in plain.items():
        folder_to_train(folder, tmp_path / recipe, recipe)
    in_set_up(TRAIN, tmp_path, home)
    for recipe, folder in plain.items():
        assert hashes(tmp_path / recipe) == hashes(folder)
    assert json.loads((home / ".keras/keras.json").read_text()) == KERAS


def test_evaluation_and_figures(template: Path, trained: Path, home: Path, tmp_path: Path) -> None:
    """Against what `dvc repro` left where nothing was set."""
    set_up = tmp_path / "set up"
    shutil.copytree(trained, set_up, symlinks=True)
    (set_up / "matplotlibrc").write_text(MATPLOTLIB)
    in_set_up("from stages import evaluate, plots; evaluate.main(); plots.main()", set_up, home)
    outs = [path for name in ("metrics", "plots") for path in (set_up / name).iterdir()]
    assert len(outs) > 8
    for path in outs:
        assert path.read_bytes() == (template / path.relative_to(set_up)).read_bytes(), path


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
