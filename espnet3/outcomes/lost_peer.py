"""Whether an error only says that another rank is gone."""

import re

PEER_LOST = re.compile(
    r"connection (was )?(closed|reset|refused)|broken pipe|socket timeout|recvvalue failed|sendbytes failed"
    r"|remote process exited|network error|connection was likely closed|timed out.*(waiting|recv|all_?reduce)"
    r"|failed to (recv|send)|store.*(closed|unavailable)",
    re.IGNORECASE,
)
"""What gloo, NCCL and torch's store say when another rank is gone."""


def is_lost_peer(error: BaseException) -> bool:
    """Whether `error` only tells that another rank is gone; torch has no exception of its own for that."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return any(
        type(link).__name__.startswith("Dist")
        or (isinstance(link, RuntimeError | OSError) and PEER_LOST.search(str(link)))
        for link in chain
    )
