"""`./dev long fuzz-coverage` counts the lines of the parsers and of nothing else."""

from __future__ import annotations

import pytest

from tools.long import fuzz_coverage

TRACE = """SF:/a/frame.cc
FN:1,Read
DA:1,4
DA:2,0
DA:3,0
end_of_record
SF:/a/wire.cc
DA:7,1,checksum
end_of_record
SF:/a/frame.cc
DA:2,1
DA:3,0
end_of_record
"""


def test_a_line_is_reached_where_any_record_of_its_file_says_so() -> None:
    assert fuzz_coverage.lines_of(TRACE) == {
        "/a/frame.cc": {1: True, 2: True, 3: False},
        "/a/wire.cc": {7: True},
    }


def test_spans_are_those_of_the_names() -> None:
    source = "import os\n\n\ndef read(a):\n    return a\n\n\nclass Held:\n    x = 1\n"
    assert fuzz_coverage.spans(source, ["Held", "read"]) == [range(8, 10), range(4, 6)]
    with pytest.raises(KeyError, match="write"):
        fuzz_coverage.spans(source, ["write"])


def test_every_parser_is_there() -> None:
    for names in fuzz_coverage.PARSERS.values():
        assert all((fuzz_coverage.ROOT / name).is_file() for name in names)
    for name, parts in fuzz_coverage.PYTHON_PARSERS.items():
        fuzz_coverage.spans((fuzz_coverage.ROOT / name).read_text(), parts)


def test_lines_that_are_not_reached_are_shown() -> None:
    text = fuzz_coverage.described("comm/frame.cc", {1: True, 5: False})
    source = (fuzz_coverage.ROOT / "comm" / "frame.cc").read_text().splitlines()
    assert text.splitlines() == [
        "  50.0% comm/frame.cc: 1 of 2 lines",
        f"             5: {source[4]}",
    ]
