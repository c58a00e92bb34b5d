"""requests' adapter, whose connections are closed when it is: urllib3 leaves them to the garbage collector."""

from __future__ import annotations

from requests.adapters import HTTPAdapter


class ClosingAdapter(HTTPAdapter):
    """Else a pool among the frames of an error that is not collected yet keeps its connections to a server that is
    gone."""

    def close(self) -> None:
        """Close the idle connections."""
        pools = self.poolmanager.pools
        for key in pools.keys():  # noqa: SIM118 - iterating over it is refused
            pools[key].close()
        super().close()
