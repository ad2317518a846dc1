"""Titles for the tables below results/, which begin with a caption."""

from sphinx.application import Sphinx


def _add_title(app: Sphinx, document: str, source: list[str]) -> None:
    """Add a title, and say that no table of contents lists the page."""
    folder, _, name = document.rpartition("/")
    if folder.startswith("results/") and name != "README":
        source[0] = f"---\norphan: true\n---\n\n# {name}\n\n{source[0]}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the change of published tables."""
    app.connect("source-read", _add_title)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
