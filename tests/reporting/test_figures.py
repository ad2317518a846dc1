"""What the figures show: their panels, labels and marks, from rows written by hand."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from skymask.artifacts.records import write_rows
from skymask.artifacts.samples import write_samples
from skymask.attacks.triggers import stamped
from skymask.reporting import outputs
from skymask.reporting.figures import curves, heat_map, masks, rates, style, triggers
from skymask.study import grid as study_grid
from skymask.study.experiment import SERVER
from tests.support.federations import data

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
    return study_grid.read({**BASE, **changes})


def written(grid, folder, layers=True):
    for name, cell in grid.runs.items():
        attacks = cell.experiment.malicious > 0
        metrics = [{"round": r, "accuracy": r / 10} for r in (1, 2, 3)]
        aggregates = [
            {"round": r, "fpr": 0.1, "fnr": 0.2 if attacks else None, "model_updated": True}
            for r in (1, 2, 3)
        ]
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
                "malicious": None if c == SERVER else c > 3,
                "accepted": None if c == SERVER else c not in (0, 5),
                "mask_1": c,
                "mask_2": r,
                "update_1": None if c == SERVER else c / 100,
                "update_2": None if c == SERVER else r / 100,
            }
            for r in (1, 2, 3)
            for c in (*range(6), SERVER)
        ]
        write_rows(folder / name / "metrics.parquet", "metrics", name, metrics)
        write_rows(folder / name / "aggregates.parquet", "aggregates", name, aggregates)
        write_rows(folder / name / "layers.parquet", "layers", name, rows if layers else [])
        write_rows(folder / name / "clients.parquet", "clients", name, clients)
    return folder


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, kept open."""
    found = []
    for module in (curves, heat_map, masks, rates, triggers):
        monkeypatch.setattr(module, "save", lambda figure, targets: found.append(figure))
    yield found
    plt.close("all")


def visible(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def inside(figure):
    """Whether all panels, with their labels, and the legend lie on the page and apart."""
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
    return True


def notes(axes):
    return [text.get_text() for text in axes.texts]


ROWS_OF_PANELS = [curves.accuracy_curves, masks.mask_scatter, masks.mask_layers]


@pytest.mark.parametrize("draw", ROWS_OF_PANELS, ids=lambda draw: draw.__name__)
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


@pytest.mark.parametrize("draw", ROWS_OF_PANELS, ids=lambda draw: draw.__name__)
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


@pytest.mark.parametrize("draw", ROWS_OF_PANELS, ids=lambda draw: draw.__name__)
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
            folded = style.folded(label, width)
            assert folded.replace("\n", "").replace(" ", "") == label.replace(" ", "")
            assert all(len(line) <= width for line in folded.split("\n"))
    assert style.folded("dba(parts=3)") == "dba(parts=3)"


def test_marks_of_layers_are_means_over_the_rounds_of_the_cell(tmp_path, drawn):
    grid = read(attack=["none", "min_max"])
    masks.mask_layers(grid, written(grid, tmp_path), [])
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


def test_a_study_whose_masks_were_never_learned_says_so(tmp_path, drawn):
    grid = read(attack=["none", "min_max"])
    masks.mask_layers(grid, written(grid, tmp_path, layers=False), [])
    assert [notes(axes) for axes in visible(drawn[0])] == [["no masks"], ["no masks"]]


@pytest.mark.parametrize(("layers", "named", "across"), [(16, 16, 4), (17, 9, 2), (65, 13, 2)])
def test_of_many_layers_some_are_named_in_wider_panels(tmp_path, drawn, layers, named, across):
    grid = read()
    names = [f"{i}.weight" for i in range(layers)]
    rows = [
        {"round": 1, "layer": n, "role": "benign", "switched_off": 0.5, "unlike_server": 0.5}
        for n in names
    ]
    for name in written(grid, tmp_path).iterdir():
        write_rows(name / "layers.parquet", "layers", name.name, rows)
    masks.mask_layers(grid, tmp_path, [])
    for axes in visible(drawn[0]):
        ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        shown = {int(place): label.get_text() for place, label in ticks if label.get_text()}
        assert len(shown) == named
        assert all(names[place] == label for place, label in shown.items())
        assert axes.get_subplotspec().get_gridspec().ncols == across
    assert inside(drawn[0])


def test_layers_are_named_once_below_rows_that_share_them(tmp_path, drawn):
    grid = read(attack=["none", "min_max"], local_lr=[0.1, 0.2])
    masks.mask_layers(grid, written(grid, tmp_path), [])
    found = [[t.get_text() for t in axes.get_xticklabels()] for axes in visible(drawn[0])]
    assert found == [["", ""], ["", ""], list(LAYERS), list(LAYERS)]


# --- triggered samples --------------------------------------------------------------------------


def test_triggered_samples_are_those_that_count_with_the_trigger_on_them(tmp_path, drawn):
    _, test = data()
    path = tmp_path / "digits" / "test.parquet"
    pixels = (test.features * 16).numpy().astype("uint8")
    write_samples(path, "digits", pixels, test.labels.numpy(), classes=10, scale=16.0)
    grid = read(attack=["none", *LONG[:2], "min_max"], defense=["fedavg", "oracle"])
    triggers.triggered_samples(grid, {"digits": path}, [])
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


# --- one style ----------------------------------------------------------------------------------


def seen_in_grey(line):
    """A line's dashes and marks on a straight line, in black, as pixels."""
    figure = plt.figure(figsize=(2, 0.3))
    copy = Line2D([0.05, 0.35, 0.65, 0.95], [0.5] * 4)
    copy.update_from(line)
    copy.set(color="black", transform=figure.transFigure, markevery=None, clip_on=False)
    figure.add_artist(copy)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba()).tobytes()
    plt.close(figure)
    return pixels


