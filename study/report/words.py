"""What a report says to a reader who does not know the program: the setting and the words."""

from __future__ import annotations

from collections.abc import Sequence

from study.config.study_config import StudyConfig
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
    return (
        f"All trials: {base.train.epochs} epochs, {size} × {size} pixels, scores of {samples:,} "
        "generated images. These are short trainings, to compare settings; 'study train' trains "
        "the best one in full."
    )


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
        ("baseline", "A known recipe that every study trains first, to compare with."),
        ("sampler", "The trial's settings were proposed by Optuna."),
        ("pruned", "Stopped early, because its score was behind that of other trials."),
    ]
    return [it for it in said if it[0] != "recognised" or recognised]
