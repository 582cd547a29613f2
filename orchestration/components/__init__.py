"""`dvc.yaml` as Dagster assets and checks."""

from orchestration.components.dvc_pipeline import DvcPipeline

__all__ = ["DvcPipeline"]
