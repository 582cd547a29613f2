import numpy as np
import pandas as pd
import pytest
import torch

from mm_assets.contracts.errors import DataContractError
from mm_assets.data.vectors import Embeddings
from mm_assets.targets.multiclass import Multiclass
from mm_assets.training.examples import gather_examples

TARGETS = {"mood": Multiclass(("bad", "good"))}


def embed(ids, values):
    matrix = np.array(values, dtype=np.float32)[:, None]
    copies = np.zeros(len(ids), dtype=np.int64)
    return Embeddings(np.array(ids, dtype=object), copies, matrix, {"dim": 1}, {})


def make_rows(ids=("a", "b", "c"), mood=("good", None, "bad")):
    return pd.DataFrame({"id": ids, "copy": 0, "mood": list(mood)})


def make_examples():
    embeddings = {"text": embed(["c", "a"], [3.0, 1.0]), "image": embed(["b", "c"], [20.0, 30.0])}
    return gather_examples(make_rows(), embeddings, TARGETS)


def test_vectors_and_labels_come_in_the_order_of_the_rows():
    examples = make_examples()
    assert examples.presence.tolist() == [[True, False], [False, True], [True, True]]
    assert examples.vectors["text"][[0, 2], 0].tolist() == [1.0, 3.0]
    assert examples.vectors["image"][[1, 2], 0].tolist() == [20.0, 30.0]
    assert examples.labels["mood"].tolist() == [1, -1, 0]


def test_offering_one_modality_keeps_its_rows_and_hides_the_others():
    offered = make_examples().offer("text")
    assert offered.vectors["text"][:, 0].tolist() == [1.0, 3.0]
    assert offered.presence.tolist() == [[True, False], [True, False]]
    assert offered.labels["mood"].tolist() == [1, 0]


def test_offering_several_keeps_the_rows_that_have_all_of_them():
    examples = make_examples()
    assert examples.having("text", "image").tolist() == [False, False, True]
    assert len(examples.offer("text", "image")) == 1


def test_rows_are_taken_by_number_or_by_mask():
    examples = make_examples()
    for chosen in (torch.tensor([2]), torch.tensor([False, False, True])):
        assert examples.take(chosen).labels["mood"].tolist() == [0]


def test_a_row_without_any_vector_is_named():
    with pytest.raises(DataContractError, match=r"at least one modality \(text\), but row 'b'"):
        gather_examples(make_rows(), {"text": embed(["a", "c"], [1.0, 2.0])}, TARGETS)
