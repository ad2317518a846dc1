"""Panels, labels and marks of the figures."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from skymask.artifacts.errors import ArtifactError
from skymask.artifacts.parquet import read_table, write_table
from skymask.artifacts.records import write_rows
from skymask.artifacts.samples import write_samples
from skymask.attacks.triggers import stamped
from skymask.reporting import outputs, table_files
from skymask.reporting.figures import (
    accuracy_curves,
    heat_map,
    mask_geometry,
    mask_layers,
    mask_scatter,
    rates,
    style,
    triggered_samples,
)
from skymask.study import load
from skymask.study.experiment import SERVER
from tests.support.federations import data

ATTACKS = ["none", "min_max", "lie", "ipm", "mimic"]
BASE = {
    "study": "tiny",
    "dataset": "digits",
    "model": "logistic_regression",
    "clients": 6,
    "partition": "iid",
    "samples_per_client": 10,
    "malicious_share": 0.34,
    "attack": ATTACKS,
    "defense": ["fedavg", "skymask"],
    "rounds": 2,
    "evaluate_every": 1,
    "final_evaluations": 1,
    "local_lr": 0.1,
}
TWO_ATTACKS = {"attack": ["none", "min_max"]}
TWO_SETTINGS = {**TWO_ATTACKS, "local_lr": [0.1, 0.2]}
TWO_SHARES = {"malicious_share": [0.2, 0.34]}
LOSSES = {"loss": ["batch_softmax", "cross_entropy"]}
TWO_SEEDS = {
    "data_seed": [1, 2],
    "training_seed": [1, 2],
    "paired": [["data_seed", "training_seed"]],
}
ONE_MISSING = {
    **TWO_ATTACKS,
    **TWO_SHARES,
    "exclude": [{"attack": "none", "malicious_share": 0.34}],
}
LONG = [
    {"name": "dba", "patch": 3, "parts": 3, "share": 0.25},
    {"name": "lie_backdoor", "patch": 3, "target": 7},
    {"name": "min_max", "coordinates": {"share": 0.1, "pick": "largest"}},
    {"name": "scaling", "patch": 2, "coordinates": {"layers": ["1.weight", "1.bias"]}},
]
TWELVE = [
    *["fedavg", "median", "trimmed_mean", "krum", "multi_krum", "geometric_median"],
    *["fltrust", "foolsgold", "flame", ["norm_clip", "fedavg"], "skymask", "oracle"],
]
BY_ROW = [accuracy_curves, mask_scatter, mask_layers]
ALL = [*BY_ROW, mask_geometry, heat_map, rates]


def each(*modules):
    """Parametrize a test with the modules of figures."""
    names = [module.__name__.split(".")[-1] for module in modules]
    return pytest.mark.parametrize("module", modules, ids=names)


def read(**changes):
    return load.from_config({**BASE, **changes})


# --- rows of runs: two rounds of the study, and a third one that belongs to a longer study ------

ROUNDS = (1, 2, 3)
LAYERS = ("1.weight", "1.bias")
# switched off, different from the server's mask; by role and layer
SHARES = {
    "benign": [(0.1, 0.2), (0.3, 0.4)],
    "malicious": [(0.5, 0.6), (0.7, 0.8)],
    "server": [(0.15, 0.0), (0.35, 0.0)],
}


def metrics(cell):
    return [{"round": r, "accuracy": r / 10} for r in ROUNDS]


def aggregates(cell):
    fnr = 0.2 if cell.experiment.malicious else None
    return [{"round": r, "fpr": 0.1, "fnr": fnr, "model_updated": True} for r in ROUNDS]


def layers(cell):
    return [
        {
            "round": r,
            "layer": layer,
            "role": role,
            "switched_off": off + (r - 1.5) / 100 + 10 * (r == 3),
            "unlike_server": unlike,
        }
        for r in ROUNDS
        for role, shares in SHARES.items()
        for layer, (off, unlike) in zip(LAYERS, shares, strict=True)
        if cell.experiment.malicious or role != "malicious"
    ]


def clients(cell):
    """Clients 4 and 5 are malicious, 0 and 5 rejected; masks are at (client, round)."""
    return [
        {
            "round": r,
            "client": c,
            "malicious": None if c == SERVER else c > 3,
            "accepted": None if c == SERVER else c not in (0, 5),
            "mask_1": c,
            "mask_2": r,
            "update_1": None if c == SERVER else c / 100,
            "update_2": None if c == SERVER else r / 100,
        }
        for r in ROUNDS
        for c in (*range(6), SERVER)
    ]


def final(values):
    """Rows of runs whose final accuracy, FPR and FNR are ``values`` of the cell."""

    def metrics(cell):
        accuracy, _, _ = values(cell)
        return [{"round": 1, "accuracy": 0.0}, {"round": 2, "accuracy": accuracy}]

    def aggregates(cell):
        _, fpr, fnr = values(cell)
        return [{"round": r, "fpr": fpr, "fnr": fnr, "model_updated": True} for r in (1, 2)]

    return {"metrics": metrics, "aggregates": aggregates}


def write_results(study, results, **rows):
    """Write the runs and tables of a study; ``rows`` are functions from a cell to its rows."""
    kinds = {"metrics": metrics, "aggregates": aggregates, "layers": layers, "clients": clients}
    for name, cell in study.runs.items():
        for kind, rows_of in {**kinds, **rows}.items():
            write_rows(results / "runs" / name / f"{kind}.parquet", kind, name, rows_of(cell))
    table_files.write(study, results / "runs", results / "tables" / study.name)


@pytest.fixture
def draw(tmp_path, monkeypatch):
    """Write the results of a study, draw a figure, and return it open."""

    def draw(module, study, **rows):
        write_results(study, tmp_path, **rows)
        drawn = []
        with monkeypatch.context() as patch:
            patch.setattr(plt, "close", drawn.append)
            module.draw(study, tmp_path, [])
        (figure,) = drawn
        return figure

    yield draw
    plt.close("all")


# --- what a figure shows ------------------------------------------------------------------------


def assert_nothing_overlaps(figure):
    """All panels with their labels, and the legend, are on the page and do not overlap."""
    figure.canvas.draw()
    page = figure.bbox
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    boxes += [figure._suptitle.get_window_extent()] if figure.get_suptitle() else []
    for i, box in enumerate(boxes):
        assert page.x0 - 1 <= box.x0 < box.x1 <= page.x1 + 1
        assert page.y0 - 1 <= box.y0 < box.y1 <= page.y1 + 1
        inner = box.padded(-1)
        assert not any(inner.overlaps(other) for other in boxes[:i])


def texts(items):
    return [item.get_text() for item in items]


def titles(panels):
    return [axes.get_title() for axes in panels]


def lines_of(axes):
    """The lines of a panel, without the caps of error bars, by defense."""
    bars = {bar.get_label(): bar.lines[0] for bar in axes.containers}
    return bars or {line.get_label(): line for line in axes.get_lines()}


def bars(axes, defense):
    """Places, means and spreads of a line with error bars."""
    (container,) = [c for c in axes.containers if c.get_label() == defense]
    line, _, (spread,) = container.lines
    segments = spread.get_segments()
    spreads = [(s[1, 1] - s[0, 1]) / 2 if len(s) else None for s in segments]
    return list(line.get_xdata()), list(line.get_ydata()), spreads


def marks(axes):
    """The points of a panel by mark and filling."""
    return {
        (line.get_marker(), line.get_fillstyle()): sorted(
            zip(np.round(line.get_xdata(), 6), np.round(line.get_ydata(), 6), strict=True)
        )
        for line in axes.get_lines()
    }


def grey_pixels(line):
    """The pixels of a straight black line with the dashes and marks of ``line``."""
    figure = plt.figure(figsize=(2, 0.3))
    copy = Line2D([0.05, 0.35, 0.65, 0.95], [0.5] * 4)
    copy.update_from(line)
    copy.set(color="black", transform=figure.transFigure, markevery=None, clip_on=False)
    figure.add_artist(copy)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba()).tobytes()
    plt.close(figure)
    return pixels


def luminance(colour):
    """Relative luminance as defined by WCAG 2."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# --- panels -------------------------------------------------------------------------------------


