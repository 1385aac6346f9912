"""Search a DCGAN's hyperparameters: Optuna decides, MLflow remembers.

from study import StudyConfig, load_study, load_study_config, run_study
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Optuna imports tqdm, which asks for ipywidgets in a notebook. Nothing here needs them.
warnings.filterwarnings("ignore", message="IProgress not found")

if TYPE_CHECKING:
    from study.config.study_config import StudyConfig as StudyConfig
    from study.config.study_config import load_study_config as load_study_config
    from study.results.notebook import load_study as load_study
    from study.running.study import run_study as run_study
    from study.storage.store import Store as Store

_HOMES = {
    "Store": "study.storage.store",
    "StudyConfig": "study.config.study_config",
    "load_study": "study.results.notebook",
    "load_study_config": "study.config.study_config",
    "run_study": "study.running.study",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import the public names when first used: `import study` alone must not load optuna."""
    if name not in _HOMES:
        raise AttributeError(f"module 'study' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
