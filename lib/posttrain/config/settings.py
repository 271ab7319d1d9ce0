"""What every group of settings has in common: frozen, checked when it is made, resolved to plain data for an identity.

A value of the wrong type is refused, never converted; only a whole number may stand for a number.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class Problem(ValueError):
    """What is wrong with a setting, and its path below the settings that were checked."""

    def __init__(self, text: str, *path: str):
        super().__init__(": ".join([".".join(map(str, path)), text] if path else [text]))
        self.text, self.path = text, path


def choose(value: Any, choices: Iterable[str]) -> str:
    """Which name was probably meant, and which there are."""
    near = difflib.get_close_matches(str(value)[:100], choices, 1)
    return f"{f'did you mean {near[0]}? ' if near else ''}choose one of {', '.join(choices)}"


class Settings(BaseModel):
    """A frozen group of settings; an unknown name or a wrong value raises pydantic.ValidationError, a ValueError.

    A field with `exclude` is set by the profile around it. A field that is added later and means "as before" by default says
    `json_schema_extra={"neutral": DEFAULT}`: at that value it is left out of `resolved`, and stored runs keep their identity.
    """

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = cls.complete(data)
        for name in data:
            if name not in cls.model_fields:
                raise Problem(f"unknown; {choose(name, cls.names())}", str(name))
        return data

    @classmethod
    def complete(cls, data: dict) -> dict:
        """`data` with what other settings decide; raises Problem."""
        return data

    @classmethod
    def names(cls) -> list[str]:
        """The settings that a profile may hold here."""
        return [name for name, field in cls.model_fields.items() if not field.exclude]

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


def _distinct(values: tuple | None) -> tuple | None:
    if values and len(set(values)) < len(values):
        raise ValueError(f"must name each one once, not {list(values)}")
    return values


Listed = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
Distinct = AfterValidator(_distinct)
Count = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1000)]
Above0 = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[tuple[Seed, ...], Listed, Field(min_length=1), Distinct]
Feedback = Literal["informative", "verdict", "none"]
Protocol = Literal["clean", "as_released"]