@each(*BY_ROW)
def test_a_row_of_panels_is_wrapped_after_four(draw, module):
    figure = draw(module, read())
    assert titles(figure.axes) == ATTACKS
    places = [axes.get_subplotspec() for axes in figure.axes]
    assert {p.get_gridspec().get_geometry() for p in places} == {(2, 4)}
    # only the first panel of each row is labelled
    labelled = [bool(axes.get_ylabel()) for axes in figure.axes]
    assert labelled == [True, False, False, False, True]
    assert_nothing_overlaps(figure)


@each(*BY_ROW)
def test_each_setting_has_a_row_of_panels(draw, module):
    figure = draw(module, read(**TWO_SETTINGS))
    assert titles(figure.axes) == ["none", "min_max", "", ""]
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert [bool(label) for label in labels] == [True, False, True, False]
    assert labels[0].endswith("local_lr=0.1")
    assert labels[2].endswith("local_lr=0.2")
    assert_nothing_overlaps(figure)


def test_wrapped_columns_keep_their_rows(draw):
    figure = draw(accuracy_curves, read(local_lr=[0.1, 0.2]))
    places = {}
    for axes in figure.axes:
        place = axes.get_subplotspec()
        places[place.rowspan.start, place.colspan.start] = axes.get_title(), axes.get_ylabel()
    wanted = [ATTACKS[:4], [""] * 4, ATTACKS[4:], [""]]
    assert [[places[r, c][0] for c in range(len(wanted[r]))] for r in range(4)] == wanted
    assert len(places) == 10
    assert [places[r, 0][1][-3:] for r in range(4)] == ["0.1", "0.2", "0.1", "0.2"]
    assert_nothing_overlaps(figure)