def lines_of(axes):
    """The lines of a panel, without the caps of their bars, by defense."""
    bars = {bar.get_label(): bar.lines[0] for bar in axes.containers}
    return bars or {line.get_label(): line for line in axes.get_lines()}


def test_of_36_lines_no_two_look_alike_in_grey():
    styles = style.line_styles([f"rule {i}" for i in range(36)])
    handles = style.line_handles(styles)
    assert len({seen_in_grey(handle) for handle in handles}) == 36
    hues = [to_rgb(handle.get_color()) for handle in handles]
    assert len(set(hues)) == 7
    assert [handle.get_fillstyle() for handle in handles[:14]] == ["none"] * 7 + ["full"] * 7
    # a colour that comes again has another mark
    marks = {(hue, h.get_marker(), h.get_fillstyle()) for hue, h in zip(hues, handles, strict=True)}
    assert len(marks) == 36


def test_the_oracle_is_the_grey_line_below_and_takes_no_other_style():
    with_it = style.line_styles(["krum", "oracle", "fltrust"])
    without = style.line_styles(["krum", "fltrust"])
    assert [with_it["krum"], with_it["fltrust"]] == list(without.values())
    red, green, blue = to_rgb(with_it["oracle"]["color"])
    assert red == green == blue
    assert with_it["oracle"]["zorder"] < Line2D([], []).get_zorder()
    # wider than the others, so that it is seen on both sides of them
    assert with_it["oracle"]["linewidth"] > 2 * style.STYLE["lines.linewidth"]


TWELVE = [
    *["fedavg", "median", "trimmed_mean", "krum", "multi_krum", "geometric_median"],
    *["fltrust", "foolsgold", "flame", ["norm_clip", "fedavg"], "skymask", "oracle"],
]
ONE_AXIS = {"malicious_share": [0.2, 0.34]}


@pytest.mark.parametrize("draw", [curves.accuracy_curves, rates.rates], ids=["curves", "rates"])
def test_twelve_defenses_are_told_apart_in_every_panel_in_grey(tmp_path, drawn, draw):
    grid = read(attack=["label_flip", "min_max"], defense=TWELVE, **ONE_AXIS, clients=12)
    draw(grid, written(grid, tmp_path), [])
    (figure,) = drawn
    for axes in visible(figure):
        found = lines_of(axes)
        assert len(found) == 12
        assert len({seen_in_grey(line) for line in found.values()}) == 12
        assert min(found.values(), key=Line2D.get_zorder) is found["oracle"]
    (legend,) = figure.legends
    named = dict(
        zip((t.get_text() for t in legend.get_texts()), legend.legend_handles, strict=True)
    )
    assert named.keys() == found.keys()
    for label, handle in named.items():
        assert seen_in_grey(handle) == seen_in_grey(found[label])
        assert to_rgb(handle.get_color()) == to_rgb(found[label].get_color())
    assert inside(figure)


