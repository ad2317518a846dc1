"""Licences of the pinned packages.

A package names its licence in an expression, in the classifiers of its index entry, or in a field
of free text; the first of these counts.
"""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

ROOT = Path(__file__).parents[2]
PINS = sorted(ROOT.glob("requirements*.txt"))

# permissive, or with a claim on changes to the package's own files alone (MPL, LGPL)
COMPATIBLE = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT"),
    *("MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib", "LGPL-2.1-or-later", "LGPL-3.0-only"),
    "Apache-2.0 WITH LLVM-exception",
}
CLASSIFIERS = {
    "Apache Software License",
    "BSD License",
    "ISC License (ISCL)",
    "MIT License",
    "Mozilla Public License 2.0 (MPL 2.0)",
    "Python Software Foundation License",
}

SNAKEMAKE = "MIT License Copyright (c) {} Snakemake Community"
SAYS_NOTHING = {
    # how the licence file begins that the package ships
    "byzfl": "MIT License Copyright (c) 2024 EPFL",
    "conda-inject": "MIT License Copyright (c) 2023 Johannes Köster",
    "snakemake-interface-common": SNAKEMAKE.format(2023),
    "snakemake-interface-logger-plugins": SNAKEMAKE.format(2025),
    "snakemake-interface-report-plugins": SNAKEMAKE.format(2023),
    "snakemake-interface-scheduler-plugins": SNAKEMAKE.format(2025),
    "snakemake-interface-storage-plugins": SNAKEMAKE.format(2023),
    "torchvision": "BSD 3-Clause License Copyright (c) Soumith Chintala 2016",
}
MIXED = {
    # its classifiers name the GPL for one file, an editor mode for Emacs that nothing imports
    "docutils": "tools/editors/emacs/rst.el",
}
# under the GPL: developers run it as a program; it is neither imported nor shipped
PROGRAMS = {"codespell": "GPL-2.0-only"}


def pinned():
    found = {}
    for file in PINS:
        for name in re.findall(r"^([\w.-]+)==", file.read_text(encoding="utf-8"), re.MULTILINE):
            found.setdefault(name, file.name)
    return found


def texts(package):
    """The licence files that a package ships, each on one line."""
    files = [f for f in package.files or [] if re.match(r"(LICEN[CS]E|COPYING)", f.name, re.I)]
    return [" ".join(file.locate().read_text("utf-8").split()) for file in files]


def compatible(expression):
    """Whether an SPDX expression leaves a way to use the package."""
    expression = canonicalize_license_expression(expression)
    if "(" in expression:
        names = re.split(r" AND | OR |[()]", expression)
        return all(name.strip() in COMPATIBLE for name in names if name.strip())
    ways = [way.split(" AND ") for way in expression.split(" OR ")]
    return any(all(name in COMPATIBLE for name in way) for way in ways)


def problem(name, package):
    """What is wrong with the licence of a package, as a sentence; nothing if it may be used."""
    meta = package.metadata
    expression, free = meta.get("License-Expression"), (meta.get("License") or "").strip()
    given = meta.get_all("Classifier", [])
    classifiers = [line.rpartition(" :: ")[2] for line in given if line.startswith("License ::")]
    classifiers = [line for line in classifiers if line != "OSI Approved"]
    shown = expression or ", ".join(classifiers) or free[:60]
    if name in SAYS_NOTHING and not expression and not classifiers:
        if any(text.startswith(SAYS_NOTHING[name]) for text in texts(package)):
            return None
        return f"{name} ships a new licence: read it and update SAYS_NOTHING"
    if name in PROGRAMS and expression == PROGRAMS[name]:
        return None
    if name in MIXED:
        if any(MIXED[name] in text for text in texts(package)):
            return None
        return f"{name} no longer says what its GPL licence is for: read it and update MIXED"
    try:
        if expression or not classifiers:
            fits = bool(shown) and compatible(shown)
        else:
            fits = set(classifiers) <= CLASSIFIERS
    except InvalidLicenseExpression:
        fits = False
    if fits:
        return None
    return (
        f"{name} has the licence {shown!r}, which is not known to go with MIT: add it to the "
        "lists of this test if it does, otherwise remove the package"
    )


@pytest.mark.parametrize("name", pinned())
def test_the_licence_of_a_pinned_package_goes_with_mit(name):
    try:
        package = distribution(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} of {pinned()[name]} is not installed here")
    assert problem(name, package) is None


def test_programs_are_neither_imported_nor_shipped():
    users = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    code = [path.read_text(encoding="utf-8") for path in ROOT.glob("src/**/*.py")]
    for name in PROGRAMS:
        assert name in pinned()
        assert not re.search(rf"^{name}==", users, re.MULTILINE)
        assert not any(re.search(rf"(import|from) {name}\b", text) for text in code)


def test_all_pins_are_seen():
    found = pinned()
    assert {"torch", "snakemake", "pytest"} <= set(found)
    assert len(found) > 100
    assert {*SAYS_NOTHING, *MIXED} <= set(found)


class Package:
    """A package with given metadata."""

    def __init__(self, **metadata):
        self.metadata = Metadata(metadata)
        self.files = []


class Metadata(dict):
    def get_all(self, name, default=None):
        return self.get(name, default)


def osi(name):
    return {"Classifier": ["License :: OSI Approved", f"License :: OSI Approved :: {name}"]}


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"License": "see the file LICENSE"},
        {"License-Expression": "GPL-3.0-only"},
        {"License-Expression": "MIT AND GPL-3.0-only"},
        {"License-Expression": "LicenseRef-Proprietary"},
        {"License-Expression": "(MIT OR GPL-2.0-only) AND BSD-3-Clause"},
        {"License": "MIT", **osi("GNU General Public License v3 (GPLv3)")},
        osi("Other/Proprietary License"),
    ],
)
def test_a_licence_that_is_unknown_or_does_not_fit_is_reported(metadata):
    sentence = problem("pack", Package(**metadata))
    assert sentence.startswith("pack has the licence ")
    assert "is not known to go with MIT" in sentence


@pytest.mark.parametrize(
    "metadata",
    [
        {"License-Expression": "MIT OR GPL-3.0-only"},
        {"License-Expression": "Apache-2.0 WITH LLVM-exception AND BSD-2-Clause"},
        {"License": "MPL-2.0 AND MIT"},
        osi("BSD License"),
    ],
)
def test_a_licence_that_leaves_a_way_fits(metadata):
    assert problem("pack", Package(**metadata)) is None


@pytest.mark.parametrize("name", ["byzfl", "docutils"])
def test_an_exception_counts_only_while_the_package_ships_that_licence(name):
    assert "read it and update" in problem(name, Package())