@each(*BY_ROW)
def test_long_labels_are_folded(draw, module):
    composed = [{"name": "norm_clip", "radius": 2}, {"name": "skymask", "threshold": 0.25}]
    study = read(attack=LONG, defense=["skymask", composed], clients=12)
    figure = draw(module, study)
    shown = titles(figure.axes)[:4]
    assert shown[0] == "dba\n(parts=3, patch=3,\nshare=0.25)"
    assert [title.replace("\n", "").replace(" ", "") for title in shown] == [
        cell.attack.replace(" ", "") for cell in study.cells if cell.defense == "skymask"
    ]
    assert_nothing_overlaps(figure)


def test_folding_keeps_every_letter():
    for label in ("short", "min_max[share=0.1, pick=largest]", "a" * 60, "nnm + krum(b=2)"):
        for width in (8, 16, 20):
            folded = style.folded(label, width)
            assert folded.replace("\n", "").replace(" ", "") == label.replace(" ", "")
            assert all(len(line) <= width for line in folded.split("\n"))
    assert style.folded("dba(parts=3)") == "dba(parts=3)"


@each(*BY_ROW)
def test_a_panel_without_a_run_says_so(draw, module):
    figure = draw(module, read(**ONE_MISSING))
    assert [texts(axes.texts) for axes in figure.axes] == [[], [], ["not run"], []]
    assert_nothing_overlaps(figure)


# --- styles of lines ----------------------------------------------------------------------------


def test_36_lines_differ_in_grey():
    styles = style.line_styles([f"rule {i}" for i in range(36)])
    handles = style.line_handles(styles)
    assert len({grey_pixels(handle) for handle in handles}) == 36
    colours = [to_rgb(handle.get_color()) for handle in handles]
    assert len(set(colours)) == 7
    assert [handle.get_fillstyle() for handle in handles[:14]] == ["none"] * 7 + ["full"] * 7
    # another mark each time a colour is used again
    marks = {
        (colour, handle.get_marker(), handle.get_fillstyle())
        for colour, handle in zip(colours, handles, strict=True)
    }
    assert len(marks) == 36


def test_the_oracle_is_a_wide_grey_line_below_the_others():
    with_it = style.line_styles(["krum", "oracle", "fltrust"])
    without = style.line_styles(["krum", "fltrust"])
    assert list(with_it) == ["krum", "oracle", "fltrust"]
    assert [with_it["krum"], with_it["fltrust"]] == list(without.values())
    red, green, blue = to_rgb(with_it["oracle"]["color"])
    assert red == green == blue
    assert with_it["oracle"]["zorder"] < Line2D([], []).get_zorder()
    # visible on both sides of the others
    assert with_it["oracle"]["linewidth"] > 2 * style.STYLE["lines.linewidth"]


@each(accuracy_curves, rates)
def test_twelve_defenses_differ_in_every_panel_in_grey(draw, module):
    study = read(attack=["label_flip", "min_max"], defense=TWELVE, **TWO_SHARES, clients=12)
    figure = draw(module, study)
    for axes in figure.axes:
        lines = lines_of(axes)
        assert len(lines) == 12
        assert len({grey_pixels(line) for line in lines.values()}) == 12
        assert min(lines.values(), key=Line2D.get_zorder) is lines["oracle"]
    (legend,) = figure.legends
    named = dict(zip(texts(legend.get_texts()), legend.legend_handles, strict=True))
    assert named.keys() == lines.keys()
    for label, handle in named.items():
        assert grey_pixels(handle) == grey_pixels(lines[label])
        assert to_rgb(handle.get_color()) == to_rgb(lines[label].get_color())
    assert_nothing_overlaps(figure)


# --- accuracy over rounds -----------------------------------------------------------------------


