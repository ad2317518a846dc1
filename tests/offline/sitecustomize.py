"""The network block for processes that tests start; Python imports this file when it starts."""

import no_network  # noqa: F401
