"""Errors of the study, beside those of `dcgan.errors`."""

from __future__ import annotations

from dcgan.errors import DcganError, UsageError


class StudyError(DcganError):
    """A study cannot go on: its database, its folder, or three failures in a row."""


class UnknownStudyError(UsageError):
    """There is no study of that name in the store."""


class StudyMismatchError(UsageError):
    """A study of that name exists with settings that make its numbers incomparable."""


class StudyBusyError(UsageError):
    """Another process is running this study."""


class LeaseLostError(StudyError):
    """A running trial is another process's by now; this one must write nothing more of it."""
