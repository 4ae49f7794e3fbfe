"""How the models read Konvox's JSON: leniently, because a value that is refused costs an event or a record.

The models of `konvox.events` and `konvox.resources` are made of these types. Konvox documents its values only in part,
and will add to them. So a documented form is checked first; any other form is read as far as it has a reading:

    a number for a text                 its digits
    a value that an enumeration lacks   an `UnknownValue`, which is a `str`
    any JSON for a text to read         its JSON text (`AnyText`)
    no form of the value at all         None (`Readable`)
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    StrictStr,
    TypeAdapter,
    ValidationError,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema, to_json

T = TypeVar("T")

_ANY_TIME: Final = TypeAdapter(datetime)


class WireModel(BaseModel):
    """A frozen model with snake_case attributes for Konvox's camelCase JSON; unknown fields are kept."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        coerce_numbers_to_str=True,
    )


class OtherForms:
    """An annotation: values that do not fit the type are read by a function instead.

    Args:
        read: returns the reading. It raises ValueError for a value without one.
    """

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read = read

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Try the type first: the function is called for odd values only, and so usual ones cost nothing more."""
        return core_schema.union_schema(
            [
                handler(source),
                core_schema.no_info_after_validator_function(self._read, core_schema.any_schema()),
            ],
            mode="left_to_right",
        )


def json_text(value: Any) -> str:
    """A text as it is, and any other value as its JSON."""
    return value if isinstance(value, str) else to_json(value).decode()


def time_or_none(value: Any) -> datetime | None:
    """The time of an ISO 8601 text or a Unix time. Without an offset it is in UTC, as all of Konvox's times are."""
    try:
        moment = _ANY_TIME.validate_python(value)
    except ValidationError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class UnknownValue(str):
    """A value of an enumeration that Konvox does not document (yet): the text itself.

    Code that handles all documented values can test `isinstance(value, UnknownValue)` for the rest.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take any text, and the JSON text of anything else."""
        return core_schema.no_info_after_validator_function(
            lambda value: cls(json_text(value)),
            core_schema.any_schema(),
            serialization=core_schema.simple_ser_schema("str"),
        )


def _none(_: Any) -> None:
    return None


AnyText: TypeAlias = Annotated[str | None, OtherForms(json_text)]
"""A text for people to read, in whatever form it comes; None if it is null or missing."""

Readable: TypeAlias = Annotated[T | None, OtherForms(_none)]
"""A value that is None if it is missing or has another form; the rest of its record stays valid."""

Time: TypeAlias = Annotated[AwareDatetime | None, OtherForms(time_or_none)]
"""A time with an offset; None if it is missing or no time."""

CompanyId: TypeAlias = Annotated[StrictStr | None, OtherForms(_none)]
"""The `companyId` of an event. Only a text is one, as for the receiver, which compares it."""