def test_columns_that_are_wrapped_keep_their_rows(tmp_path, drawn):
    grid = read(local_lr=[0.1, 0.2])
    curves.accuracy_curves(grid, written(grid, tmp_path), [])
    places = {}
    for axes in visible(drawn[0]):
        place = axes.get_subplotspec()
        places[place.rowspan.start, place.colspan.start] = axes.get_title(), axes.get_ylabel()
    first, rest = BASE["attack"][:4], BASE["attack"][4:]
    titles = [[*first], ["", "", "", ""], [*rest], [""]]
    assert [[places[r, c][0] for c in range(len(titles[r]))] for r in range(4)] == titles
    assert len(places) == 10
    assert [places[r, 0][1][-3:] for r in range(4)] == ["0.1", "0.2", "0.1", "0.2"]
    assert inside(drawn[0])


# --- accuracy over rounds -----------------------------------------------------------------------


def test_a_curve_is_the_mean_over_seeds_and_its_band_one_standard_deviation(tmp_path, drawn):
    seeds = {
        "data_seed": [1, 2],
        "training_seed": [1, 2],
        "paired": [["data_seed", "training_seed"]],
    }
    grid = read(attack="min_max", defense=["fedavg", "krum", "oracle"], **seeds)
    for name, cell in grid.runs.items():
        higher = 0.2 if cell.experiment.data_seed == 2 else 0.0
        first = {"fedavg": 0.1, "krum": 0.3, "oracle": 0.5}[cell.defense]
        # round 3 is a longer run's, and not this study's
        rows = [{"round": r, "accuracy": first + higher * r} for r in (1, 2, 3)]
        write_rows(tmp_path / name / "metrics.parquet", "metrics", name, rows)
    curves.accuracy_curves(grid, tmp_path, [])
    (axes,) = visible(drawn[0])
    for i, (defense, first) in enumerate([("fedavg", 0.1), ("krum", 0.3), ("oracle", 0.5)]):
        line = lines_of(axes)[defense]
        assert list(line.get_xdata()) == [1, 2]
        assert line.get_ydata() == pytest.approx([first + 0.1, first + 0.2])
        # of two values the standard deviation is their distance / √2: 0.2 r / √2
        corners = axes.collections[i].get_paths()[0].vertices
        for r, middle in ((1, first + 0.1), (2, first + 0.2)):
            found = corners[corners[:, 0] == r, 1]
            assert found.min() == pytest.approx(middle - 0.2 * r / 2**0.5)
            assert found.max() == pytest.approx(middle + 0.2 * r / 2**0.5)


def test_a_curve_of_one_evaluation_is_a_mark(tmp_path, drawn):
    grid = read(attack="min_max", defense=["fedavg", "oracle"], rounds=1)
    curves.accuracy_curves(grid, written(grid, tmp_path), [])
    (axes,) = visible(drawn[0])
    for line in axes.get_lines():
        assert list(line.get_xdata()) == [1]
        assert line.get_marker() in "os"
        assert line.get_markevery() == (0, 1)


HOLES = {
    "attack": ["none", "min_max"],
    "malicious_share": [0.2, 0.34],
    "exclude": [{"attack": "none", "malicious_share": 0.34}],
}


@pytest.mark.parametrize(
    "draw",
    [curves.accuracy_curves, masks.mask_scatter, masks.mask_layers],
    ids=lambda d: d.__name__,
)
def test_a_panel_without_a_run_says_so(tmp_path, drawn, draw):
    grid = read(**HOLES)
    draw(grid, written(grid, tmp_path), [])
    assert [notes(axes) for axes in visible(drawn[0])] == [[], [], ["not run"], []]
    assert inside(drawn[0])


# --- the heat map -------------------------------------------------------------------------------

SEEDS = {"data_seed": [1, 2], "training_seed": [1, 2], "paired": [["data_seed", "training_seed"]]}


