"""What every group of settings has in common: frozen, checked when it is made, resolved to plain data.

A value of the wrong type is refused, never converted; only a whole number may stand for a number.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)


class ConfigError(ValueError):
    """A profile that cannot be carried out: one line with the path of a setting and what is allowed."""


class Problem(ValueError):
    """What is wrong with a setting, and its path below the settings that were checked."""

    def __init__(self, text: str, *path: str):
        super().__init__(f"{'.'.join(map(str, path))}: {text}")
        self.text, self.path = text, path


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def brief(value: Any) -> str:
    """A value as a profile has it, in at most a line."""
    return {"True": "true", "False": "false", "None": "null"}.get(repr(value), _short.repr(value))


def choose(value: Any, choices: Iterable[str]) -> str:
    """Which name was probably meant, and which there are."""
    near = difflib.get_close_matches(str(value)[:100], choices, 1)
    listed = ", ".join(choices)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{meant}choose one of {listed}" if listed else "there is none"


def setting(default: Any, sentence: str, **more: Any) -> Any:
    """A field: its default (`...` where a profile must say it), and what it means, with the unit."""
    return Field(default, description=sentence, **more)


def neutral(default: Any) -> dict[str, Any]:
    """Of a field that was added later: at its default it is no part of an identity."""
    return {"json_schema_extra": {"neutral": default}}


class Settings(BaseModel):
    """A frozen group of settings; what is unknown or wrong raises pydantic.ValidationError, a ValueError.

    `given`: fields that other settings decide; no profile may hold them.

    A field that is added later, with a default that means "as before", is declared neutral at this default:
    `setting(None, "…", **neutral(None))`. There `resolved` leaves it out, and stored runs keep their
    identity.
    """

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, validate_default=True)
    given: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data, fields = cls.complete(data), cls.model_fields  # to ask for these costs more than all below
        if unknown := [name for name in data if name not in fields]:
            raise Problem(f"unknown; {choose(unknown[0], cls.names())}", unknown[0])
        for name, field in fields.items():
            if name not in data and field.is_required():
                raise Problem(f"is missing: {field.description}", name)
        return data

    @classmethod
    def complete(cls, data: dict) -> dict:
        """`data` with what other settings decide; raises Problem."""
        return data

    @classmethod
    def names(cls) -> list[str]:
        """The settings that a profile may hold here."""
        return [name for name in cls.model_fields if name not in cls.given]

    def model_copy(self, *, update: dict[str, Any] | None = None, deep: bool = False):
        """A copy with some settings changed and all checked again (pydantic's own checks nothing)."""
        return type(self).model_validate({**dict(self), **(update or {})})

    def resolved(self) -> dict[str, Any]:
        """Every setting with its default filled in, as JSON has it."""
        plain = {}
        for name, field in type(self).model_fields.items():
            value, extra = getattr(self, name), field.json_schema_extra or {}
            if not field.exclude and ("neutral" not in extra or value != extra["neutral"]):
                value = value.resolved() if isinstance(value, Settings) else value
                plain[name] = list(value) if isinstance(value, tuple) else value
        return plain

    def sentences(self, path: str = "") -> dict[str, str]:
        """What each setting means, by its path."""
        said = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            inner = isinstance(value, Settings)
            said |= value.sentences(f"{path}{name}.") if inner else {path + name: field.description}
        return said


def _distinct(values: tuple) -> tuple:
    if len(set(values)) < len(values):
        raise ValueError(f"must name each one once, not {list(values)}")
    return values


Listed = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
Distinct = AfterValidator(_distinct)
Count = Annotated[int, Field(ge=1, le=10**9)]
Above0 = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[tuple[Seed, ...], Listed, Field(min_length=1), Distinct]
Feedback = Literal["informative", "verdict", "none"]
Protocol = Literal["clean", "as_released"]
NAME = "[a-z0-9][a-z0-9-]{0,59}"
Name = Annotated[str, Field(pattern=f"^{NAME}$", max_length=60)]


def either(first: type[Settings], second: type[Settings], is_second) -> Any:
    """One of two groups of settings; tags in angle brackets, which no path of an error shows."""

    def tag(value: Any) -> str:
        return f"<{is_second(value) if isinstance(value, dict) else isinstance(value, second)}>"

    return Annotated[Annotated[first, Tag("<False>")] | Annotated[second, Tag("<True>")], Discriminator(tag)]


def merged(below: dict, above: dict) -> dict:
    """Two mappings as one, at every depth; `above` comes first, and its None takes a key of `below` away."""
    result = {**below, **above}
    for key in below.keys() & above.keys():
        if above[key] is None:
            del result[key]
        elif isinstance(above[key], dict) and isinstance(below[key], dict):
            result[key] = merged(below[key], above[key])
    return result
