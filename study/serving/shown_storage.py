"""Optuna's database as its dashboard shows it: with pictures, names and a note, and read-only.

The dashboard offers to delete, rename and create studies and to end trials. It knows neither the
folders nor MLflow's runs that belong to them, so all this is refused. Notes can be written.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Container
from typing import Any, NoReturn

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from study.serving.note import study_note
from study.serving.pictures import Pictures
from study.storage.addresses import hide_password
from study.storage.attributes import CONFIG_ATTRIBUTE, TRACKING_ATTRIBUTE
from study.storage.optuna_db import FrozenStudy, id_of, id_of_trial

NOTE = re.compile(r"dashboard:(\d+:)?note_(ver|str:\d+)")
"""The system attributes of a study that hold the dashboard's notes on it and on its trials."""
VERSION, TEXT = "dashboard:note_ver", "dashboard:note_str:0"
METRICS = "study:metric_names"


class ShownStorage(BaseStorage):
    """What a storage has, and what the results folder has of its trials."""

    def __init__(self, storage: BaseStorage, pictures: Pictures) -> None:
        self.storage, self.pictures = storage, pictures
        self._studies: dict[int, int] = {}
        """A trial's id → its study's."""

    # Studies

    def get_all_studies(self) -> list[FrozenStudy]:
        """The studies in the order of their creation."""
        found = sorted(self.storage.get_all_studies(), key=id_of)
        for study in found:
            seen = self._study_attributes(study.study_name, study.user_attrs, study.system_attrs)
            study.user_attrs, study.system_attrs = _without_password(study.user_attrs), seen
        return found

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Those in the database, and the contact sheet, the names of the values and a note."""
        name = self.storage.get_study_name_from_id(study_id)
        user = self.storage.get_study_user_attrs(study_id)
        return self._study_attributes(name, user, self.storage.get_study_system_attrs(study_id))

    def _study_attributes(
        self, name: str, user: dict[str, Any], stored: dict[str, Any]
    ) -> dict[str, Any]:
        attributes = {**stored, **self.pictures.of_study(name)}
        config = user.get(CONFIG_ATTRIBUTE)
        if isinstance(config, str) and (note := study_note(name, config)):
            attributes.setdefault(METRICS, list(note.values))
            if VERSION not in stored:  # nobody has written one
                attributes |= {VERSION: 0, TEXT: note.text}
        return attributes

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Those in the database, without passwords."""
        return _without_password(self.storage.get_study_user_attrs(study_id))

    def get_study_id_from_name(self, study_name: str) -> int:
        """As stored."""
        return self.storage.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """As stored."""
        return self.storage.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """As stored."""
        return self.storage.get_study_directions(study_id)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Write a part of a note; anything else is refused."""
        if not NOTE.fullmatch(key):
            _refuse()
        self.storage.set_study_system_attr(study_id, key, value)

    # Trials

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """The trials with their pictures."""
        name = self.storage.get_study_name_from_id(study_id)
        trials = self.storage.get_all_trials(study_id, deepcopy, states)
        self._studies |= {id_of_trial(trial): study_id for trial in trials}
        return [self._shown(name, trial) for trial in trials]

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The best trial with its pictures."""
        name = self.storage.get_study_name_from_id(study_id)
        return self._shown(name, self.storage.get_best_trial(study_id))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A trial with its pictures."""
        trial = self.storage.get_trial(trial_id)
        if trial_id not in self._studies:
            for study in self.storage.get_all_studies():
                self.get_all_trials(id_of(study), deepcopy=False)
        name = self.storage.get_study_name_from_id(self._studies[trial_id])
        return self._shown(name, trial)

    def _shown(self, study: str, trial: FrozenTrial) -> FrozenTrial:
        shown = copy.copy(trial)  # the storage keeps the other one
        listed = self.pictures.of_trial(study, trial.number)
        shown.system_attrs = {**trial.system_attrs, **listed}
        return shown

    # What is refused

    def create_new_study(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    def delete_study(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    def set_study_user_attr(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    def create_new_trial(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    def set_trial_param(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    def set_trial_state_values(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    def set_trial_intermediate_value(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    def set_trial_user_attr(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    def set_trial_system_attr(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()


def _refuse() -> NoReturn:
    raise PermissionError("the dashboard changes nothing but notes")


def _without_password(attributes: dict[str, Any]) -> dict[str, Any]:
    if address := attributes.get(TRACKING_ATTRIBUTE):
        return {**attributes, TRACKING_ATTRIBUTE: hide_password(str(address))}
    return attributes
