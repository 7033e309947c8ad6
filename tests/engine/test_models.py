"""Models are cached by their content, and adapters name their base model as on the hub."""

import json
import shutil
import warnings

import pytest
import torch
from toy_model import build_model

from marl_engine.errors import Notice
from marl_engine.policies.language import backbone, models
from marl_engine.policies.language.backbone import get_backbone
from marl_engine.policies.language.models import HUB, load_folder, load_gguf, unpacked_folder
from marl_engine.policies.language.transformer import TransformerSpec


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A .gguf file that is unpacked as a small model; `file.unpacked` counts how often."""
    home, times = build_model(tmp_path / "toy"), []
    path = tmp_path / "toy.gguf"
    path.write_bytes(b"GGUF and weights")

    def unpack(source):
        times.append(source.name)
        return load_folder(home, torch.float32)

    monkeypatch.setattr(models, "unpack", unpack)
    monkeypatch.setattr(models, "find_packaged_model", lambda: str(path))
    monkeypatch.setattr(backbone, "BACKBONES", {})
    monkeypatch.setenv("MARL_ENGINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return path, times


def same_weights(first, second):
    """Whether two models have equal weights."""
    pairs = zip(first[0].state_dict().values(), second[0].state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def test_a_file_is_unpacked_once_regardless_of_path_and_date(file, tmp_path):
    path, times = file
    first = load_gguf(path)
    path.touch()
    assert same_weights(first, load_gguf(path))
    (tmp_path / "elsewhere").mkdir()
    assert same_weights(first, load_gguf(shutil.copy2(path, tmp_path / "elsewhere" / "toy.gguf")))
    assert times == ["toy.gguf"]
    path.write_bytes(b"GGUF and Weights")  # as long as it was
    load_gguf(path)
    assert len(times) == len(list((tmp_path / "cache/models").iterdir())) == 2


def test_weights_have_the_requested_dtype_when_unpacked_and_when_cached(file):
    for _ in range(2):
        assert {each.dtype for each in load_gguf(file[0], torch.bfloat16)[0].parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("damage", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_folder_is_rebuilt(file, damage):
    path, times = file
    first = load_gguf(path)
    victim = unpacked_folder(path) / damage
    victim.write_bytes(victim.read_bytes()[:100])
    with pytest.warns(Notice, match=r"toy-\w+ is damaged and made again"):
        assert same_weights(load_gguf(path), first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_gguf(path)
    assert len(times) == 2


def test_a_cache_that_cannot_be_written_costs_time_alone(file, tmp_path, monkeypatch):
    (tmp_path / "no folder").touch()
    monkeypatch.setenv("MARL_ENGINE_CACHE", str(tmp_path / "no folder"))
    for _ in range(2):
        with pytest.warns(Notice, match="cannot be written, so the model is unpacked each time: Not a directory"):
            load_gguf(file[0])
    monkeypatch.setattr(backbone, "BACKBONES", {})
    with pytest.warns(Notice):
        get_backbone(None, 2, 4, None)


@pytest.mark.parametrize("model", [None, "file", "folder"])
def test_a_saved_adapter_names_its_base_and_loads_with_peft(file, tmp_path, model):
    """By peft alone, given the base model. No file names a folder of the cache."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    name = {"file": str(file[0]), "folder": str(tmp_path / "toy")}.get(model)
    policy = TransformerSpec(name, rank=2).policy(["why ?"], str)
    with torch.no_grad():
        for each in policy.trainable:
            each.add_(0.1)
    policy.save(tmp_path / "adapter")
    settings = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == (name or HUB)
    texts = [path.read_text() for path in (tmp_path / "adapter").iterdir() if path.suffix in (".json", ".md")]
    assert len(texts) >= 3
    assert not [text for text in texts if str(tmp_path / "cache") in text]
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "toy")
    tokens = torch.tensor([[7, 8, 9]])
    expected = PeftModel.from_pretrained(base, tmp_path / "adapter")(tokens).logits.log_softmax(-1)[0, :-1]
    policy.backbone.activate_adapter(policy.trainable)
    actual = policy.backbone.compute_logits(tokens, torch.ones(1, 3, dtype=torch.bool), None).log_softmax(-1)[0, :-1]
    torch.testing.assert_close(expected, actual, atol=1e-5, rtol=1e-5)


def test_a_resumed_adapter_names_its_base_model(file, tmp_path):
    TransformerSpec(str(tmp_path / "toy"), rank=2).policy(["why ?"], str).save(tmp_path / "one")
    config = tmp_path / "one/adapter_config.json"
    config.write_text(config.read_text().replace(str(tmp_path / "toy"), "/gone/.cache/base"))
    TransformerSpec(str(tmp_path / "toy"), adapter=str(tmp_path / "one")).policy(["why ?"], str).save(tmp_path / "two")
    assert json.loads((tmp_path / "two/adapter_config.json").read_text())["base_model_name_or_path"] == str(
        tmp_path / "toy"
    )


def test_saving_asks_no_hub(file, tmp_path, monkeypatch):
    """Although the base model has the name of one on the hub."""
    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", lambda *place: pytest.fail(str(place)))
    policy = TransformerSpec(None, rank=2).policy(["why ?"], str)
    policy.save(tmp_path / "adapter")
    TransformerSpec(None, adapter=str(tmp_path / "adapter")).policy(["why ?"], str).save(tmp_path / "again")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_transformers_gives_no_warnings(file, tmp_path, kind):
    policy = TransformerSpec(str(build_model(tmp_path / kind, kind=kind)), rank=2).policy(
        ["why ?", "who are you ?"], str
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy.log_probs(policy.encode(torch.tensor([[0], [1]]), torch.zeros(2)), torch.tensor([[7, 8], [9, 7]]))