def finals(grid, folder, values):
    """Runs of two rounds; ``values`` gives a cell's final accuracy, FPR and FNR."""
    for name, cell in grid.runs.items():
        accuracy, fpr, fnr = values(cell)
        metrics = [{"round": 1, "accuracy": 0.0}, {"round": 2, "accuracy": accuracy}]
        rounds = [{"round": r, "fpr": fpr, "fnr": fnr, "model_updated": True} for r in (1, 2)]
        write_rows(folder / name / "metrics.parquet", "metrics", name, metrics)
        write_rows(folder / name / "aggregates.parquet", "aggregates", name, rounds)
    return folder


ACCURACY = {("fedavg", "none"): 0.9, ("fedavg", "min_max"): 0.1, ("krum", "none"): 0.8}
ACCURACY |= {("krum", "min_max"): 0.404, ("bulyan", "none"): 0.7, ("bulyan", "min_max"): 0.6}


def seed_apart(cell):
    """Seeds 0.02 above and below the cell's accuracy."""
    off = 0.02 if cell.experiment.data_seed == 1 else -0.02
    return ACCURACY[cell.defense, cell.attack] + off, 0.0, None


def test_a_cell_shows_the_mean_over_seeds_as_a_number_and_a_colour(tmp_path, drawn):
    # bulyan needs n ≥ 4 f + 3: with 12 clients f may be 2, not 4
    defenses = ["fedavg", "krum", "bulyan"]
    grid = read(defense=defenses, clients=12, **{**HOLES, **SEEDS})
    heat_map.heat_map(grid, finals(grid, tmp_path, seed_apart), [])
    few, many = drawn[0].axes[:2]
    assert [few.get_title(), many.get_title()] == ["malicious_share=0.2", "malicious_share=0.34"]
    wanted = [[ACCURACY[d, a] for a in ("none", "min_max")] for d in defenses]
    assert few.collections[0].get_array().tolist() == [pytest.approx(row) for row in wanted]
    written_there = {text.get_position(): text.get_text() for text in few.texts}
    assert written_there == {
        **{(0.5, 0.5): "0.90", (1.5, 0.5): "0.10"},
        **{(0.5, 1.5): "0.80", (1.5, 1.5): "0.40"},
        **{(0.5, 2.5): "0.70", (1.5, 2.5): "0.60"},
    }
    # the first column is left out, and blank; bulyan is undefined, and hatched
    assert many.collections[0].get_array().mask.tolist() == [
        [True, False],
        [True, False],
        [True] * 2,
    ]
    assert {text.get_position(): text.get_text() for text in many.texts} == {
        (1.5, 0.5): "0.10",
        (1.5, 1.5): "0.40",
        (1.5, 2.5): "undef.",
    }
    (hatched,) = [patch for patch in many.patches if isinstance(patch, Rectangle)]
    assert hatched.get_hatch()
    assert (hatched.get_xy(), hatched.get_width(), hatched.get_height()) == ((1, 2), 1, 1)
    assert not few.patches
    # the first defense is on top
    assert few.get_ylim() == (3, 0)
    assert [tick.get_text() for tick in few.get_yticklabels()] == defenses
    assert [tick.get_text() for tick in few.get_xticklabels()] == ["none", "min_max"]
    scale = drawn[0].axes[-1]
    assert (scale.get_ylim(), scale.get_ylabel()) == ((0, 1), "final test accuracy")
    assert inside(drawn[0])


