"""Errors of a study; the others are in `dcgan.errors`."""

from __future__ import annotations

from dcgan.errors import DcganError, UsageError


class StudyError(DcganError):
    """A study cannot continue: its database or folder failed, or three trials in a row."""


class UnknownStudyError(UsageError):
    """There is no study of that name in the store."""


class StudyMismatchError(UsageError):
    """The study exists with other settings, so that its numbers cannot be compared."""


class StudyBusyError(UsageError):
    """Another process is running this study."""


class SharedPlaceError(StudyError):
    """The place that machines share trials' folders in (`--artifacts`) cannot be used."""


class DamagedError(SharedPlaceError):
    """What lies in such a place is damaged or gone, so that no retry helps."""


class LeaseLostError(StudyError):
    """Another process has a running trial by now; this process must write nothing more of it."""
