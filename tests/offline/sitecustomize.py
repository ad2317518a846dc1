"""Keeps the processes that tests start off the network: Python runs this file by itself."""

import no_network  # noqa: F401
