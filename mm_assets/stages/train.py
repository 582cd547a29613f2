"""The train stage: one fusion model for every subset of the modalities."""

from __future__ import annotations

from dataclasses import asdict, replace

import pandas as pd
import torch

from mm_assets.contracts.errors import ConfigError
from mm_assets.contracts.report import Plot, StageReport, Table
from mm_assets.data.atomic import atomic_folder
from mm_assets.data.table import read_augmented
from mm_assets.stages.project import Project
from mm_assets.stages.trained import build_tuned, gather_rows, open_media, read_vectors
from mm_assets.training.calibration import measure_gains
from mm_assets.training.curves import CURVES_PLOT, write_curves, write_live
from mm_assets.training.device import choose_device
from mm_assets.training.fitting import fit_model
from mm_assets.training.model import save_model
from mm_assets.training.processes import is_first, run_together
from mm_assets.validation.train import check_training


def train(project: Project) -> StageReport:
    """Train on training rows and their copies, stop and calibrate on validation rows.

    With `compute.processes` in as many processes of this machine, which share each batch and the
    cores; the first one writes the outs.

    Raises:
        ConfigError: There are fewer GPUs than processes.
        TrainingError: A process was killed or failed.
    """
    compute = project.config.compute
    if compute.processes > 1:
        device, gpus = choose_device(compute.device), torch.cuda.device_count()
        if device.type == "cuda" and gpus < compute.processes:
            raise ConfigError(
                f"params.yaml: `compute.processes: {compute.processes}` needs a GPU for each, got "
                f"{gpus}; set it to {gpus}, or `compute.device: cpu`"
            )
        cores = compute.count_threads() // compute.processes
        project = project.with_threads(compute.threads or max(1, cores))
    return run_together(train_share, project, count=compute.processes)


def train_share(project: Project) -> StageReport | None:
    """Train in this process, alone or with others; the first one writes the outs and reports."""
    config, workspace = project.config, project.workspace
    # Batches of a hundred vectors are too small to share out: two threads took 1.6 times as long.
    torch.set_num_threads(config.compute.threads or 1)
    rows = read_augmented(workspace.augmented, splits=["train", "validation"])
    embeddings = read_vectors(project)
    is_training = rows["split"] == "train"
    targets = {
        key: target.fit(rows.loc[is_training, key], config.targets[key], where=key)
        for key, target in project.targets.items()
    }
    chosen = torch.tensor(is_training.to_numpy())
    tuned = build_tuned(project, embeddings)  # before media are decoded: a name may be wrong
    with open_media(project, rows) as media:
        training_rows, validation_rows = (
            replace(
                gather_rows(project, rows[part.numpy()], embeddings, targets),
                media={key: held[part] for key, held in media.items()},
            )
            for part in (chosen, ~chosen)
        )
        model, curve = fit_model(
            training_rows,
            validation_rows,
            encoders={key: found.encoder for key, found in embeddings.items()},
            targets=targets,
            config=config,
            device=choose_device(config.compute.device),
            tuned=tuned,
            memory=workspace.unfinished / "train",
            watch=write_live(workspace.model),
        )
        if not is_first():
            return None
        gains = measure_gains(model, training_rows, validation_rows)
    del training_rows, validation_rows  # what follows loads Great Expectations
    with atomic_folder(workspace.model) as folder:
        save_model(model, folder)
        write_curves(curve, folder)

    kept = min(curve, key=lambda epoch: epoch.validation_loss)
    suite = check_training(
        pd.DataFrame([asdict(epoch) for epoch in curve]),
        parameters_not_finite=sum(int((~torch.isfinite(p)).sum()) for p in model.parameters()),
        gains={key: max(by_target.values()) for key, by_target in gains.items()},
    )
    return StageReport(
        stage="train",
        rows_in=len(rows),
        rows_out=int(is_training.sum()),
        metrics={
            "epochs": curve[-1].epoch,
            "kept_epoch": kept.epoch,
            "validation_loss_nats": round(kept.validation_loss, 4),
            "parameters": sum(p.numel() for p in model.parameters()),
            **{
                f"{key}_temperature": round(float(value), 4)
                for key, value in zip(targets, model.temperature, strict=True)
                if targets[key].calibrated
            },
            **{
                f"{key}_trust": float(value)
                for key, value in zip(model.modalities, model.trust, strict=True)
            },
            **{f"{key}_share": round(value, 4) for key, value in model.shares.items()},
        },
        suites=(suite,),
        plots=(
            Plot(
                title="Learning curves",
                path=(workspace.model / CURVES_PLOT).relative_to(workspace.root).as_posix(),
            ),
        ),
        tables=(
            Table(
                title="What each modality alone says about each target on validation rows, in nats",
                columns=("modality", *targets),
                rows=tuple(
                    (key, *(round(by_target[name], 3) for name in targets))
                    for key, by_target in gains.items()
                ),
            ),
        ),
    )