def test_a_curve_is_the_mean_over_seeds_and_its_band_one_standard_deviation(draw):
    first = {"fedavg": 0.1, "krum": 0.3, "oracle": 0.5}

    def by_seed(cell):
        higher = 0.2 if cell.experiment.data_seed == 2 else 0.0
        return [{"round": r, "accuracy": first[cell.defense] + higher * r} for r in ROUNDS]

    study = read(attack="min_max", defense=list(first), **TWO_SEEDS)
    (axes,) = draw(accuracy_curves, study, metrics=by_seed).axes
    for i, (defense, accuracy) in enumerate(first.items()):
        line = lines_of(axes)[defense]
        assert list(line.get_xdata()) == [1, 2]
        assert line.get_ydata() == pytest.approx([accuracy + 0.1, accuracy + 0.2])
        # the standard deviation of two values is their distance / √2: 0.2 r / √2
        corners = axes.collections[i].get_paths()[0].vertices
        for r, middle in ((1, accuracy + 0.1), (2, accuracy + 0.2)):
            band = corners[corners[:, 0] == r, 1]
            assert band.min() == pytest.approx(middle - 0.2 * r / 2**0.5)
            assert band.max() == pytest.approx(middle + 0.2 * r / 2**0.5)


def test_a_curve_of_one_evaluation_is_a_mark(draw):
    study = read(attack="min_max", defense=["fedavg", "oracle"], rounds=1)
    (axes,) = draw(accuracy_curves, study).axes
    for line in axes.get_lines():
        assert list(line.get_xdata()) == [1]
        assert line.get_marker() in "os"
        assert line.get_markevery() == (0, 1)


# --- heat map -----------------------------------------------------------------------------------

ACCURACY = {("fedavg", "none"): 0.9, ("fedavg", "min_max"): 0.1, ("krum", "none"): 0.8}
ACCURACY |= {("krum", "min_max"): 0.404, ("bulyan", "none"): 0.7, ("bulyan", "min_max"): 0.6}


def around_accuracy(cell):
    """The first seed is 0.02 above the cell's accuracy, the second 0.02 below."""
    offset = 0.02 if cell.experiment.data_seed == 1 else -0.02
    return ACCURACY[cell.defense, cell.attack] + offset, 0.0, None


def test_a_cell_shows_the_mean_over_seeds_as_a_number_and_a_colour(draw):
    # bulyan needs n ≥ 4 f + 3: of 12 clients 2 may be malicious, but not 4
    defenses = ["fedavg", "krum", "bulyan"]
    study = read(defense=defenses, clients=12, **ONE_MISSING, **TWO_SEEDS)
    figure = draw(heat_map, study, **final(around_accuracy))
    few, many, scale = figure.axes
    assert titles([few, many]) == ["malicious_share=0.2", "malicious_share=0.34"]
    wanted = [[ACCURACY[d, a] for a in ("none", "min_max")] for d in defenses]
    assert few.collections[0].get_array().tolist() == [pytest.approx(row) for row in wanted]
    assert {text.get_position(): text.get_text() for text in few.texts} == {
        **{(0.5, 0.5): "0.90", (1.5, 0.5): "0.10"},
        **{(0.5, 1.5): "0.80", (1.5, 1.5): "0.40"},
        **{(0.5, 2.5): "0.70", (1.5, 2.5): "0.60"},
    }
    # the first column is excluded, so blank; bulyan is undefined, so hatched
    hidden = many.collections[0].get_array().mask.tolist()
    assert hidden == [[True, False], [True, False], [True, True]]
    assert {text.get_position(): text.get_text() for text in many.texts} == {
        (1.5, 0.5): "0.10",
        (1.5, 1.5): "0.40",
        (1.5, 2.5): "undef.",
    }
    (hatched,) = [patch for patch in many.patches if isinstance(patch, Rectangle)]
    assert hatched.get_hatch()
    assert (hatched.get_xy(), hatched.get_width(), hatched.get_height()) == ((1, 2), 1, 1)
    assert not few.patches
    # the first defense is at the top
    assert few.get_ylim() == (3, 0)
    assert texts(few.get_yticklabels()) == defenses
    assert texts(few.get_xticklabels()) == ["none", "min_max"]
    assert (scale.get_ylim(), scale.get_ylabel()) == ((0, 1), "final test accuracy")
    assert_nothing_overlaps(figure)


def test_numbers_are_readable_on_every_colour(draw):
    study = read(defense=["fedavg", "krum"], **TWO_ATTACKS)
    for step in range(11):
        figure = draw(heat_map, study, **final(lambda cell, value=step / 10: (value, 0.0, None)))
        panel = figure.axes[0]
        figure.canvas.draw()
        background = luminance(panel.collections[0].get_facecolors()[0][:3])
        number = luminance(to_rgb(panel.texts[0].get_color()))
        light, dark = max(background, number) + 0.05, min(background, number) + 0.05
        # WCAG 2, level AA
        assert light / dark >= 4.5


