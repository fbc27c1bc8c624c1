"""The one error tree.

ThriftyError                 exit code 1
├── UsageError               exit code 2: a wrong option, value, recipe or space
│   └── MissingExtraError    exit code 2: the command needs an extra that is not installed
├── DataError                exit code 2: the data cannot be used as asked
├── StoreError               exit code 2: a run directory or study that cannot be opened as asked
├── ExternalError            exit code 1: the disk is full, every candidate failed
└── Exhausted                a finite search space is used up

A message says what happened, with the value and the place (file, row, column, field), and what to do next.
"""


class ThriftyError(Exception):
    """The root of all errors that Thrifty raises on purpose."""

    exit_code = 1


class UsageError(ThriftyError):
    """A wrong option, value, recipe or space."""

    exit_code = 2


class MissingExtraError(UsageError):
    """A command needs packages that an extra brings and that are not installed."""

    def __init__(self, doing: str, extra: str, package: str) -> None:
        super().__init__(
            f"{doing} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'thrifty[{extra}]' (from a checkout: pip install '.[{extra}]')"
        )
        self.extra = extra
        self.package = package


class DataError(ThriftyError):
    """The data cannot be used as asked."""

    exit_code = 2


class StoreError(ThriftyError):
    """A run directory or study cannot be opened as asked."""

    exit_code = 2


class ExternalError(ThriftyError):
    """Something outside failed: the disk is full, every candidate failed."""


class Exhausted(ThriftyError):
    """Every configuration of a finite search space has been tried."""
