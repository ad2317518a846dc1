"""What the figures show: their panels, labels and marks, from rows written by hand."""

from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
import yaml

from skymask import figures, study, trigger_figure
from skymask.artifacts import write_rows
from skymask.backdoor import stamped
from skymask.experiment import SERVER
from skymask.sample_artifacts import write_samples

from .federations import data

SCHEMA = yaml.safe_load(
    (Path(__file__).parents[2] / "workflow/schemas/study.schema.yaml").read_text("utf-8")
)
BASE = {
    "study": "tiny",
    "dataset": "digits",
    "model": "logistic_regression",
    "clients": 6,
    "partition": "iid",
    "samples_per_client": 10,
    "malicious_share": 0.34,
    "attack": ["none", "min_max", "lie", "ipm", "mimic"],
    "defense": ["fedavg", "skymask"],
    "rounds": 2,
    "evaluate_every": 1,
    "final_evaluations": 1,
    "local_lr": 0.1,
}
LAYERS = ("1.weight", "1.bias")
# switched off and unlike the server's, per role and layer, in rounds 1 to 3; 3 is not the study's
SHARES = {
    "benign": [(0.1, 0.2), (0.3, 0.4)],
    "malicious": [(0.5, 0.6), (0.7, 0.8)],
    "server": [(0.15, 0.0), (0.35, 0.0)],
}


def read(**changes):
    return study.read({**BASE, **changes}, SCHEMA)


