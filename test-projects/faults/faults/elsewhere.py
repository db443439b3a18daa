"""The world in another place than usual."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from django.db import connection, connections

from faults.servers import Server, private_server
from faults.world import World, create

PREFIXES = {"postgresql": "POSTGRES", "mysql": "MYSQL"}
"""Of the environment's variables that say where a server is."""


def way_to(**place: str) -> dict[str, str]:
    """What a process finds in its environment to get there: ``HOST``, ``PORT`` and so on."""
    return {f"{PREFIXES[connection.vendor]}_{word}": value for word, value in place.items()}


@contextmanager
def on_private_server(world: World, address: str = "", **environment: str) -> Iterator[Server]:
    """Within the block, the default database of this process and of those that it starts is a
    fresh one on a private server, which listens there as well; what has to hold after a scenario is
    checked at its end."""
    with ExitStack() as stack:
        server = stack.enter_context(private_server(connection.vendor, address, **environment))
        stack.enter_context(moved(server.settings, way_to(**server.settings)))
        create()
        yield server
        world.check()


@contextmanager
def moved(settings: dict[str, str], environment: dict[str, str]) -> Iterator[None]:
    """Within the block, the default database is the one of these settings, to which this
    environment leads the processes that are started."""
    usual = connection.settings_dict.copy()
    connection.close()
    connection.settings_dict.update(settings)
    try:
        with patch.dict(os.environ, environment):
            yield
    finally:
        connections.close_all()
        connection.settings_dict.update(usual)
