import pandas as pd
import pytest
import torch

from mm_assets.contracts.config import FusionConfig, TrainConfig
from mm_assets.targets.multiclass import Multiclass
from mm_assets.training import curves, memory
from mm_assets.training.curves import CURVES_FILE, write_curves, write_live
from mm_assets.training.examples import Examples
from mm_assets.training.loop import Epoch, train_model
from mm_assets.training.model import FusionModel
from mm_assets.training.saved import CONFIG_FILE

CURVE = [Epoch(0, 1.0, 1.1), Epoch(1, 0.5, 0.7), Epoch(2, 1 / 3, 0.6)]


def test_the_live_table_is_that_of_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "EVERY_S", 0.0)
    watch = write_live(tmp_path / "live")
    for count, epoch in enumerate(CURVE, start=1):
        watch(epoch)
        assert len(pd.read_csv(tmp_path / "live" / CURVES_FILE)) == count
    (tmp_path / "end").mkdir()
    write_curves(CURVE, tmp_path / "end")
    live, end = (tmp_path / name / CURVES_FILE for name in ("live", "end"))
    assert live.read_bytes() == end.read_bytes()


def test_it_is_written_now_and_then_and_the_first_at_once(tmp_path):
    watch = write_live(tmp_path)
    for epoch in CURVE:
        watch(epoch)
    assert pd.read_csv(tmp_path / CURVES_FILE)["epoch"].tolist() == [0]


def test_the_curves_of_a_model_that_is_there_stay(tmp_path):
    (tmp_path / CONFIG_FILE).write_text("{}")
    write_live(tmp_path)(CURVE[0])
    assert not (tmp_path / CURVES_FILE).exists()


@pytest.mark.parametrize("column", ["epoch", "train_loss", "validation_loss"])
def test_the_columns_are_those_that_dvc_plots(tmp_path, column):
    write_live(tmp_path)(CURVE[0])
    assert column in pd.read_csv(tmp_path / CURVES_FILE)


@pytest.mark.slow
def test_a_run_that_goes_on_tells_of_the_epochs_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "EVERY_S", 0.0)
    side = torch.arange(40) % 2
    rows = Examples({"a": side[:, None].float()}, torch.ones(40, 1).bool(), {"side": side})

    def train(watch):
        torch.manual_seed(0)
        model = FusionModel({"a": {"dim": 1}}, {"side": Multiclass(("l", "r"))}, FusionConfig())
        config = TrainConfig(epochs=5)
        options = {"weights": {"side": 1.0}, "seed": 0, "memory": tmp_path}
        return train_model(model, rows, rows, config=config, watch=watch, **options)

    def stop(epoch):
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stop)
    told = []
    assert train(told.append) == told
    assert [epoch.epoch for epoch in told] == list(range(6))