def written(grid, folder, layers=True):
    for name, cell in grid.runs.items():
        attacks = cell.experiment.malicious > 0
        metrics = [{"round": r, "accuracy": r / 10} for r in (1, 2, 3)]
        rows = [
            {
                "round": r,
                "layer": layer,
                "role": role,
                "switched_off": off + (r - 1.5) / 100 + 10 * (r == 3),
                "unlike_server": unlike,
            }
            for r in (1, 2, 3)
            for role, shares in SHARES.items()
            for layer, (off, unlike) in zip(LAYERS, shares, strict=True)
            if attacks or role != "malicious"
        ]
        clients = [
            {
                "round": r,
                "client": c,
                "malicious": c > 3,
                "accepted": c < 4,
                "mask_1": c,
                "mask_2": r,
            }
            for r in (1, 2, 3)
            for c in (*range(6), SERVER)
        ]
        write_rows(folder / name / "metrics.parquet", "metrics", name, metrics)
        write_rows(folder / name / "layers.parquet", "layers", name, rows if layers else [])
        write_rows(folder / name / "clients.parquet", "clients", name, clients)
    return folder


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, kept open."""
    found = []
    monkeypatch.setattr(figures, "save", lambda figure, targets: found.append(figure))
    monkeypatch.setattr(trigger_figure, "save", lambda figure, targets: found.append(figure))
    yield found
    plt.close("all")


def visible(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def inside(figure):
    """Whether every title and label lies on the figure, and no two titles overlap."""
    figure.canvas.draw()
    page = figure.bbox
    titles = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    labels = [axes.yaxis.label.get_window_extent() for axes in figure.axes if axes.get_ylabel()]
    for box in [*titles, *labels]:
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
    for boxes in (titles, labels):
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])
    return True


KINDS = [figures.accuracy_curves, figures.mask_scatter, figures.mask_layers]


@pytest.mark.parametrize("draw", KINDS, ids=lambda draw: draw.__name__)
def test_one_row_of_panels_is_wrapped_at_four(tmp_path, drawn, draw):
    grid = read()
    draw(grid, written(grid, tmp_path), [])
    panels = visible(drawn[0])
    assert [axes.get_title() for axes in panels] == BASE["attack"]
    places = [axes.get_subplotspec() for axes in panels]
    assert {p.get_gridspec().get_geometry() for p in places} == {(2, 4)}
    # the first panel of each line says what is drawn
    assert [bool(axes.get_ylabel()) for axes in panels] == [True, False, False, False, True]
    assert inside(drawn[0])


@pytest.mark.parametrize("draw", KINDS, ids=lambda draw: draw.__name__)
def test_rows_of_settings_have_a_panel_per_attack(tmp_path, drawn, draw):
    grid = read(attack=["none", "min_max"], local_lr=[0.1, 0.2])
    draw(grid, written(grid, tmp_path), [])
    panels = visible(drawn[0])
    assert len(panels) == 4
    assert [axes.get_title() for axes in panels] == ["none", "min_max", "", ""]
    labels = [axes.get_ylabel() for axes in panels]
    assert [bool(label) for label in labels] == [True, False, True, False]
    assert labels[0].endswith("local_lr=0.1")
    assert labels[2].endswith("local_lr=0.2")
    assert inside(drawn[0])


LONG = [
    {"name": "dba", "patch": 3, "parts": 3, "share": 0.25},
    {"name": "lie_backdoor", "patch": 3, "target": 7},
    {"name": "min_max", "coordinates": {"share": 0.1, "pick": "largest"}},
    {"name": "scaling", "patch": 2, "coordinates": {"layers": ["1.weight", "1.bias"]}},
]


@pytest.mark.parametrize("draw", KINDS, ids=lambda draw: draw.__name__)
def test_long_labels_are_folded_and_nothing_is_cut(tmp_path, drawn, draw):
    composed = [{"name": "norm_clip", "radius": 2}, {"name": "skymask", "threshold": 0.25}]
    grid = read(attack=LONG, defense=["skymask", composed], clients=12)
    draw(grid, written(grid, tmp_path), [])
    titles = [axes.get_title() for axes in visible(drawn[0])][:4]
    assert titles[0] == "dba\n(parts=3, patch=3,\nshare=0.25)"
    assert [title.replace("\n", "").replace(" ", "") for title in titles] == [
        cell.attack.replace(" ", "") for cell in grid.cells if cell.defense == "skymask"
    ]
    assert inside(drawn[0])


def test_folding_keeps_every_letter():
    for label in ("short", "min_max[share=0.1, pick=largest]", "a" * 60, "nnm + krum(b=2)"):
        for width in (8, 16, 20):
            folded = figures.folded(label, width)
            assert folded.replace("\n", "").replace(" ", "") == label.replace(" ", "")
            assert all(len(line) <= width for line in folded.split("\n"))
    assert figures.folded("dba(parts=3)") == "dba(parts=3)"


def test_marks_of_layers_are_means_over_the_rounds_of_the_cell(tmp_path, drawn):
    grid = read(attack=["none", "min_max"])
    figures.mask_layers(grid, written(grid, tmp_path), [])
    none, attacked = visible(drawn[0])
    found = {
        (line.get_marker(), line.get_fillstyle()): [round(y, 6) for y in line.get_ydata()]
        for line in attacked.get_lines()
    }
    assert found == {
        ("o", "full"): [0.1, 0.3],
        ("o", "none"): [0.2, 0.4],
        ("^", "full"): [0.5, 0.7],
        ("^", "none"): [0.6, 0.8],
        ("*", "full"): [0.15, 0.35],
    }
    assert [tick.get_text() for tick in attacked.get_xticklabels()] == list(LAYERS)
    drawn_there = {
        line.get_marker() for line in none.get_lines() if not any(map(_missing, line.get_ydata()))
    }
    assert drawn_there == {"o", "*"}
    assert attacked.get_ylim() == (0, 1)


def _missing(value):
    return value != value


def test_a_study_whose_masks_were_never_learned_has_empty_panels(tmp_path, drawn):
    grid = read(attack=["none", "min_max"])
    figures.mask_layers(grid, written(grid, tmp_path, layers=False), [])
    assert len(visible(drawn[0])) == 2


@pytest.mark.parametrize("draw", KINDS, ids=lambda draw: draw.__name__)
def test_a_figure_is_written_in_every_format_and_again_the_same(tmp_path, draw):
    grid = read(attack="min_max")
    targets = [tmp_path / "out" / f"figure.{suffix}" for suffix in ("png", "pdf")]
    written(grid, tmp_path)
    draw(grid, tmp_path, targets)
    first = [target.read_bytes() for target in targets]
    draw(grid, tmp_path, targets)
    assert [target.read_bytes() for target in targets] == first
    assert [start[:4] for start in first] == [b"\x89PNG", b"%PDF"]


# --- triggered samples --------------------------------------------------------------------------


def test_triggered_samples_are_those_that_count_with_the_trigger_on_them(tmp_path, drawn):
    _, test = data()
    path = tmp_path / "digits" / "test.parquet"
    pixels = (test.features * 16).numpy().astype("uint8")
    write_samples(path, "digits", pixels, test.labels.numpy(), classes=10, scale=16.0)
    grid = read(attack=["none", *LONG[:2], "min_max"], defense=["fedavg", "oracle"])
    trigger_figure.triggered_samples(grid, {"digits": path}, [])
    (figure,) = drawn
    rows = torch.arange(len(figure.axes)).view(3, 8)
    pictures = [torch.tensor(axes.images[0].get_array().tolist()) for axes in figure.axes]
    titles = [axes.get_title() for axes in figure.axes]
    assert [titles[i] for i in rows[0]] == [str(y) for y in test.labels[:8].tolist()]
    for i in rows[0]:
        assert pictures[i].equal(test.features[i, 0])
    for row, patch, target in ((1, 3, 0), (2, 3, 7)):
        chosen = torch.nonzero(test.labels != target).flatten()[:8]
        marked = stamped(test.features[chosen], patch=patch)
        for place, (i, sample) in enumerate(zip(rows[row].tolist(), marked, strict=True)):
            assert pictures[i].equal(sample[0])
            assert titles[i] == f"{int(test.labels[chosen[place]])} → {target}"
    labels = [figure.axes[int(row[0])].get_ylabel() for row in rows]
    assert labels[0] == "digits"
    assert labels[1].startswith("dba\n")
    assert labels[2].startswith("lie_backdoor\n")
    assert inside(figure)
