"""Figure of the principal coordinates of updates next to those of masks."""

from pathlib import Path

from matplotlib import rc_context

from skymask.reporting.figures.masks import draw_clients, finish, first_seeds
from skymask.reporting.figures.style import ACROSS, PANEL_HEIGHT, STYLE, WIDTH, folded, grid, save
from skymask.study.grid import Study


@rc_context(STYLE)
def draw(study: Study, results: Path, targets: list[Path]) -> None:
    """Draw the principal coordinates of the updates next to those of the masks.

    A pair of panels per attack, SkyMask variant and setting, of the first seed.  Both show the
    same clients with the same marks, filled where accepted and hollow where rejected.  The server
    sends no update and is shown among the masks only.

    Args:
        study: the study.
        results: folder of the results; reads runs/RUN/clients.parquet.
        targets: files to write; their suffixes are the formats.

    Raises:
        ArtifactError: a file is missing, damaged or of another version.
    """
    first = first_seeds(study)
    several = {row for row, _ in first} != {"skymask"}
    pairs = 1 if len(first) <= ACROSS else 2
    down = -(-len(first) // pairs)
    size = (WIDTH, (PANEL_HEIGHT if pairs == 1 else 1.75) * down + 0.45)
    figure, panels = grid(down, 2 * pairs, size, 2 * len(first))
    for i, ((row, attack), cell) in enumerate(first.items()):
        updates, masks = panels[2 * i : 2 * i + 2]
        draw_clients(updates, cell, study, results, "update")
        draw_clients(masks, cell, study, results, "mask")
        names = [attack, row] if several else [attack]
        updates.set_ylabel("\n".join([*map(folded, names), "second coordinate"]))
        if i < pairs:
            updates.set_title("updates")
            masks.set_title("masks")
        if i + pairs >= len(first):
            updates.set_xlabel("first coordinate")
            masks.set_xlabel("first coordinate")
    finish(figure, "principal coordinates", first.values(), study)
    save(figure, targets)
