"""Python examples of the README and the guide."""

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]


def example(file, mark):
    """Return the block of Python after the comment ``mark`` in a page."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if file.endswith(".rst"):
        pattern = rf"\.\. {mark}\n\n\.\. code-block:: python\n\n((?:   [^\n]+\n|\n)*)"
    else:
        pattern = rf"<!-- {mark} -->\n```python\n(.*?)```"
    return textwrap.dedent(re.search(pattern, text, re.DOTALL)[1])


def test_the_library_example_rejects_the_malicious_clients(capsys):
    names = {}
    exec(example("README.md", "test: library example"), names)
    assert names["result"].accepted.tolist() == (~names["malicious"]).tolist()
    assert names["result"].update.shape == (1000,)
    assert capsys.readouterr().out


def test_the_example_of_several_rounds_runs(capsys):
    names = {}
    exec(example("docs/guide/python.md", "test: rounds example"), names)
    assert names["result"].accepted.shape == (20,)
    assert names["parameters"].isfinite().all()
    assert capsys.readouterr().out
