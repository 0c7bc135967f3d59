"""The slices of a Perfetto trace that the runtime wrote (runtime/trace.h), for benchmarks.

Reads the few fields that the runtime writes, by the protobuf wire format.
Source of the numbers: perfetto/protos/perfetto/trace/{trace_packet,track_event/track_event}.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of TracePacket, TrackDescriptor, TrackEvent and DebugAnnotation.
TIMESTAMP, TRACK_EVENT, TRACK_DESCRIPTOR = 8, 11, 60
UUID, NAME = 1, 2
EVENT_TYPE, EVENT_TRACK, EVENT_NAME, EVENT_ANNOTATIONS = 9, 11, 23, 4
ANNOTATION_NAME, ANNOTATION_INT, ANNOTATION_UINT = 10, 4, 3
BEGIN, END = 1, 2


@dataclass(frozen=True)
class Slice:
    """One firing: `name` is the task's."""

    track: str
    name: str
    step: int
    begin_ns: int
    duration_ns: int


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
        else:  # the runtime writes no other kind than lengths
            size, at = _varint(data, at)
            yield key >> 3, data[at : at + size]
            at += size


def slices(path: Path) -> list[Slice]:
    """All slices of the file, in the order of their ends."""
    tracks: dict[int, str] = {}
    begun: dict[int, tuple[int, str, int]] = {}
    found = []
    for _, packet in _fields(path.read_bytes()):
        parts = dict(_fields(packet))
        if TRACK_DESCRIPTOR in parts:
            track = dict(_fields(parts[TRACK_DESCRIPTOR]))
            tracks[track[UUID]] = track.get(NAME, b"").decode()
        if TRACK_EVENT not in parts:
            continue
        event: dict[int, Any] = {}
        notes: dict[str, int] = {}
        for field, value in _fields(parts[TRACK_EVENT]):
            if field == EVENT_ANNOTATIONS:
                note = dict(_fields(value))
                notes[note[ANNOTATION_NAME].decode()] = note.get(
                    ANNOTATION_INT, note.get(ANNOTATION_UINT, 0)
                )
            else:
                event[field] = value
        uuid = event[EVENT_TRACK]
        if event[EVENT_TYPE] == BEGIN:
            begun[uuid] = (parts[TIMESTAMP], event[EVENT_NAME].decode(), notes.get("step", 0))
        elif event[EVENT_TYPE] == END:
            begin, name, step = begun.pop(uuid)
            found.append(Slice(tracks.get(uuid, ""), name, step, begin, parts[TIMESTAMP] - begin))
    return found
