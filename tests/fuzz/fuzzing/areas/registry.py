"""The areas by name."""

from fuzzing.areas.area import Area
from fuzzing.areas.command_lines import CommandLines

AREAS: dict[str, type[Area]] = {area.name: area for area in (CommandLines,)}