def luminance(colour):
    """Relative luminance as WCAG 2 defines it."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_numbers_stand_out_from_every_colour(tmp_path, drawn):
    grid = read(defense=["fedavg", "krum"], attack=["none", "min_max"])
    for step in range(11):
        finals(grid, tmp_path, lambda cell, value=step / 10: (value, 0.0, None))
        heat_map.heat_map(grid, tmp_path, [])
        panel = drawn[-1].axes[0]
        panel.figure.canvas.draw()
        background = luminance(panel.collections[0].get_facecolors()[0][:3])
        number = luminance(to_rgb(panel.texts[0].get_color()))
        light, dark = max(background, number) + 0.05, min(background, number) + 0.05
        # WCAG 2, level AA
        assert light / dark >= 4.5


def test_the_colours_are_brighter_the_higher_in_grey():
    scale = matplotlib.colormaps[heat_map.COLOURS](np.linspace(0, 1, 101))[:, :3]
    grey = scale @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > 0).all()
    assert grey[-1] - grey[0] > 0.6


@pytest.mark.parametrize(
    ("attacks", "defenses", "settings", "across"),
    [(2, 2, 1, 1), (2, 2, 4, 2), (5, 12, 4, 2), (15, 12, 2, 1)],
)
def test_a_heat_map_of_any_size_is_whole(tmp_path, drawn, attacks, defenses, settings, across):
    several = [*BASE["attack"], "label_flip", "min_sum", "fang_trim", "fang_krum", "gaussian"]
    several += ["sign_flip", "non_finite", "scaling", {"name": "dba", "patch": 3, "parts": 3}]
    several += [{"name": "min_max", "coordinates": {"share": 0.1, "pick": "largest"}}]
    shares = [0.1, 0.2, 0.25, 0.3][:settings]
    grid = read(
        attack=several[:attacks], defense=TWELVE[:defenses], clients=20, malicious_share=shares
    )
    finals(grid, tmp_path, lambda cell: (0.5, 0.0, None))
    heat_map.heat_map(grid, tmp_path, [])
    panels = drawn[0].axes[:-1]
    assert len(panels) == settings
    assert panels[0].get_subplotspec().get_gridspec().ncols == across
    assert all(len(panel.texts) == attacks * defenses for panel in panels)
    assert inside(drawn[0])
    for panel in panels:
        cells = (panel.bbox.width / attacks, panel.bbox.height / defenses)
        for text in panel.texts:
            box = text.get_window_extent()
            assert box.width < cells[0]
            assert box.height < cells[1]


# --- rates against an axis ----------------------------------------------------------------------


def bars(axes, defense):
    """A line's places, means and spreads."""
    (container,) = [c for c in axes.containers if c.get_label() == defense]
    line, _, (spread,) = container.lines
    segments = spread.get_segments()
    spreads = [(s[1, 1] - s[0, 1]) / 2 if len(s) else None for s in segments]
    return list(line.get_xdata()), list(line.get_ydata()), spreads


def of_share(cell):
    """Two seeds 0.1 apart, around the share of malicious clients; the FPR half of it."""
    share = cell.varied["malicious_share"]
    off = 0.05 if cell.experiment.data_seed == 1 else -0.05
    fnr = None if cell.attack == "none" else 1 - share + off
    return share + off, share / 2 if cell.defense != "trimmed_mean" else None, fnr


def test_rates_stand_against_the_axis_with_their_spread(tmp_path, drawn):
    # out of order, and trimmed_mean is not defined for half malicious clients
    shares = {"malicious_share": [0.6, 0.2, 0.4]}
    grid = read(
        attack=["none", "min_max"], defense=["krum", "trimmed_mean"], clients=10, **shares, **SEEDS
    )
    rates.rates(grid, finals(grid, tmp_path, of_share), [])
    (figure,) = drawn
    fpr, fpr_max, fnr, fnr_max, accuracy, accuracy_max = visible(figure)
    assert [axes.get_title() for axes in (fpr, fpr_max)] == ["none", "min_max"]
    labels = [axes.get_ylabel() for axes in (fpr, fnr, accuracy)]
    assert labels == ["false positive rate", "false negative rate", "test accuracy"]
    assert [a.get_xlabel() for a in visible(figure)] == [""] * 4 + ["malicious_share"] * 2
    at = pytest.approx([0.2, 0.4, 0.6])
    for axes in (accuracy, accuracy_max):
        # of two values 0.1 apart the standard deviation is 0.1 / √2
        assert bars(axes, "krum") == (at, at, pytest.approx([0.1 / 2**0.5] * 3))
        places, means, spreads = bars(axes, "trimmed_mean")
        assert (places, means[:2]) == (at, pytest.approx([0.2, 0.4]))
        assert np.isnan(means[2])
        assert spreads == [pytest.approx(0.1 / 2**0.5)] * 2 + [None]
    for axes in (fpr, fpr_max):
        assert bars(axes, "krum") == (at, pytest.approx([0.1, 0.2, 0.3]), pytest.approx([0.0] * 3))
        # no verdicts, no line
        assert [c.get_label() for c in axes.containers] == ["krum"]
    assert bars(fnr_max, "krum")[1] == pytest.approx([0.8, 0.6, 0.4])
    # nobody is malicious
    assert (notes(fnr), fnr.containers) == (["not defined"], [])
    assert notes(fpr) == notes(accuracy) == []
    ticks = accuracy.get_xticks(), [t.get_text() for t in accuracy.get_xticklabels()]
    assert ticks == (pytest.approx([0.2, 0.4, 0.6]), ["0.2", "0.4", "0.6"])
    assert inside(figure)


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
def test_the_axis_has_a_tick_at_each_value(tmp_path, drawn, changes, scale, places, labels):
    grid = read(
        attack=["none", "min_max", "lie", "ipm"],
        defense=["krum", "oracle"],
        **{"clients": 10, **changes},
    )
    finals(grid, tmp_path, lambda cell: (0.5, 0.5, 0.5))
    rates.rates(grid, tmp_path, [])
    for axes in visible(drawn[0])[-4:]:
        assert axes.get_xscale() == scale
        assert axes.get_xticks() == pytest.approx(places)
        assert [tick.get_text() for tick in axes.get_xticklabels()] == labels
        assert len(axes.xaxis.get_minorticklocs()) == 0
        assert bars(axes, "krum")[0] == pytest.approx(places)
    assert inside(drawn[0])


