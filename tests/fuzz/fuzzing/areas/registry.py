"""The areas by name."""

from fuzzing.areas.area import Area
from fuzzing.areas.checkpoints import Checkpoints
from fuzzing.areas.command_lines import CommandLines
from fuzzing.areas.configurations import Configurations
from fuzzing.areas.data import Data
from fuzzing.areas.folders import Folders
from fuzzing.areas.slurm_answers import SlurmAnswers
from fuzzing.areas.state_files import StateFiles

_AREAS = (CommandLines, Configurations, StateFiles, Folders, SlurmAnswers, Data, Checkpoints)
AREAS: dict[str, type[Area]] = {area.name: area for area in _AREAS}
