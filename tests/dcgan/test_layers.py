"""Who imports whom: the core knows nothing of the study, and heavy libraries come late."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import dcgan


def loaded_after(code: str) -> set[str]:
    """The modules a fresh process has loaded after running `code`."""
    show = "import json, sys; print('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules() -> list[str]:
    skipped = {"dcgan.evaluation.metrics.make_random_network"}  # a script
    found = pkgutil.walk_packages(dcgan.__path__, "dcgan.")
    return sorted({"dcgan", *(module.name for module in found)} - skipped)


def test_the_core_knows_nothing_of_the_study() -> None:
    names = modules()
    assert len(names) > 25
    assert {"dcgan.training.loop", "dcgan.cli.app", "dcgan.evaluation.metrics.frechet"} <= set(
        names
    )
    code = "import importlib\n" + "\n".join(f"importlib.import_module({n!r})" for n in names)
    loaded = loaded_after(code)
    assert set(names) <= loaded
    assert not loaded & {"optuna", "mlflow", "study", "sqlalchemy"}


def test_training_needs_neither_torchvision_nor_torchmetrics() -> None:
    loaded = loaded_after("import dcgan.training.loop")
    assert "torch" in loaded
    assert not loaded & {"torchvision", "torchmetrics", "scipy", "matplotlib", "sklearn"}


def test_the_package_alone_is_light() -> None:
    loaded = loaded_after(
        "import dcgan, dcgan.config.train_config, dcgan.config.settings, dcgan.cli.app"
    )
    assert not loaded & {"torch", "numpy", "optuna", "mlflow", "PIL", "matplotlib"}


def test_the_public_names() -> None:
    for name in dcgan.__all__:
        assert getattr(dcgan, name).__module__.startswith("dcgan.")
    assert {"TrainConfig", "train", "evaluate", "generate"} <= set(dcgan.__all__)
    from dcgan.training.loop import train

    assert dcgan.train is train
