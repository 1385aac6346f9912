"""What a report says to a reader who does not know the program: the setting and the words."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import TrialState

from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals
from study.config.study_config import StudyConfig
from study.storage.store import StudyFolder, trial_name
from study.storage.trial_result import TrialResult

FEATURES = {
    "fd_joint": "two networks, one that knows ImageNet's photos and one that was never trained",
    "fd_imagenet": "a network that knows ImageNet's photos",
    "fd_layout": "a small network that was never trained: colours, textures and where they are",
    "fid": "Inception, as in papers",
}
OTHER_FEATURES = "a network"


def setting(config: StudyConfig) -> str:
    """What all trials share, in one sentence."""
    base = config.base
    size, samples = base.data.image_size, base.eval.n_samples
    *waiting, whole = config.budget.epochs or (base.train.epochs,)
    length = f"{whole} epochs"
    if waiting:
        length = f"up to {length}, and a wait after {' and '.join(map(str, waiting))}"
    return (
        f"All trials: {length}, {size} × {size} pixels, scores of {samples:,} "
        "generated images. These are short trainings, to compare settings; 'study train' trains "
        "the best one in full."
    )


def beside_photos(rows: Sequence[TrialResult], folder: StudyFolder) -> str:
    """What the first complete trial's numbers are beside those of real photos, where known."""
    best = next((row for row in rows if row.state == TrialState.COMPLETE), None)
    if best is None:
        return ""
    history = RunFolder(folder.trial(best.number)).history
    record = next((it for it in read_evals(history) if it.step == best.step), None)
    if record is None:
        return ""
    said, name = "", record.frechet_metric
    if floor := record.metrics.get(f"{name}_times_floor"):
        said = (
            f"The {name} of {trial_name(best.number)} is {floor:.1f} times that of a perfect "
            "generator (compared at equal numbers of images)."
        )
    if photos := record.metrics.get("recognised_of_photos"):
        said += f" Of the photos themselves {photos:.1%} are recognised."
    return said.strip()


def words_of(rows: Sequence[TrialResult]) -> list[tuple[str, str]]:
    """Word and meaning of what the leaderboard shows."""
    distance = next((name for row in rows for name in row.distances), "distance")
    recognised = any("recognised" in row.metrics for row in rows)
    said = [
        (
            "score",
            "What the study minimises: the distance, raised a little where the imbalance is large.",
        ),
        (
            distance,
            "The Fréchet distance between generated images and the training photos, in the "
            f"features of {FEATURES.get(distance, OTHER_FEATURES)}. Lower is better; 'dcgan floor "
            "PHOTOS' gives the distance of a perfect generator.",
        ),
        (
            "recognised",
            "The share of generated images that a classifier takes for what the photos show. It is "
            "not part of the score, and textures alone can fool it.",
        ),
        (
            "imbalance",
            "|ln(mean loss of G / mean loss of D)|: 0 if both networks are equally strong; above "
            "1.5 one of them dominates.",
        ),
        (
            "origin",
            "sampler: the trial's settings were proposed by Optuna. Else it is a baseline, a known "
            "recipe that is trained first, to compare with; or the trial of an earlier study "
            "that is trained further.",
        ),
        (
            "pruned",
            "Stopped early: its score was behind that of other trials, its training had failed, or "
            "it waits on a rung.",
        ),
    ]
    return [it for it in said if it[0] != "recognised" or recognised]
