"""Payloads and results as JSON text: typed on both sides, bounded, and never pickle."""

from oncetask_core.payload.checking import check_type
from oncetask_core.payload.decoding import decode_payload, decode_value, plain
from oncetask_core.payload.encoding import encode_payload, encode_value
from oncetask_core.payload.rules import MAX_BYTES, MAX_DEPTH, MAX_NODES

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_NODES",
    "check_type",
    "decode_payload",
    "decode_value",
    "encode_payload",
    "encode_value",
    "plain",
]
