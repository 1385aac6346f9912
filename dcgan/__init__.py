"""Train a DCGAN on a folder of photos: the core trainer, usable alone.

    from dcgan import TrainConfig, evaluate, generate, train

(The modules behind them are `training` and `evaluation`: a submodule named like a function would
replace it as soon as it is imported.)
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcgan.api import evaluate as evaluate
    from dcgan.api import generate as generate
    from dcgan.api import load_model as load_model
    from dcgan.config.settings import load_train_config as load_train_config
    from dcgan.config.train_config import TrainConfig as TrainConfig
    from dcgan.data.bank import load_bank as load_bank
    from dcgan.training.loop import TrainResult as TrainResult
    from dcgan.training.loop import train as train

# Threads of GCC's OpenMP, which torch uses on Linux, wait for each other in a loop of milliseconds
# before they sleep. Beside another busy process the thread that is waited for may not have a core,
# and the loop keeps it from getting one. With a short loop, scores and float32 training are several
# times faster there, and an idle machine loses up to 5 % (docs/performance.md). The variable is
# read when torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_HOMES = {
    "TrainConfig": "dcgan.config.train_config",
    "TrainResult": "dcgan.training.loop",
    "evaluate": "dcgan.api",
    "generate": "dcgan.api",
    "load_bank": "dcgan.data.bank",
    "load_model": "dcgan.api",
    "load_train_config": "dcgan.config.settings",
    "train": "dcgan.training.loop",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import the public names when first used: `import dcgan` alone must not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dcgan' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
