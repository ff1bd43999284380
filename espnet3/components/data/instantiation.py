"""Instantiate nodes of the configuration; a user's mistake stays a one-line error."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from espnet3.errors import UserError


def instantiate_node(node: DictConfig) -> Any:
    """As `hydra.utils.instantiate`, with plain lists, dicts and objects as arguments.

    Raises:
        UserError: the one that a constructor raised (Hydra wraps it), with the key of its node.
        InstantiationException: any other failure.
    """
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is None:
            raise
        _, _, key = str(error).partition("full_key: ")
        raise UserError(f"{key.strip()}: {cause}" if key.strip() else str(cause)) from error
