"""What `dvc.yaml` declares as metrics and plots, in a stage or for the whole file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

# DVC has no types; these tell at least which of its objects is meant.
DvcRepo: TypeAlias = Any
DvcStage: TypeAlias = Any
DvcOut: TypeAlias = Any  # or a dependency
DvcHash: TypeAlias = Any


@dataclass(frozen=True)
class Series:
    """What one line of a declared plot is drawn from: a file, and its columns where they are named.

    Without `x` rows are numbered; without `y` the last column is drawn, as `dvc plots` does.
    """

    path: PurePosixPath
    x: str | None = None
    y: str | None = None


@dataclass(frozen=True)
class DeclaredPlot:
    """An entry under `plots` of `dvc.yaml`, of a stage or of the file. `template` is DVC's."""

    title: str
    series: tuple[Series, ...]
    template: str = "linear"
    x_label: str | None = None
    y_label: str | None = None


@dataclass(frozen=True)
class Declared:
    """What the `metrics` and `plots` of every `dvc.yaml` name outside their stages."""

    metrics: tuple[PurePosixPath, ...]
    plots: tuple[DeclaredPlot, ...]

    @classmethod
    def read(cls, repo: DvcRepo, root: Path) -> Declared:
        """Read it off DVC's index; DVC's public readers of it open every data file, too."""
        index = repo.index
        metrics = [
            _place(path, file, root) for file, paths in index._metrics.items() for path in paths
        ]
        plots = []
        for file, entries in index._plots.items():
            locate = partial(_place, file=file, root=root)
            for entry in entries:
                named = entry if isinstance(entry, Mapping) else {entry: None}
                plots += [_read_plot(title, props or {}, locate) for title, props in named.items()]
        return cls(tuple(metrics), tuple(plots))

    def metrics_of(self, stage: DvcStage, root: Path) -> tuple[PurePosixPath, ...]:
        """List the metrics files that are, or lie in, a stage's outs."""
        outs = {relative(out, root): out for out in stage.outs}
        own = [path for path, out in outs.items() if out.metric]
        return tuple(dict.fromkeys([*own, *(path for path in self.metrics if lies_in(path, outs))]))

    def plots_of(self, stage: DvcStage, root: Path) -> tuple[DeclaredPlot, ...]:
        """List the plots of a stage's outs; of one drawn from several stages' files, its part."""
        outs = {relative(out, root): out for out in stage.outs}
        own = [
            _read_plot(str(path), out.plot if isinstance(out.plot, Mapping) else {}, PurePosixPath)
            for path, out in outs.items()
            if out.plot
        ]
        parts = [
            replace(plot, series=tuple(one for one in plot.series if lies_in(one.path, outs)))
            for plot in self.plots
        ]
        return tuple(plot for plot in [*own, *parts] if plot.series)


def lies_in(path: PurePosixPath, folders: Iterable[PurePosixPath]) -> bool:
    """Whether a path is one of those, or lies in one."""
    return any(path.is_relative_to(folder) for folder in folders)


def overlap(one: PurePosixPath, other: PurePosixPath) -> bool:
    """Whether one path is, lies in, or contains the other."""
    return one.is_relative_to(other) or other.is_relative_to(one)


def relative(item: DvcOut, root: Path) -> PurePosixPath:
    """Give the path of an out or dependency; of one that lies elsewhere, its whole address."""
    if item.protocol != "local":
        return PurePosixPath(item.def_path)
    return relative_path(Path(item.fs_path), root)


def relative_path(path: Path, root: Path) -> PurePosixPath:
    """Give a path as seen from the root."""
    return PurePosixPath(Path(os.path.relpath(path, root)).as_posix())


def _place(path: str, file: str, root: Path) -> PurePosixPath:
    """Resolve a path that a `dvc.yaml` names from its own folder."""
    return relative_path(Path(file).parent / path, root)


def _read_plot(
    title: str, props: Mapping[str, Any], locate: Callable[[str], PurePosixPath]
) -> DeclaredPlot:
    """Read one entry under `plots`, whose title is its file's path unless `y` names files."""
    x, y = props.get("x"), props.get("y")
    columns = y if isinstance(y, Mapping) else {title: y}
    series = [
        Series(locate(file), x.get(file) if isinstance(x, Mapping) else x, column)
        for file, named in columns.items()
        for column in (named if isinstance(named, list) else [named])
    ]
    return DeclaredPlot(
        title=props.get("title") or title,
        series=tuple(series),
        template=props.get("template") or "linear",
        x_label=props.get("x_label"),
        y_label=props.get("y_label"),
    )
