"""`dvc.yaml` as Dagster assets and checks."""
