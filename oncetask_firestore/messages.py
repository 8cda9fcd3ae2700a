"""Firestore's own messages, made and read without the layers of its client, which take most of the time of a task."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from google.cloud.firestore_v1 import GeoPoint, types

Condition = tuple[str, str, object]
"""A field, a comparison, a value."""


def _raw(message: Any) -> Any:
    """Return the plain class of a message."""
    return type(message.pb(message()))


Value: Final = _raw(types.Value)
Document: Final = _raw(types.Document)
WriteMessage: Final = _raw(types.Write)
CommitRequest: Final = _raw(types.CommitRequest)
CommitResponse: Final = _raw(types.CommitResponse)
BatchGetRequest: Final = _raw(types.BatchGetDocumentsRequest)
BatchGetResponse: Final = _raw(types.BatchGetDocumentsResponse)
RunQueryRequest: Final = _raw(types.RunQueryRequest)
RunQueryResponse: Final = _raw(types.RunQueryResponse)
AggregateRequest: Final = _raw(types.RunAggregationQueryRequest)
AggregateResponse: Final = _raw(types.RunAggregationQueryResponse)
ListenRequest: Final = _raw(types.ListenRequest)
ListenResponse: Final = _raw(types.ListenResponse)
REMOVED: Final = int(types.TargetChange.TargetChangeType.REMOVE)
_Operator = types.StructuredQuery.FieldFilter.Operator
_OPERATORS: Final[Mapping[str, int]] = {
    "==": int(_Operator.EQUAL),
    "in": int(_Operator.IN),
    "<": int(_Operator.LESS_THAN),
    "<=": int(_Operator.LESS_THAN_OR_EQUAL),
    ">": int(_Operator.GREATER_THAN),
    ">=": int(_Operator.GREATER_THAN_OR_EQUAL),
}
_AND: Final = int(types.StructuredQuery.CompositeFilter.Operator.AND)
_ASCENDING: Final = int(types.StructuredQuery.Direction.ASCENDING)
_DESCENDING: Final = int(types.StructuredQuery.Direction.DESCENDING)


class Query(NamedTuple):
    """A query of one collection."""

    collection: str
    conditions: tuple[Condition, ...] = ()
    order: tuple[str, ...] = ()
    most: int = 0
    """How many documents at most; 0 means all."""

    def where(self, *conditions: Condition) -> "Query":
        """Return the query with more conditions."""
        return self._replace(conditions=(*self.conditions, *conditions))

    def order_by(self, *fields: str) -> "Query":
        """Return the query in the order of fields, descending where a minus stands before the name."""
        return self._replace(order=fields)

    def limit(self, most: int) -> "Query":
        """Return the query for so many documents at most."""
        return self._replace(most=most)

    def write_into(self, message: Any) -> None:
        """Say the query in a message."""
        message.from_.add().collection_id = self.collection
        message.where.composite_filter.op = _AND
        for field, comparison, value in self.conditions:
            condition = message.where.composite_filter.filters.add().field_filter
            condition.field.field_path = field
            condition.op = _OPERATORS[comparison]
            set_value(condition.value, value)
        for field in self.order:
            order = message.order_by.add()
            order.field.field_path = field.removeprefix("-")
            order.direction = _DESCENDING if field.startswith("-") else _ASCENDING
        if self.most:
            message.limit.value = self.most


def set_value(message: Any, value: object) -> None:
    """Say a value in a message.

    Raises:
        ValueError: It is an int beyond 64 bits, or a text with lone surrogates.
        TypeError: Firestore has no such type.
    """
    match value:
        case None:
            message.null_value = 0
        case bool():
            message.boolean_value = value
        case str():
            message.string_value = value
        case int():
            message.integer_value = value
        case float():
            message.double_value = value
        case Mapping():
            set_fields(message.map_value, value)
        case list() | tuple():
            _set_items(message.array_value, value)
        case bytes():
            message.bytes_value = value
        case datetime():
            message.timestamp_value.FromDatetime(value.astimezone(UTC).replace(tzinfo=None))
        case GeoPoint():
            message.geo_point_value.latitude, message.geo_point_value.longitude = value.latitude, value.longitude
        case _:
            raise TypeError(f"Firestore has no type for {type(value).__name__}")


def set_fields(message: Any, values: Mapping[str, object]) -> None:
    """Say values by name in a message that has fields."""
    message.SetInParent()
    for name, value in values.items():
        set_value(message.fields[name], value)


def _set_items(message: Any, values: Iterable[object]) -> None:
    message.SetInParent()
    for value in values:
        set_value(message.values.add(), value)


def size_of(values: Mapping[str, object]) -> int:
    """Return how many bytes a document with these values takes on the wire."""
    message = Document()
    set_fields(message, values)
    return int(message.ByteSize())


class Fields(Mapping[str, Any]):
    """The values of a message that has fields, each read when it is asked for: of most documents that is one."""

    __slots__ = ("_fields",)

    def __init__(self, message: Any) -> None:
        self._fields = message.fields

    def __getitem__(self, name: str) -> Any:
        """Return the value of a field."""
        if name not in self._fields:  # a message makes up what it has not
            raise KeyError(name)
        return value_of(self._fields[name])

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the fields."""
        return iter(self._fields)

    def __len__(self) -> int:
        """Return how many fields there are."""
        return len(self._fields)


def fields_of(message: Any) -> dict[str, Any]:
    """Return the values of a message that has fields."""
    return {name: value_of(value) for name, value in message.fields.items()}


def value_of(message: Any) -> Any:
    """Return the value of a message; a reference reads as its path."""
    match message.WhichOneof("value_type"):
        case "map_value":
            return fields_of(message.map_value)
        case "array_value":
            return [value_of(value) for value in message.array_value.values]
        case "null_value" | None:
            return None
        case "timestamp_value":
            return message.timestamp_value.ToDatetime(tzinfo=UTC)
        case "geo_point_value":
            return GeoPoint(message.geo_point_value.latitude, message.geo_point_value.longitude)
        case kind:
            return getattr(message, kind)
