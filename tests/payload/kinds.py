"""Payload classes of every sort that the codec promises to take, with equal fields."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any, ClassVar, NewType, NotRequired, TypedDict
from uuid import UUID

import attrs
import msgspec
import pydantic

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)
SEVEN = UUID(int=7)
Cents = NewType("Cents", int)


class Colour(StrEnum):
    """Text by itself."""

    RED = "red"
    BLUE = "blue"


class Size(Enum):
    """Text by its values."""

    SMALL = "s"
    LARGE = "l"


@dataclass
class Plain:
    kind: ClassVar[str] = "plain"
    text: str
    number: int = 1
    ratio: float = 0.5
    items: list[str] = field(default_factory=list)
    more: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slotted:
    text: str
    number: int = 1
    ratio: float = 0.5
    items: tuple[str, ...] = ()
    more: dict[str, int | None] = field(default_factory=dict)


@attrs.define
class Attrs:
    text: str
    number: int = 1
    ratio: float = 0.5
    items: list[str] = attrs.field(factory=list)
    more: dict[str, int | None] = attrs.field(factory=dict)


class Struct(msgspec.Struct):
    text: str
    number: int = 1
    ratio: float = 0.5
    items: list[str] = []
    more: dict[str, int | None] = {}


class Model(pydantic.BaseModel):
    text: str
    number: int = 1
    ratio: float = 0.5
    items: list[str] = []
    more: dict[str, int | None] = {}


class Typed(TypedDict):
    text: str
    number: NotRequired[int]
    ratio: float
    items: list[str]
    more: dict[str, int | None]


@dataclass
class Rich:
    """Every scalar that has a JSON form of its own."""

    at: datetime = NOON
    wait: timedelta = timedelta(seconds=90)
    uid: UUID = SEVEN
    price: Decimal = Decimal("1.10")
    colour: Colour = Colour.RED
    size: Size = Size.LARGE
    raw: bytes = b"\x00\xff"
    cents: Cents = Cents(5)
    by_size: dict[Size, int] = field(default_factory=lambda: {Size.SMALL: 1})
    by_uid: dict[UUID, int] = field(default_factory=lambda: {UUID(int=1): 1})
    tags: set[str] = field(default_factory=lambda: {"a"})
    pair: tuple[int, str] = (1, "a")
    maybe: "Rich | None" = None
    anything: Any = None


class Aliased(pydantic.BaseModel):
    """A model that is written under other names than it is read by in Python."""

    number: int = pydantic.Field(alias="No")

    @pydantic.computed_field
    def doubled(self) -> int:
        """Return what must not come back as a field."""
        return self.number * 2


@dataclass
class Holder:
    """Models inside of a dataclass."""

    first: Aliased
    rest: list[Model] = field(default_factory=list)
