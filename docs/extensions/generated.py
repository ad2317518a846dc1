"""Directives that insert the pages of ``reference``."""

from collections.abc import Callable

from docutils import nodes
from reference import artifacts, methods, package, public_names, study_keys
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def _directive(write: Callable[..., str]) -> type[SphinxDirective]:
    class Generated(SphinxDirective):
        optional_arguments = 1
        final_argument_whitespace = True

        def run(self) -> list[nodes.Node]:
            # what it is written from is not in the page: read it anew in every build
            self.env.note_reread()
            text = write(*self.arguments)
            return list(self.parse_text_to_nodes(text, allow_section_headings=True))

    return Generated


def setup(app: Sphinx) -> dict[str, bool]:
    """Register a directive for each kind of page."""
    for write in (study_keys, methods, artifacts, package, public_names):
        app.add_directive(f"generated-{write.__name__.replace('_', '-')}", _directive(write))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
