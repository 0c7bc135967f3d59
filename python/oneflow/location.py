"""The user's line of an op call: the nearest frame outside this package."""

from __future__ import annotations

import os
import sys
from types import FrameType

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def user_location() -> tuple[str, int, str] | None:
    """(file, line, function) of the nearest caller outside the package; None at the top."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            return (code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back
    return None
