"""The calls to one database over the channel of a client."""

import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote

import grpc
from google.api_core import exceptions
from google.cloud.firestore_v1 import AsyncClient

from oncetask_firestore import messages
from oncetask_firestore.clients import channel_of
from oncetask_firestore.messages import Query
from oncetask_firestore.store_time import StoreTime
from oncetask_firestore.streaming import replies
from oncetask_firestore.usage import Usage

SERVICE: Final = "/google.firestore.v1.Firestore/"
CALL_SECONDS: Final = 10.0
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
SILENCE_SECONDS: Final = 10.0
"""How long a listener that hears nothing is trusted to be connected; to ask anew is one read."""


class Heard(NamedTuple):
    """A document that a listener is told of."""

    name: str
    teller: str
    """Who wrote it, if it says so."""
    updated: int
    """Microseconds since 1970."""


class Channel:
    """A database, call by call; each raises what Google's clients raise.

    Args:
        client: Firestore's client: its address and credentials are used.
        time: Learns the server's time from every reply.
        usage: Counts what is asked.
    """

    def __init__(self, client: AsyncClient, time: StoreTime, usage: Usage) -> None:
        self._time = time
        self._usage = usage
        self._database = str(client._database_string)  # noqa: SLF001 - the client tells it by no other way
        self._parent = f"{self._database}/documents"
        metadata: Sequence[tuple[str, str]] = client._rpc_metadata  # noqa: SLF001 - nor its headers
        routed = f"database={quote(self._database, safe='')}"
        self._metadata = [*metadata, ("x-goog-request-params", routed)]
        self._grpc = grpc = channel_of(client)
        self._commit = grpc.unary_unary(
            f"{SERVICE}Commit",
            request_serializer=messages.CommitRequest.SerializeToString,
            response_deserializer=messages.CommitResponse.FromString,
        )
        self._get = grpc.unary_stream(
            f"{SERVICE}BatchGetDocuments",
            request_serializer=messages.BatchGetRequest.SerializeToString,
            response_deserializer=messages.BatchGetResponse.FromString,
        )
        self._query = grpc.unary_stream(
            f"{SERVICE}RunQuery",
            request_serializer=messages.RunQueryRequest.SerializeToString,
            response_deserializer=messages.RunQueryResponse.FromString,
        )
        self._aggregate = grpc.unary_stream(
            f"{SERVICE}RunAggregationQuery",
            request_serializer=messages.AggregateRequest.SerializeToString,
            response_deserializer=messages.AggregateResponse.FromString,
        )
        self._listen = grpc.stream_stream(
            f"{SERVICE}Listen",
            request_serializer=messages.ListenRequest.SerializeToString,
            response_deserializer=messages.ListenResponse.FromString,
        )

    async def close(self) -> None:
        """Close the channel."""
        await self._grpc.close()

    def path(self, collection: str, name: str) -> str:
        """Return the full name of a document."""
        return f"{self._parent}/{collection}/{name}"

    async def commit(self, writes: Sequence[Any]) -> list[Any]:
        """Write all or nothing; return the times of update."""
        request = messages.CommitRequest(database=self._database, writes=writes)
        sent = self._time.host_now()
        try:
            reply = await self._commit(request, timeout=CALL_SECONDS, metadata=self._metadata)
        except Exception as error:
            self._usage.was_refused(writes)
            raise _known(error) from error
        self._observe(sent, reply.commit_time)
        deletes = sum(bool(write.delete) for write in writes)
        self._usage.committed(writes=len(writes) - deletes, deletes=deletes)
        return [result.update_time for result in reply.write_results]

    async def get(self, collection: str, names: Collection[str]) -> list[Any]:
        """Return the documents that exist."""
        request = messages.BatchGetRequest(database=self._database)
        request.documents.extend(self.path(collection, name) for name in names)
        found = [reply.found async for reply in self._stream(self._get, request) if reply.HasField("found")]
        self._usage.got(names)
        return found

    async def find(self, query: Query) -> list[Any]:
        """Return the documents that a query finds."""
        request = messages.RunQueryRequest(parent=self._parent)
        query.write_into(request.structured_query)
        found = [reply.document async for reply in self._stream(self._query, request) if reply.HasField("document")]
        self._usage.found(found)
        return found

    async def count(self, query: Query) -> int:
        """Return how many documents a query finds."""
        request = messages.AggregateRequest(parent=self._parent)
        asked = request.structured_aggregation_query
        query.write_into(asked.structured_query)
        asked.aggregations.add(alias="count").count.SetInParent()
        replies = [reply.result async for reply in self._stream(self._aggregate, request) if reply.HasField("result")]
        number: int = sum(reply.aggregate_fields["count"].integer_value for reply in replies)
        self._usage.counted(number)
        return number

    async def listen(self, query: Query) -> AsyncGenerator[Heard, None]:
        """Yield the documents that a query finds, and each again when it changes.

        The end comes after a long silence: nobody knows whether the stream still holds.
        """
        request = messages.ListenRequest(database=self._database)
        request.add_target.target_id = 1
        request.add_target.query.parent = self._parent
        query.write_into(request.add_target.query.structured_query)
        begin = functools.partial(self._listen, metadata=self._metadata)
        try:
            async with contextlib.aclosing(replies(begin, request, silence=SILENCE_SECONDS)) as stream:
                async for reply in stream:
                    heard = _shown(reply)
                    if heard is not None:
                        self._usage.heard(1)
                        yield heard
        except TimeoutError:
            return
        except exceptions.GoogleAPICallError:
            raise
        except Exception as error:
            raise _known(error) from error
        raise _error(grpc.StatusCode.UNAVAILABLE, "the server ended the stream")

    async def _stream(self, call: Any, request: Any) -> AsyncIterator[Any]:
        sent: datetime | None = self._time.host_now()
        try:
            async for reply in call(request, timeout=CALL_SECONDS, metadata=self._metadata):
                if sent is not None:
                    self._observe(sent, reply.read_time)
                sent = None
                yield reply
        except Exception as error:
            raise _known(error) from error

    def _observe(self, sent: datetime, server: Any) -> None:
        received = self._time.host_now()
        if server.seconds:
            self._time.observe(sent, received, server=server.ToDatetime(tzinfo=UTC))


def _shown(reply: Any) -> Heard | None:
    """Return the document that a listener is told of, if it is told of one; raise if it is told that this was all."""
    if reply.target_change.target_change_type == messages.REMOVED:
        cause = reply.target_change.cause
        raise _error(_CODES[cause.code], cause.message)
    if not reply.HasField("document_change"):
        return None
    document = reply.document_change.document
    teller = document.fields["teller"].string_value if "teller" in document.fields else ""
    return Heard(document.name, teller, int(document.update_time.ToMicroseconds()))


def _error(code: grpc.StatusCode, message: str) -> Exception:
    known: Any = exceptions
    return cast(Exception, known.from_grpc_status(code, message))


def _known(error: Exception) -> Exception:
    """Return an error of gRPC as Google's clients raise it; others as they are."""
    known: Any = exceptions
    return cast(Exception, known.from_grpc_error(error)) if hasattr(error, "code") else error
