"""A math renderer that writes MathML, so that formulas need no JavaScript and no network."""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

# what the converter takes for a variable, or does not know
REPLACEMENTS = {
    "{aligned}": "{split}",
    "{align}": "{split}",
    "{align*}": "{split}",
    "\\operatorname*": "\\operatorname",
    "≤": "\\le ",
    "≥": "\\ge ",
    "≠": "\\ne ",
    "∈": "\\in ",
    "·": "\\cdot ",
    "×": "\\times ",
    "±": "\\pm ",
    "→": "\\to ",
    "‖": "\\Vert ",
    "−": "-",
}


def mathml(latex: str, display: str) -> str:
    """Convert a formula; several lines without an environment are aligned at their ``&``."""
    if "\\\\" in latex and "\\begin" not in latex:
        latex = f"\\begin{{split}}{latex}\\end{{split}}"
    for old, new in REPLACEMENTS.items():
        latex = latex.replace(old, new)
    return convert(latex, display=display)


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer as ``mathml``."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
