"""Training curves for TensorBoard, written while a run is trained.

Knows the scores of epochs; must not know what trains.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import astuple
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pipeline.base import files
from pipeline.models.base import EpochScores


class Curves:
    """The event files of a run: for each fold the curves of train and valid scores, of each seed and of their mean.

    The curve of a single seed lies in `folder` itself. Several have a folder each under it, `seed-0`, `seed-1`, ...,
    and their mean is added at the end. The parts of an ensemble lie in `part-0`, `part-1`, ... TensorBoard shows
    folders as lines of one chart.
    """

    def __init__(self, folder: Path, seeds: Sequence[int]) -> None:
        """`seeds` are the numbers of seeds of the parts. The curves of an interrupted training are removed."""
        self.folder, self.seeds = folder, seeds
        self._open = ExitStack()
        self._files: dict[Path, FileIO] = {}
        self._known: set[tuple[int, ...]] = set()  # part, epoch, split, seed
        shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Curves:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, part: int, scores: Sequence[EpochScores]) -> None:
        """Write scores of a part that are not written yet. Raises ArtifactError if the disk is full."""
        for line in scores:
            key = (part, line.epoch, line.split, line.seed)
            if key not in self._known:
                self._known.add(key)
                self._write(self._folder(part, line.seed), line)

    def finish(self, part: int, scores: Sequence[EpochScores]) -> None:
        """Write what is missing of all scores of a part, and the mean over its seeds."""
        self.add(part, scores)
        if self.seeds[part] == 1:
            return
        by_epoch: dict[tuple[int, int], list[EpochScores]] = {}
        for line in scores:
            by_epoch.setdefault((line.epoch, line.split), []).append(line)
        for (epoch, split), lines in sorted(by_epoch.items()):
            train, valid = np.mean([astuple(line)[-2:] for line in lines], axis=0)
            self._write(self._folder(part, None), EpochScores(epoch, split, 0, float(train), float(valid)))

    def _folder(self, part: int, seed: int | None) -> Path:
        folder = self.folder / f"part-{part}" if len(self.seeds) > 1 else self.folder
        return folder if seed is None or self.seeds[part] == 1 else folder / f"seed-{seed}"

    def _write(self, folder: Path, line: EpochScores) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from torch.utils.tensorboard.summary import scalar

        if folder not in self._files:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"events.out.tfevents.{time.time():.0f}"
            self._files[folder] = self._open.enter_context(path.open("wb", buffering=0))
            self._record(folder, Event(wall_time=time.time(), file_version="brain.Event:2"))
        for name, score in (("train", line.train_score), ("valid", line.valid_score)):
            summary = scalar(f"{name}/fold_{line.split}", score)  # type: ignore[no-untyped-call]
            self._record(folder, Event(wall_time=time.time(), step=line.epoch, summary=summary))

    def _record(self, folder: Path, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        try:  # not SummaryWriter, whose thread prints a traceback where the disk is full
            RecordWriter(self._files[folder]).write(event.SerializeToString())
        except OSError as error:
            raise files.write_error(folder, error) from error
