"""Figure of the masks' principal coordinates in one round."""

from pathlib import Path

from matplotlib import rc_context

from skymask.reporting.figures import style
from skymask.reporting.figures.masks import draw_clients, finish, first_seeds
from skymask.study.grid import Study


@rc_context(style.STYLE)
def draw(study: Study, results: Path, targets: list[Path]) -> None:
    """Draw the masks' first two principal coordinates: benign, malicious and server.

    A panel per attack, a row per SkyMask variant and setting, of the first seed.  Filled marks
    are accepted clients, hollow marks rejected ones.

    Args:
        study: the study.
        results: folder of the results; reads runs/RUN/clients.parquet.
        targets: files to write; their suffixes are the formats.

    Raises:
        ArtifactError: a file is missing, damaged or of another version.
    """
    first = first_seeds(study)
    rows = list(dict.fromkeys(row for row, _ in first))
    figure, panels = style.panels(list(dict.fromkeys(attack for _, attack in first)), rows)
    for place, axes in panels.items():
        if place in first:
            draw_clients(axes, first[place], study, results, "mask")
        else:
            style.note(axes, "not run")
        if place[0] == rows[-1]:
            axes.set_xlabel("first coordinate")
    style.label_rows(panels, "second coordinate", named=rows != ["skymask"])
    finish(figure, "principal coordinates of the binary masks", first.values(), study)
    style.save(figure, targets)