def test_higher_values_are_lighter_in_grey():
    scale = matplotlib.colormaps[heat_map.COLOURS](np.linspace(0, 1, 101))[:, :3]
    grey = scale @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > 0).all()
    assert grey[-1] - grey[0] > 0.6


@pytest.mark.parametrize(
    ("attacks", "defenses", "settings", "across"),
    [(2, 2, 1, 1), (2, 2, 4, 2), (5, 12, 4, 2), (15, 12, 2, 1)],
)
def test_a_heat_map_of_any_size_fits(draw, attacks, defenses, settings, across):
    several = [*ATTACKS, "label_flip", "min_sum", "fang_trim", "fang_krum", "gaussian"]
    several += ["sign_flip", "non_finite", "scaling", {"name": "dba", "patch": 3, "parts": 3}]
    several += [LONG[2]]
    shares = [0.1, 0.2, 0.25, 0.3][:settings]
    study = read(
        attack=several[:attacks], defense=TWELVE[:defenses], clients=20, malicious_share=shares
    )
    figure = draw(heat_map, study, **final(lambda cell: (0.5, 0.0, None)))
    panels = figure.axes[:-1]
    assert len(panels) == settings
    assert panels[0].get_subplotspec().get_gridspec().ncols == across
    assert all(len(panel.texts) == attacks * defenses for panel in panels)
    assert_nothing_overlaps(figure)
    for panel in panels:
        for text in panel.texts:
            box = text.get_window_extent()
            assert box.width < panel.bbox.width / attacks
            assert box.height < panel.bbox.height / defenses


# --- rates --------------------------------------------------------------------------------------


def by_share(cell):
    """Two seeds 0.1 apart around the share of malicious clients; the FPR is half of it."""
    share = cell.varied["malicious_share"]
    offset = 0.05 if cell.experiment.data_seed == 1 else -0.05
    fnr = None if cell.attack == "none" else 1 - share + offset
    return share + offset, share / 2 if cell.defense != "trimmed_mean" else None, fnr


def test_rates_are_drawn_against_the_axis_with_their_spread(draw):
    # not in order; trimmed_mean is undefined if half of the clients are malicious
    shares = {"malicious_share": [0.6, 0.2, 0.4]}
    study = read(**TWO_ATTACKS, defense=["krum", "trimmed_mean"], clients=10, **shares, **TWO_SEEDS)
    figure = draw(rates, study, **final(by_share))
    fpr, fpr_max, fnr, fnr_max, accuracy, accuracy_max = figure.axes
    assert titles([fpr, fpr_max]) == ["none", "min_max"]
    labels = [axes.get_ylabel() for axes in (fpr, fnr, accuracy)]
    assert labels == ["false positive rate", "false negative rate", "test accuracy"]
    assert [axes.get_xlabel() for axes in figure.axes] == [""] * 4 + ["malicious_share"] * 2
    places = pytest.approx([0.2, 0.4, 0.6])
    for axes in (accuracy, accuracy_max):
        # the standard deviation of two values 0.1 apart is 0.1 / √2
        assert bars(axes, "krum") == (places, places, pytest.approx([0.1 / 2**0.5] * 3))
        x, means, spreads = bars(axes, "trimmed_mean")
        assert (x, means[:2]) == (places, pytest.approx([0.2, 0.4]))
        assert np.isnan(means[2])
        assert spreads == [pytest.approx(0.1 / 2**0.5)] * 2 + [None]
    for axes in (fpr, fpr_max):
        means, spreads = pytest.approx([0.1, 0.2, 0.3]), pytest.approx([0.0] * 3)
        assert bars(axes, "krum") == (places, means, spreads)
        # a defense without verdicts has no line
        assert [c.get_label() for c in axes.containers] == ["krum"]
    assert bars(fnr_max, "krum")[1] == pytest.approx([0.8, 0.6, 0.4])
    # no client is malicious
    assert (texts(fnr.texts), fnr.containers) == (["undefined"], [])
    assert texts(fpr.texts) == texts(accuracy.texts) == []
    assert accuracy.get_xticks() == pytest.approx([0.2, 0.4, 0.6])
    assert texts(accuracy.get_xticklabels()) == ["0.2", "0.4", "0.6"]
    assert_nothing_overlaps(figure)


