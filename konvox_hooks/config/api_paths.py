"""The setting KONVOX_API_PATHS: the paths of the Konvox API's resources, where our reading of its documents is wrong.

Pure. No message quotes the value: somebody may have put a secret into the wrong variable.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Final

from konvox.inferred import DEFAULT_PATHS, Paths

RESOURCES: Final = tuple(field.name for field in fields(Paths))
"""The resources whose path can be set, by the names that the setting uses."""

# The segments that RFC 3986 allows. None may be empty, `.` or `..`: the call would go to another path.
_PATH: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~!$&'()*+;=:@-]|%[0-9A-Fa-f]{2})+)+")


def resource_paths(entries: Sequence[str]) -> Paths:
    """The inferred paths, with those that entries such as `contacts=/v2/contacts` replace.

    Raises:
        ValueError: an entry has another form, names an unknown resource or one twice, or holds no path.
    """
    found: dict[str, str] = {}
    for position, entry in enumerate(entries, start=1):
        which = f"entry {position} of {len(entries)}"
        name, equals, path = (part.strip() for part in entry.partition("="))
        if not equals:
            raise ValueError(f"{which} is not of the form resource=/path")
        if name not in RESOURCES:
            raise ValueError(f"{which} names no resource; the resources are {', '.join(RESOURCES)}")
        if name in found:
            raise ValueError(f"{which} names {name} again: keep one")
        if not _PATH.fullmatch(path):
            raise ValueError(
                f"{which}, {name}: this is not a path; it begins with /, does not end with one, and holds neither a "
                "query nor an empty, . or .. segment"
            )
        found[name] = path
    return replace(DEFAULT_PATHS, **found)
