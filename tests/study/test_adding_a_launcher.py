"""A launcher that is added as docs/architecture.md says runs a study."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from dcgan.errors import UsageError
from study.running.context import StudyContext
from study.running.launchers.table import LAUNCHERS
from study.running.observer import TrialEnded
from study.running.study import run_study
from study.running.worker import work
from study.storage.store import Store

GUIDE = Path(__file__).parents[2] / "docs" / "architecture.md"


def documented() -> Any:
    """The launcher of the guide, made from its text."""
    section = GUIDE.read_text(encoding="utf-8").partition("## Add a launcher")[2]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code
    names: dict[str, Any] = {
        **{"StudyContext": StudyContext, "Generator": Generator, "TrialEnded": TrialEnded},
        **{"work": work, "time": time, "REST_SECONDS": 0.0},
    }
    exec(code[1], names)
    return names["gently"]


def test_the_documented_launcher_runs_a_study(
    tiny_study: Callable[..., Any],
    store: Store,
    bank: Any,
    watch: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = []
    gently = documented()

    def noted(context: StudyContext, workers: int) -> Generator[TrialEnded, None, None]:
        used.append(workers)
        yield from gently(context, workers)

    monkeypatch.setitem(LAUNCHERS, "gently", noted)
    observer = watch()
    config = tiny_study(study__trials=2, study__launcher="gently")
    summary = run_study(config, store, bank=bank, observer=observer)
    assert (summary.finished, used) == (2, [1])
    assert len(observer.of(TrialEnded)) == 2


def test_a_launcher_that_nobody_wrote_is_refused_before_anything_runs(
    tiny_study: Callable[..., Any], store: Store, bank: Any
) -> None:
    with pytest.raises(UsageError, match=r"no launcher 'processess'; did you mean 'processes'\?"):
        run_study(tiny_study(study__launcher="processess"), store, bank=bank)
    assert not store.study("tiny").path.joinpath("trials").exists()