def test_rates_have_a_panel_for_each_loss(draw):
    def by_loss(cell):
        lower = 0.1 if cell.experiment.loss == "cross_entropy" else 0.0
        return cell.varied["malicious_share"] - lower, 0.5, 0.5

    study = read(**TWO_ATTACKS, defense="krum", **TWO_SHARES, **LOSSES)
    figure = draw(rates, study, **final(by_loss))
    assert titles(figure.axes[:4]) == [
        "none, batch_softmax",
        "none, cross_entropy",
        "min_max,\nbatch_softmax",
        "min_max,\ncross_entropy",
    ]
    for axes, lower in zip(figure.axes[-4:], [0, 0.1, 0, 0.1], strict=True):
        assert bars(axes, "krum")[:2] == (
            pytest.approx([0.2, 0.34]),
            pytest.approx([0.2 - lower, 0.34 - lower]),
        )
    assert_nothing_overlaps(figure)


@pytest.mark.parametrize(
    ("changes", "scale", "places", "labels"),
    [
        ({"clients": [10, 20, 50]}, "linear", [10, 20, 50], ["10", "20", "50"]),
        ({"root_size": [10, 20, 50, 1000]}, "log", [10, 20, 50, 1000], ["10", "20", "50", "1000"]),
        ({"root_bias": [0.1, 0.5, 1.0]}, "linear", [0.1, 0.5, 1], ["0.1", "0.5", "1.0"]),
        ({"dataset": ["digits", "fashion_mnist"]}, "linear", [0, 1], ["digits", "fashion_mnist"]),
        (
            {
                "partition": [
                    "iid",
                    {"name": "dirichlet", "alpha": 0.1},
                    {"name": "label_bias", "bias": 0.1},
                ]
            },
            "linear",
            [0, 1, 2],
            ["iid", "dirichlet(alpha=0.1)", "label_bias(bias=0.1)"],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_the_axis_has_a_tick_at_each_value(draw, changes, scale, places, labels):
    study = read(attack=ATTACKS[:4], defense=["krum", "oracle"], **{"clients": 10, **changes})
    figure = draw(rates, study, **final(lambda cell: (0.5, 0.5, 0.5)))
    for axes in figure.axes[-4:]:
        assert axes.get_xscale() == scale
        assert axes.get_xticks() == pytest.approx(places)
        assert texts(axes.get_xticklabels()) == labels
        assert len(axes.xaxis.get_minorticklocs()) == 0
        assert bars(axes, "krum")[0] == pytest.approx(places)
    assert_nothing_overlaps(figure)


@pytest.mark.parametrize(
    ("changes", "count"),
    [({}, 0), (LOSSES, 0), ({"malicious_share": [0.2, 0.34], "root_size": [10, 20]}, 2)],
)
def test_rates_need_exactly_one_axis(tmp_path, changes, count):
    with pytest.raises(ValueError, match=f"study tiny varies {count} axes .* exactly one"):
        rates.draw(read(**changes), tmp_path, [])


# --- masks by layer -----------------------------------------------------------------------------


def test_marks_of_layers_are_means_over_the_rounds_of_the_cell(draw):
    none, attacked = draw(mask_layers, read(**TWO_ATTACKS)).axes
    assert {key: [y for _, y in points] for key, points in marks(attacked).items()} == {
        ("o", "full"): [0.1, 0.3],
        ("o", "none"): [0.2, 0.4],
        ("^", "full"): [0.5, 0.7],
        ("^", "none"): [0.6, 0.8],
        ("*", "full"): [0.15, 0.35],
    }
    assert texts(attacked.get_xticklabels()) == list(LAYERS)
    visible = {
        line.get_marker() for line in none.get_lines() if not np.isnan(line.get_ydata()).any()
    }
    assert visible == {"o", "*"}
    assert attacked.get_ylim() == (0, 1)


def test_a_study_without_learned_masks_says_so(draw):
    figure = draw(mask_layers, read(**TWO_ATTACKS), layers=lambda cell: [])
    assert [texts(axes.texts) for axes in figure.axes] == [["no masks"], ["no masks"]]


@pytest.mark.parametrize(("count", "named", "across"), [(16, 16, 4), (17, 9, 2), (65, 13, 2)])
def test_some_of_many_layers_are_named_in_wider_panels(draw, count, named, across):
    names = [f"{i}.weight" for i in range(count)]
    row = {"round": 1, "role": "benign", "switched_off": 0.5, "unlike_server": 0.5}
    figure = draw(mask_layers, read(), layers=lambda cell: [row | {"layer": n} for n in names])
    for axes in figure.axes:
        ticks = zip(axes.get_xticks(), texts(axes.get_xticklabels()), strict=True)
        shown = {int(place): label for place, label in ticks if label}
        assert len(shown) == named
        assert all(names[place] == label for place, label in shown.items())
        assert axes.get_subplotspec().get_gridspec().ncols == across
    assert_nothing_overlaps(figure)


def test_rows_with_the_same_layers_name_them_once_below(draw):
    figure = draw(mask_layers, read(**TWO_SETTINGS))
    labels = [texts(axes.get_xticklabels()) for axes in figure.axes]
    assert labels == [["", ""], ["", ""], list(LAYERS), list(LAYERS)]


# --- coordinates of updates and masks -----------------------------------------------------------


def test_updates_and_masks_show_the_same_clients_with_the_same_marks(draw):
    study = read(**TWO_ATTACKS, scatter_round=1, **TWO_SEEDS)

    def of_first_seed(cell):
        return clients(cell) if cell.experiment.data_seed == 1 else []

    figure = draw(mask_geometry, study, clients=of_first_seed)
    panels = figure.axes
    assert titles(panels) == ["updates", "masks", "", ""]
    assert [axes.get_ylabel() for axes in panels[::2]] == [
        "none\nsecond coordinate",
        "min_max\nsecond coordinate",
    ]
    assert figure.get_suptitle() == "principal coordinates, round 1"
    for updates, masks in (panels[:2], panels[2:]):
        assert marks(updates) == {
            ("o", "full"): [(0.01, 0.01), (0.02, 0.01), (0.03, 0.01)],
            ("o", "none"): [(0.0, 0.01)],
            ("^", "full"): [(0.04, 0.01)],
            ("^", "none"): [(0.05, 0.01)],
        }
        assert marks(masks) == {
            ("o", "full"): [(1, 1), (2, 1), (3, 1)],
            ("o", "none"): [(0, 1)],
            ("^", "full"): [(4, 1)],
            ("^", "none"): [(5, 1)],
            ("*", "full"): [(SERVER, 1)],
        }
    (legend,) = figure.legends
    assert texts(legend.get_texts()) == [
        *["benign, accepted", "benign, rejected", "malicious, accepted", "malicious, rejected"],
        "server",
    ]
    assert_nothing_overlaps(figure)


def test_the_scatter_of_masks_shows_the_clients_of_the_last_round(draw):
    figure = draw(mask_scatter, read(attack="min_max"))
    (axes,) = figure.axes
    assert marks(axes)["o", "full"] == [(1, 2), (2, 2), (3, 2)]
    assert marks(axes)["*", "full"] == [(SERVER, 2)]
    assert "round 2" in figure.get_suptitle()


def test_clients_without_coordinates_are_not_drawn(draw):
    rows = [{"round": 2, "client": c, "malicious": False, "accepted": True} for c in range(6)]
    rows[0] |= {"mask_1": 0.5, "mask_2": 0.6}
    figure = draw(mask_geometry, read(attack="min_max"), clients=lambda cell: rows)
    updates, masks = figure.axes
    assert (texts(updates.texts), marks(updates)) == (["no updates"], {})
    assert (texts(masks.texts), marks(masks)) == ([], {("o", "full"): [(0.5, 0.6)]})


@pytest.mark.parametrize(
    ("changes", "rows", "across", "label"),
    [
        ({"attack": ATTACKS[:4]}, 4, 2, "none\n"),
        ({}, 3, 4, "none\n"),
        ({"attack": ["lie", "ipm"], **TWO_SHARES}, 4, 2, "lie\nskymask,\nmalicious_share=0.2\n"),
        (
            {"attack": "lie", "defense": [{"name": "skymask", "threshold": [0.2, 0.5]}]},
            2,
            2,
            "lie\nskymask\n(threshold=0.2)\n",
        ),
        ({"attack": LONG, "clients": 12, **TWO_SHARES}, 4, 4, "dba\n(parts=3"),
    ],
)
def test_pairs_of_panels_are_labelled_and_wrapped(draw, changes, rows, across, label):
    figure = draw(mask_geometry, read(**changes))
    panels = figure.axes
    assert panels[0].get_subplotspec().get_gridspec().get_geometry() == (rows, across)
    assert panels[0].get_ylabel().startswith(label)
    assert titles(panels[:across]) == ["updates", "masks"] * (across // 2)
    assert all(axes.get_xlabel() for axes in panels[-across:])
    assert_nothing_overlaps(figure)


# --- triggered samples --------------------------------------------------------------------------


def test_samples_of_other_classes_are_shown_with_the_trigger(tmp_path, draw):
    _, test = data()
    path = tmp_path / "data" / "digits" / "test.parquet"
    pixels = (test.features * 16).numpy().astype("uint8")
    write_samples(path, "digits", pixels, test.labels.numpy(), classes=10, scale=16.0)
    study = read(attack=["none", *LONG[:2], "min_max"], defense=["fedavg", "oracle"])
    figure = draw(triggered_samples, study)
    rows = torch.arange(len(figure.axes)).view(3, 8)
    images = [torch.tensor(axes.images[0].get_array().tolist()) for axes in figure.axes]
    shown = titles(figure.axes)
    assert [shown[i] for i in rows[0]] == [str(y) for y in test.labels[:8].tolist()]
    for i in rows[0]:
        assert images[i].equal(test.features[i, 0])
    for row, patch, target in ((1, 3, 0), (2, 3, 7)):
        chosen = torch.nonzero(test.labels != target).flatten()[:8]
        triggered = stamped(test.features[chosen], patch=patch)
        for place, (i, sample) in enumerate(zip(rows[row].tolist(), triggered, strict=True)):
            assert images[i].equal(sample[0])
            assert shown[i] == f"{int(test.labels[chosen[place]])} → {target}"
    labels = [figure.axes[int(row[0])].get_ylabel() for row in rows]
    assert labels[0] == "digits"
    assert labels[1].startswith("dba\n")
    assert labels[2].startswith("lie_backdoor\n")
    assert_nothing_overlaps(figure)


@pytest.mark.parametrize(
    ("shape", "image"), [((5,), (1, 5)), ((1, 4, 5), (4, 5)), ((3, 4, 5), (4, 5, 3))]
)
def test_vectors_grey_and_colour_images_can_be_drawn(shape, image):
    figure, axes = plt.subplots(1, 2)
    samples = torch.linspace(0, 1, 2 * int(np.prod(shape))).view(2, *shape)
    triggered_samples._draw_row(list(axes), samples, ["a", "b"], "label")
    assert [panel.images[0].get_array().shape for panel in axes] == [image] * 2
    plt.close(figure)


# --- figures of a study and their files ---------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        ({"attack": "min_max", "defense": ["fedavg", "krum"]}, {"accuracy_curves"}),
        ({**TWO_ATTACKS, "defense": "krum"}, {"accuracy_curves"}),
        ({**TWO_ATTACKS, "defense": ["fedavg", "krum"]}, {"heat_map"}),
        ({"attack": "min_max", "defense": "krum", **TWO_SHARES}, {"rates"}),
        ({"attack": "min_max", "defense": "krum", **TWO_SHARES, **TWO_SEEDS}, {"rates"}),
        ({"attack": "min_max", "defense": "krum", **TWO_SHARES, **LOSSES}, {"rates"}),
        ({"attack": "min_max", "defense": "krum", **LOSSES}, set()),
        ({"attack": "min_max", "defense": "krum", **TWO_SHARES, "root_size": [10, 20]}, set()),
        # a parameter of the defense is not an axis
        (
            {"attack": "lie", "defense": [{"name": "skymask", "threshold": [0.2, 0.5]}]},
            {"mask_scatter", "mask_geometry", "mask_layers"},
        ),
    ],
)
def test_a_study_has_the_figures_that_its_grid_fills(changes, figures):
    assert set(outputs.figures(read(**changes))) == figures | {"accuracy_curves"}


def test_undefined_defenses_make_no_heat_map():
    study = read(attack=["none", "lie"], defense=["krum", "trimmed_mean"], malicious_share=0.5)
    assert {cell.defense for cell in study.cells if cell.undefined} == {"trimmed_mean"}
    assert outputs.figures(study) == ["accuracy_curves"]


@each(*ALL)
def test_a_figure_is_written_in_every_format_with_the_same_bytes(tmp_path, module):
    study = read(**TWO_ATTACKS, **TWO_SHARES)
    targets = [tmp_path / "out" / f"figure.{suffix}" for suffix in ("png", "pdf")]
    write_results(study, tmp_path)
    module.draw(study, tmp_path, targets)
    first = [target.read_bytes() for target in targets]
    module.draw(study, tmp_path, targets)
    assert [target.read_bytes() for target in targets] == first
    assert [content[:4] for content in first] == [b"\x89PNG", b"%PDF"]
    assert b"CreationDate" not in first[1]
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("module", "table"),
    [(heat_map, "accuracy"), (rates, "detection"), (mask_layers, "mask_layers")],
)
def test_a_table_without_its_columns_is_an_error_that_names_it(tmp_path, module, table):
    study = read(**TWO_ATTACKS, **TWO_SHARES)
    write_results(study, tmp_path)
    path = tmp_path / "tables" / "tiny" / f"{table}.parquet"
    kind = f"{table}_table"
    write_table(path, kind, "tiny", read_table(path, kind, "tiny").drop_columns(["setting"]))
    with pytest.raises(ArtifactError, match=f"{path}"):
        module.draw(study, tmp_path, [])
