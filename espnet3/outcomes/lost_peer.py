"""Whether an error only says that another rank is gone."""

import re

PEER_LOST = re.compile(
    r"connection (was )?(closed|reset|refused)|broken pipe|socket timeout|recvvalue failed|sendbytes failed"
    r"|remote process exited|network error|connection was likely closed|timed out.*(waiting|recv|all_?reduce)"
    r"|failed to (recv|send)|store.*(closed|unavailable)",
    re.IGNORECASE,
)
"""Messages of gloo, NCCL and torch's store when another rank is gone."""


def is_lost_peer(error: BaseException) -> bool:
    """Whether `error` only says that another rank is gone; torch has no exception type for that."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return any(
        type(cause).__name__.startswith("Dist")
        or (isinstance(cause, RuntimeError | OSError) and PEER_LOST.search(str(cause)))
        for cause in chain
    )