@pytest.mark.parametrize(
    ("changes", "count"), [({}, 0), ({"malicious_share": [0.2, 0.34], "root_size": [10, 20]}, 2)]
)
def test_rates_need_exactly_one_axis(tmp_path, changes, count):
    grid = read(**changes)
    with pytest.raises(ValueError, match=f"study tiny varies {count} axes .* exactly one"):
        rates.rates(grid, tmp_path, [])


# --- updates beside masks -----------------------------------------------------------------------


def marks(axes):
    """The clients of a panel by mark and filling, as the points where they are."""
    return {
        (line.get_marker(), line.get_fillstyle()): sorted(
            zip(np.round(line.get_xdata(), 6), np.round(line.get_ydata(), 6), strict=True)
        )
        for line in axes.get_lines()
    }


def test_updates_and_masks_show_the_same_clients_with_the_same_marks(tmp_path, drawn):
    grid = read(attack=["none", "min_max"], scatter_round=1, **SEEDS)
    written(grid, tmp_path)
    for name, cell in grid.runs.items():
        if cell.experiment.data_seed == 2:  # another seed is not shown
            write_rows(tmp_path / name / "clients.parquet", "clients", name, [])
    masks.mask_geometry(grid, tmp_path, [])
    (figure,) = drawn
    panels = visible(figure)
    assert [axes.get_title() for axes in panels] == ["updates", "masks", "", ""]
    assert [axes.get_ylabel() for axes in panels[::2]] == [
        "none\nsecond coordinate",
        "min_max\nsecond coordinate",
    ]
    assert figure.get_suptitle() == "principal coordinates, round 1"
    # clients 4 and 5 are malicious, 0 and 5 rejected; the update of client c lies at c / 100
    for updates, learned in (panels[:2], panels[2:]):
        assert marks(updates) == {
            ("o", "full"): [(0.01, 0.01), (0.02, 0.01), (0.03, 0.01)],
            ("o", "none"): [(0.0, 0.01)],
            ("^", "full"): [(0.04, 0.01)],
            ("^", "none"): [(0.05, 0.01)],
        }
        assert marks(learned) == {
            ("o", "full"): [(1, 1), (2, 1), (3, 1)],
            ("o", "none"): [(0, 1)],
            ("^", "full"): [(4, 1)],
            ("^", "none"): [(5, 1)],
            ("*", "full"): [(-1, 1)],
        }
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *["benign, accepted", "benign, rejected", "malicious, accepted", "malicious, rejected"],
        "server",
    ]
    assert inside(figure)


def test_the_scatter_of_masks_shows_the_clients_of_its_round(tmp_path, drawn):
    grid = read(attack="min_max")
    masks.mask_scatter(grid, written(grid, tmp_path), [])
    (axes,) = visible(drawn[0])
    assert marks(axes)["o", "full"] == [(1, 2), (2, 2), (3, 2)]
    assert marks(axes)["*", "full"] == [(-1, 2)]
    assert "round 2" in drawn[0].get_suptitle()


