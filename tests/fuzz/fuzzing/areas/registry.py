"""The areas by name."""

from fuzzing.areas.area import Area
from fuzzing.areas.checkpoints import Checkpoints
from fuzzing.areas.command_lines import CommandLines
from fuzzing.areas.configurations import Configurations
from fuzzing.areas.data import Data
from fuzzing.areas.state_files import StateFiles

AREAS: dict[str, type[Area]] = {area.name: area for area in (CommandLines, Configurations, Data, StateFiles, Checkpoints)}
