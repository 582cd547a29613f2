import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from mm_assets.contracts.errors import ConfigError, WeightsError

TEXTS = ["good", "good morning, all of you", "我的包裹 has not come"]
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 130,
    "vocab_size": 300,
}
BERT_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "morning", "all", "##s", "of"]
CHINESE_WORDS = [*BERT_WORDS, *"我的包裹没到", "has", "not", "come", ","]


def write_bert_vocabulary(folder, words=CHINESE_WORDS):
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")


def write_roberta_vocabulary(folder):
    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words += ["go", "od", "<mask>"]
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\ng o\no d\n")


def write_unigram_tokenizer(folder):
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁good", -1.0)]
    pieces += [(one, -5.0) for one in "▁abcdefghijklmnopqrstuvwxyz,我的包裹"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


FAMILIES = {
    "bert": ("Bert", SMALL, write_bert_vocabulary),
    "roberta": ("Roberta", SMALL | {"pad_token_id": 1}, write_roberta_vocabulary),
    "xlm-roberta": ("XLMRoberta", SMALL | {"pad_token_id": 1}, write_unigram_tokenizer),
    "distilbert": (
        "DistilBert",
        {
            "dim": 32,
            "n_layers": 1,
            "n_heads": 4,
            "hidden_dim": 48,
            "max_position_embeddings": 130,
            "vocab_size": 300,
        },
        write_bert_vocabulary,
    ),
}


@pytest.fixture
def save_model(tmp_path):
    """Save a random model of a family as its authors would publish one."""

    def save(family="bert", **more):
        import transformers

        name, settings, write_vocabulary = FAMILIES[family]
        folder = tmp_path / family
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(**settings, **more)
        getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
        write_vocabulary(folder)
        return folder

    return save


@pytest.fixture
def load(build, tmp_path):
    def load(folder, **options):
        return build("huggingface", "text", tmp_path / "weights", model=str(folder), **options)

    return load


def embed_with_transformers(folder, text):
    """One text alone, so without any padding, by the library's own classes."""
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state
    return states[0].numpy()  # (steps, dim)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_each_text_of_a_batch_is_embedded_as_transformers_embeds_it_alone(
    family, save_model, load, encode
):
    folder = save_model(family)
    expected = [embed_with_transformers(folder, text) for text in TEXTS]
    poolings = {
        "mean": lambda states: states.mean(axis=0),
        "max": lambda states: states.max(axis=0),
        "cls": lambda states: states[0],
    }
    for pooling, pool in poolings.items():
        encoder = load(folder, pooling=pooling)
        vectors = encode(encoder, encoder.network(), TEXTS)
        np.testing.assert_allclose(vectors, [pool(states) for states in expected], atol=1e-5)
        assert vectors.shape == (3, encoder.dim())
    unit = encode(load(folder, normalize=True), load(folder, normalize=True).network(), TEXTS)
    mean = np.stack([states.mean(axis=0) for states in expected])
    np.testing.assert_allclose(unit, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_exported_graph_agrees(family, save_model, load, compare_export):
    encoder = load(save_model(family))
    assert compare_export(encoder, encoder.network(), TEXTS) < 1e-5


@pytest.mark.slow
def test_a_sequence_is_its_tokens_with_their_mask(save_model, load, build):
    from mm_assets.modalities.base import load_modality

    folder = save_model("roberta")
    encoder = load(folder)
    arrays = load_modality("text", {}, {}, where="x").collate(TEXTS, encoder.inputs())
    with torch.inference_mode():
        vectors, mask = encoder.sequence_network()(*map(torch.from_numpy, arrays.values()))
    assert mask.dtype == torch.bool
    for text, states, present in zip(TEXTS, vectors, mask, strict=True):
        expected = embed_with_transformers(folder, text)
        np.testing.assert_allclose(states[present].numpy(), expected, atol=1e-5)


@pytest.mark.slow
def test_the_weights_of_minilm_give_the_vectors_of_minilm(weights, build, load, encode):
    theirs = load(weights / "minilm", normalize=True)
    ours = build("minilm", "text", weights)
    np.testing.assert_allclose(
        encode(theirs, theirs.network(), TEXTS), encode(ours, ours.network(), TEXTS), atol=1e-5
    )


def test_characters_of_a_chinese_vocabulary_are_read_one_by_one(save_model, load):
    from mm_assets.modalities.base import load_modality

    encoder = load(save_model("bert"))
    arrays = load_modality("text", {}, {}, where="x").collate(["我的包裹", "没"], encoder.inputs())
    words = [[CHINESE_WORDS[i] for i in row] for row in arrays["ids"]]
    assert words == [
        ["[CLS]", "我", "的", "包", "裹", "[SEP]"],
        ["[CLS]", "没", "[SEP]", "[PAD]", "[PAD]", "[PAD]"],
    ]


@pytest.mark.parametrize(("family", "padding"), [("bert", 0), ("roberta", 1), ("xlm-roberta", 1)])
def test_a_tokenizer_of_any_form_becomes_one_file_with_its_padding(
    family, padding, save_model, load
):
    encoder = load(save_model(family))
    tokenizer = Tokenizer.from_file(encoder.inputs()["tokenizer"])
    assert tokenizer.padding["pad_id"] == padding
    assert tokenizer.truncation is None
    assert encoder.inputs() == encoder.inputs() | {"max_tokens": 128}


def test_the_digest_tells_weights_configuration_and_tokenizer(save_model, load):
    folder = save_model()
    digests = [load(folder).weights_digest()]
    assert load(folder).weights_digest() == digests[0]
    for name in ("vocab.txt", "config.json", "model.safetensors"):
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(
            content.replace(b"good", b"bood").replace(b'"gelu"', b'"relu"')[:-1] + b" "
        )
        digests.append(load(folder).weights_digest())
        path.write_bytes(content)
    assert len(set(digests)) == 4


def test_the_golden_vector_is_unchanged(load, encode, tmp_path):
    """When this fails because the code computes something else, raise the encoder's version."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    model = BertModel(BertConfig(**SMALL))
    with torch.no_grad():  # of numbers that no generator's version changes
        for parameter in model.parameters():
            count = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_((torch.sin(1 + count * 0.7) / 4).reshape(parameter.shape))
    model.save_pretrained(tmp_path / "golden")
    write_bert_vocabulary(tmp_path / "golden")
    encoder = load(tmp_path / "golden")
    vector = encode(encoder, encoder.network(), TEXTS)[2]
    np.testing.assert_allclose(vector[:4], GOLDEN, atol=1e-5)
    assert encoder.version == 1


GOLDEN = [0.644529, 0.174371, 0.194170, 0.020875]


def test_pickled_weights_are_never_loaded(save_model, load):
    folder = save_model()
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        WeightsError,
        match=r"model\.safetensors, which is absent.*pytorch_model\.bin.*never loaded"
        r".*save_pretrained",
    ):
        load(folder).weights_digest()


def test_a_folder_without_configuration_or_tokenizer_says_what_it_needs(save_model, load):
    folder = save_model()
    (folder / "vocab.txt").unlink()
    with pytest.raises(WeightsError, match=r"needs a tokenizer in .*: one of tokenizer\.json,"):
        load(folder).inputs()
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"needs .*config\.json, which is absent"):
        load(folder).weights_digest()


def test_a_models_own_code_never_runs(save_model, load):
    folder = save_model()
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"a model's own code never runs"):
        load(folder).dim()


def test_a_model_with_a_decoder_is_refused(tmp_path, load):
    from transformers import T5Config, T5Model

    tiny = T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=20)
    T5Model(tiny).save_pretrained(tmp_path / "t5")
    with pytest.raises(WeightsError, match=r"needs an encoder such as BERT.*got t5 in"):
        load(tmp_path / "t5").dim()


def test_more_tokens_than_positions_are_refused(save_model, load):
    # RoBERTa counts positions from behind its padding's number, so two of 130 are never used.
    assert load(save_model("roberta"), max_tokens=128).network()
    with pytest.raises(ConfigError, match=r"cannot read `max_tokens: 129`.*embeddings: 130"):
        load(save_model("roberta"), max_tokens=129).network()


def test_weights_of_another_size_are_refused(save_model, load):
    folder = save_model()
    deeper = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(deeper))
    with pytest.raises(WeightsError, match=r"they lack 16 arrays, such as encoder\.layer\.1"):
        load(folder).network()
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"could not load bert from"):
        load(folder).network()


def test_a_name_needs_a_network_once_and_its_files_ever_after(
    save_model, build, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    weights = tmp_path / "weights"
    encoder = build("huggingface", "text", weights, model="some-team/some-bert", revision="v1")
    with pytest.raises(
        WeightsError, match=r"could not fetch some-team/some-bert \(v1\).*run once.*give a folder"
    ):
        encoder.weights_digest()
    assert not encoder.folder.exists(), "nothing half-fetched stays"
    shutil.copytree(save_model(), encoder.folder)
    assert encoder.weights_digest()
    with pytest.raises(WeightsError, match=r"needs the folder \./nowhere, which is absent"):
        build("huggingface", "text", weights, model="./nowhere").weights_digest()


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlanguage: zh\nlicense: apache-2.0\n---\n# Model\n", "apache-2.0"),
        ("# Model\nlicense: mit\n", "see its page"),
        (None, "see its page"),
    ],
)
def test_the_licence_is_that_of_the_models_card(card, licence, tmp_path, load):
    (tmp_path / "model").mkdir()
    if card:
        (tmp_path / "model" / "README.md").write_text(card)
    assert licence in load(tmp_path / "model").stated_licence


@pytest.mark.slow
def test_importing_the_file_loads_nothing_heavy():
    code = "import sys, mm_assets.encoders.huggingface; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "tokenizers", "huggingface_hub", "httpx"}
    assert not heavy & set(done.stdout.split())
