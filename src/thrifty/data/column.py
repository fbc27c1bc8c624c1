"""What a column means, what the target asks for, and the schema that holds both."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from thrifty.core.errors import StoreError


class Meaning(StrEnum):
    """What the values of a column stand for."""

    NUMBER = "number"
    CATEGORY = "category"
    TIMESTAMP = "timestamp"
    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    IGNORED = "ignored"


class Task(StrEnum):
    """What is predicted: one of two classes, one of several, any of several, or a number."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    MULTILABEL = "multilabel"
    REGRESSION = "regression"


MEDIA = (Meaning.IMAGE, Meaning.AUDIO)


@dataclass(frozen=True)
class Column:
    """An input column. `reason` says why it has its meaning.

    num_distinct: of the values that are not missing; counted on a sample where the table is large.
    examples: up to three values as text, for people.
    """

    name: str
    meaning: Meaning
    reason: str
    num_missing: int = 0
    num_distinct: int = 0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schema:
    """The input columns, the target and the task.

    classes: the class texts as they stood in the data, in the order of their codes; empty for regression.
    target_reason: why the task is what it is.
    weight, group, time: columns with these roles; weight and group are not inputs.
    folder: whether the data was a folder of files, so that the one column is `file`.
    """

    columns: tuple[Column, ...]
    target: str
    task: Task
    classes: tuple[str, ...] = ()
    target_reason: str = ""
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    folder: bool = False

    def names_of(self, *meanings: Meaning) -> tuple[str, ...]:
        """The names of the columns with one of the meanings, in their order."""
        return tuple(c.name for c in self.columns if c.meaning in meanings)

    @property
    def inputs(self) -> dict[str, Meaning]:
        """The columns that a model may use, {name: meaning}: all but the ignored ones."""
        return {c.name: c.meaning for c in self.columns if c.meaning is not Meaning.IGNORED}

    def to_json(self) -> dict[str, Any]:
        columns = [
            {
                "name": c.name,
                "meaning": c.meaning.value,
                "reason": c.reason,
                "num_missing": c.num_missing,
                "num_distinct": c.num_distinct,
                "examples": list(c.examples),
            }
            for c in self.columns
        ]
        return {
            "columns": columns,
            "target": self.target,
            "task": self.task.value,
            "classes": list(self.classes),
            "target_reason": self.target_reason,
            "weight": self.weight,
            "group": self.group,
            "time": self.time,
            "folder": self.folder,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The schema that `to_json` wrote. Raises StoreError for anything else."""
        try:
            columns = tuple(
                Column(
                    c["name"],
                    Meaning(c["meaning"]),
                    c["reason"],
                    c["num_missing"],
                    c["num_distinct"],
                    tuple(c["examples"]),
                )
                for c in value["columns"]
            )
            return cls(
                columns=columns,
                target=value["target"],
                task=Task(value["task"]),
                classes=tuple(value["classes"]),
                target_reason=value["target_reason"],
                weight=value["weight"],
                group=value["group"],
                time=value["time"],
                folder=value["folder"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"a schema cannot be read: {error!r}; it was written by another version") from error
