"""Configuration of the documentation site; build it with ``make docs``."""

import sys
from pathlib import Path

import skymask

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "skymask"
release = skymask.__version__
extensions = [
    "generated",
    "mathml",
    "published",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]

html_theme = "furo"
html_title = f"skymask {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False
toc_object_entries = False
python_maximum_signature_line_length = 110

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_mock_imports = ["triton"]
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False

# other packages, whose inventories would need a network; type variables and private names
nitpick_ignore_regex = [("py:.*", r"(?!skymask).*"), ("py:.*", r".*\.([A-Z]|_\w+)")]