def test_clients_without_coordinates_are_left_out(tmp_path, drawn):
    grid = read(attack="min_max")
    ((name, _),) = [(n, c) for n, c in grid.runs.items() if outputs.masked(c)]
    rows = [{"round": 2, "client": c, "malicious": False, "accepted": True} for c in range(6)]
    rows[0] |= {"mask_1": 0.5, "mask_2": 0.6}
    write_rows(tmp_path / name / "clients.parquet", "clients", name, rows)
    masks.mask_geometry(grid, tmp_path, [])
    updates, learned = visible(drawn[0])
    assert (notes(updates), marks(updates)) == (["no updates"], {})
    assert (notes(learned), marks(learned)) == ([], {("o", "full"): [(0.5, 0.6)]})


@pytest.mark.parametrize(
    ("changes", "rows", "across", "label"),
    [
        ({"attack": BASE["attack"][:4]}, 4, 2, "none\n"),
        ({}, 3, 4, "none\n"),
        ({"attack": ["lie", "ipm"], **ONE_AXIS}, 4, 2, "lie\nskymask,\nmalicious_share=0.2\n"),
        (
            {"attack": "lie", "defense": [{"name": "skymask", "threshold": [0.2, 0.5]}]},
            2,
            2,
            "lie\nskymask\n(threshold=0.2)\n",
        ),
        ({"attack": LONG, "clients": 12, **ONE_AXIS}, 4, 4, "dba\n(parts=3"),
    ],
)
def test_pairs_of_panels_are_labelled_and_wrapped(tmp_path, drawn, changes, rows, across, label):
    grid = read(**changes)
    masks.mask_geometry(grid, written(grid, tmp_path), [])
    panels = visible(drawn[0])
    geometry = panels[0].get_subplotspec().get_gridspec().get_geometry()
    assert geometry == (rows, across)
    assert panels[0].get_ylabel().startswith(label)
    assert [axes.get_title() for axes in panels[:across]] == ["updates", "masks"] * (across // 2)
    assert all(axes.get_xlabel() for axes in panels[-across:])
    assert inside(drawn[0])


# --- which figures there are, and their files ---------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        ({"attack": "min_max", "defense": ["fedavg", "krum"]}, {"accuracy_curves"}),
        ({"attack": ["none", "min_max"], "defense": "krum"}, {"accuracy_curves"}),
        ({"attack": ["none", "min_max"], "defense": ["fedavg", "krum"]}, {"heat_map"}),
        ({"attack": "min_max", "defense": "krum", **ONE_AXIS}, {"rates"}),
        ({"attack": "min_max", "defense": "krum", **ONE_AXIS, **SEEDS}, {"rates"}),
        ({"attack": "min_max", "defense": "krum", **ONE_AXIS, "root_size": [10, 20]}, set()),
        # its threshold is the defense's own, and no axis beside it
        (
            {"attack": "lie", "defense": [{"name": "skymask", "threshold": [0.2, 0.5]}]},
            {"mask_scatter", "mask_geometry", "mask_layers"},
        ),
    ],
)
def test_a_study_has_the_figures_that_its_grid_fills(changes, figures):
    assert set(outputs.figures(read(**changes))) == figures | {"accuracy_curves"}


def test_undefined_defenses_make_no_heat_map():
    grid = read(attack=["none", "lie"], defense=["krum", "trimmed_mean"], malicious_share=0.5)
    assert {cell.defense for cell in grid.cells if cell.undefined} == {"trimmed_mean"}
    assert outputs.figures(grid) == ["accuracy_curves"]


DRAWN = [
    *[curves.accuracy_curves, heat_map.heat_map, rates.rates],
    *[masks.mask_scatter, masks.mask_geometry, masks.mask_layers],
]


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_a_figure_is_written_in_every_format_and_again_the_same(tmp_path, draw):
    grid = read(attack=["none", "min_max"], **ONE_AXIS)
    targets = [tmp_path / "out" / f"figure.{suffix}" for suffix in ("png", "pdf")]
    written(grid, tmp_path)
    draw(grid, tmp_path, targets)
    first = [target.read_bytes() for target in targets]
    draw(grid, tmp_path, targets)
    assert [target.read_bytes() for target in targets] == first
    assert [start[:4] for start in first] == [b"\x89PNG", b"%PDF"]
    assert b"CreationDate" not in first[1]
    assert not plt.get_fignums()
