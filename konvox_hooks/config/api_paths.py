"""Where Konvox's resources are, if our reading of its documentation is wrong: the setting that says so. Pure.

The faults never quote the value: a secret in the wrong variable is still a secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Final

from konvox.inferred import DEFAULT_PATHS, Paths

RESOURCES: Final = tuple(field.name for field in fields(Paths))
"""The resources whose path can be set, under the names that the setting gives them."""

# Segments as RFC 3986 allows them; none is empty, `.` or `..`, because then the call would go elsewhere.
_PATH: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~!$&'()*+;=:@-]|%[0-9A-Fa-f]{2})+)+")


def resource_paths(entries: Sequence[str]) -> Paths:
    """The paths to use: the inferred ones but for those that entries such as `contacts=/v2/contacts` put right.

    Raises:
        ValueError: an entry is not of this form, names no resource or one that stood before, or holds no path.
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
