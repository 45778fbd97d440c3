"""Models are loaded whole, silent and in the dtype asked for; what cannot be read is explained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import PretrainedConfig

from gacheck.errors import ConfigError, ModelError
from gacheck.measure.models.inputs import demanded_zeros
from gacheck.measure.models.source import open_model
from gacheck.record.parts import ModelFacts
from tests.measure.modelling import INSTALLED, same_weights, small_config, stand_in_tokenizer, tiny_model, weights_of


class Loaded(NamedTuple):
    model: Any
    tokenizer: Any
    facts: ModelFacts


def loaded(model: object = "tiny:llama", **options: object) -> Loaded:
    source = open_model(small_config(str(model), **options))
    tokenizer = source.load_tokenizer()
    loaded_model, facts = source.load_model()
    return Loaded(loaded_model, tokenizer, facts)


def dropout_rates(model: torch.nn.Module) -> dict[str, float]:
    """Every rate in the model: of dropout modules, and of those that call the function themselves."""
    return {
        f"{place}.{name}": value
        for place, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, float) and ("drop" in name or (name == "p" and "Dropout" in type(module).__name__))
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model().save_pretrained(tmp_path)
    stand_in_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_gpt2_would_drop_out() -> None:
    # The control of the two tests that silence a folder and a model.
    assert set(dropout_rates(tiny_model(model_type="gpt2", resid_pdrop=0.1)).values()) == {0.0, 0.1}


def test_a_stand_in_says_what_it_is() -> None:
    found = loaded("tiny:llama")
    facts = found.facts
    assert (facts.name, facts.stand_in, facts.random_weights) == ("tiny:llama", True, True)
    assert facts.class_name == type(found.model).__name__
    assert facts.num_parameters == sum(p.numel() for p in found.model.parameters())


def test_folder_is_read_whole(folder: Path) -> None:
    found = loaded(folder)
    assert same_weights(weights_of(found.model), weights_of(tiny_model()))
    text = "Naïve café: def f(x)"
    assert found.tokenizer(text)["input_ids"] == stand_in_tokenizer()(text)["input_ids"]
    assert (found.facts.class_name, found.facts.model_type) == ("LlamaForCausalLM", "llama")
    assert (found.facts.stand_in, found.facts.random_weights) == (False, False)


def test_folder_that_drops_out_is_silenced(tmp_path: Path) -> None:
    tiny_model(model_type="gpt2", resid_pdrop=0.1, attn_pdrop=0.1, embd_pdrop=0.1).save_pretrained(tmp_path)
    stand_in_tokenizer().save_pretrained(tmp_path)
    model = loaded(tmp_path).model
    assert set(dropout_rates(model).values()) == {0.0}
    assert {getattr(model.config, name) for name in ("resid_pdrop", "attn_pdrop", "embd_pdrop")} == {0.0}


def test_dropout_that_no_config_reaches_is_silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> torch.nn.Module:
        model = tiny_model()
        model.fixed, model.dropout_rate = torch.nn.Dropout(0.3), 0.3
        return model

    monkeypatch.setattr("gacheck.measure.models.stand_in.build", build)
    model = loaded().model
    assert (model.fixed.p, model.dropout_rate) == (0.0, 0.0)


def remove(*patterns: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for path in [path for pattern in patterns for path in folder.glob(pattern)]:
            path.unlink()

    return damage


def write(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None  # type: ignore[func-returns-value]


def edit(**fields: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return damage


def pickle(folder: Path) -> None:
    remove("*.safetensors")(folder)
    torch.save(tiny_model().state_dict(), folder / "pytorch_model.bin")


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def foreign_code(folder: Path) -> None:
    edit(model_type="mine", auto_map={"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Mine"})(folder)
    (folder / "mine.py").write_text("raise SystemExit('ran')")


def indexed(name: object) -> Callable[[Path], None]:
    """Let a decoy stand beside an index that names something else, which torch would unpickle."""

    def damage(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "model-decoy.safetensors")
        state = tiny_model().state_dict()
        torch.save(Loud(), folder.parent / "evil.bin")
        torch.save(Loud(), folder / "evil.bin")
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(state, name)})
        )

    return damage


class Loud:
    """Says so when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('ran')",)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "no config": remove("config.json"),
    "pickled weights": pickle,
    "index of a pickle": indexed("evil.bin"),
    "index of a pickle elsewhere": indexed("../evil.bin"),
    "index of a licence": indexed("LICENSE.txt"),
    "index of weights elsewhere": indexed("../model.safetensors"),
    "index of no names": indexed(["evil.bin"]),
    "index cut": write("model.safetensors.index.json", "{"),
    "index nested too deeply": write("model.safetensors.index.json", "[" * 100_000),
    "cut weights": cut,
    "config cut": write("config.json", "{"),
    "config empty": write("config.json", "{}"),
    "config a list": write("config.json", "[]"),
    "config of an unknown type": edit(model_type="no-such-type"),
    "config of a type without language": write("config.json", '{"model_type": "vit"}'),
    "config with a word for a number": edit(hidden_size="many"),
    "config without heads": edit(num_attention_heads=0),
    "config of another size": edit(hidden_size=128),
    "tokenizer cut": write("tokenizer.json", "{"),
    "tokenizer's config a list": write("tokenizer_config.json", "[]"),
    "code of its own": foreign_code,
    "weights missing": edit(num_hidden_layers=5),
    "adapter without base": write("adapter_config.json", "{}"),
    "adapter of a base that is gone": write("adapter_config.json", '{"base_model_name_or_path": "./gone"}'),
    "adapter cut": write("adapter_config.json", "{"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_unreadable_folder_is_explained(
    folder: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> str:
        questions.append(_)
        return "y"

    questions: list[object] = []
    monkeypatch.setattr("builtins.input", asked)
    damage(folder)
    with pytest.raises(ModelError) as raised:
        loaded(folder)
    assert "\n" not in raised.value.what
    # Remote code stays off: nobody is asked whether to run it.
    assert not questions


def test_weights_in_pieces_are_read_also_where_pickles_lie_beside_them(folder: Path) -> None:
    remove("*.safetensors")(folder)
    tiny_model().save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    torch.save(Loud(), folder / "pytorch_model-1.bin")
    write("pytorch_model.bin.index.json", '{"weight_map": {"lm_head.weight": "pytorch_model-1.bin"}}')(folder)

    assert same_weights(weights_of(loaded(folder).model), weights_of(tiny_model()))


@pytest.mark.parametrize("weights", [False, True], ids=["config alone", "weights"])
def test_what_a_folder_lacks_is_made_and_said(folder: Path, weights: bool) -> None:
    remove("tok*", "special*", *(() if weights else ("*.safetensors",)))(folder)
    found = loaded(folder, seed=7)
    assert (found.facts.stand_in, found.facts.random_weights, found.facts.own_tokenizer) == (False, not weights, False)
    assert same_weights(weights_of(found.model), weights_of(tiny_model())) == weights
    assert found.tokenizer.decode(found.tokenizer("Naïve café")["input_ids"]) == "Naïve café"


def test_shards_are_put_together(folder: Path) -> None:
    remove("*.safetensors")(folder)
    tiny_model().save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert same_weights(weights_of(loaded(folder).model), weights_of(tiny_model()))


@pytest.mark.parametrize("in_folder", [False, True], ids=["stand-in", "folder"])
def test_a_class_of_ones_own(folder: Path, in_folder: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "my_models.py").write_text(
        "from transformers import LlamaForCausalLM\n\nclass Mine(LlamaForCausalLM):\n    accepts_loss_kwargs = False\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    found = loaded(folder if in_folder else "tiny:llama", model_class="my_models:Mine")
    assert (found.facts.class_name, found.facts.accepts_loss_kwargs_declared) == ("Mine", False)
    assert found.facts.random_weights is not in_folder
    assert same_weights(weights_of(found.model), weights_of(tiny_model()))


def test_an_adapter_is_put_on_its_base(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    peft = pytest.importorskip("peft")
    adapter = tmp_path_factory.mktemp("adapter")
    settings = peft.LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(type(tiny_model()).from_pretrained(folder), settings)
    adapted.save_pretrained(adapter)
    found = loaded(adapter)
    assert (found.facts.class_name, found.facts.adapter) == ("LlamaForCausalLM", type(adapted).__name__)
    assert (found.facts.random_weights, found.facts.own_tokenizer) == (False, True)
    assert same_weights(weights_of(found.model), weights_of(adapted))
    assert {"lora_" in name for name, weight in found.model.named_parameters() if weight.requires_grad} == {True}
    assert set(dropout_rates(found.model).values()) == {0.0}


def nested(config: PretrainedConfig, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize(
    ("model_type", "key", "value"),
    [
        ("llama", "rms_norm_eps", 0.5),
        ("llama", "num_hidden_layers", 1),
        ("gemma3", "text_config.rms_norm_eps", 0.5),
        ("gemma3", "text_config.sliding_window", 7),
    ],
)
def test_override_reaches_the_model(model_type: str, key: str, value: object) -> None:
    if model_type not in INSTALLED:
        pytest.skip("not in this release")
    model = loaded(f"tiny:{model_type}", config_override={key: value}).model
    assert nested(model.config, key) == value
    if key == "num_hidden_layers":
        assert len(model.model.layers) == value


def test_override_reaches_a_folder_s_model(folder: Path) -> None:
    model = loaded(folder, config_override={"rms_norm_eps": 0.5}).model
    assert {m.variance_epsilon for m in model.modules() if hasattr(m, "variance_epsilon")} == {0.5}


@pytest.mark.parametrize(
    "key", ["nope", "nope.rms_norm_eps", "hidden_size.nope", "use_return_dict", "__class__", "attention_dropout"]
)
def test_override_of_dropout_or_of_no_field_is_refused(folder: Path, key: str) -> None:
    for model in ("tiny:llama", folder):
        with pytest.raises(ConfigError) as raised:
            loaded(model, config_override={key: 1})
        assert repr(key) in raised.value.what


@pytest.mark.parametrize(
    "override", [{"num_hidden_layers": "many"}, {"hidden_act": "no-such"}, {"num_attention_heads": 0}]
)
def test_override_that_cannot_be_built_is_explained(override: dict[str, object]) -> None:
    with pytest.raises((ConfigError, ModelError)):
        loaded(config_override=override)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_have_the_dtype_asked_for(folder: Path, dtype: str) -> None:
    wanted = getattr(torch, dtype)
    for model in (loaded("tiny:llama", dtype=dtype).model, loaded(folder, dtype=dtype).model):
        assert {p.dtype for p in model.parameters()} == {wanted}
        assert torch.equal(model.lm_head.weight, tiny_model().lm_head.weight.to(wanted))


@pytest.mark.parametrize("model_type", INSTALLED)
def test_demanded_zeros_are_what_the_model_lacks(model_type: str) -> None:
    model = tiny_model(model_type=model_type).train()
    ids = torch.full((1, 8), 5)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    try:
        model(**batch)
        refused = False
    except ValueError as error:
        refused = "token_type_ids" in str(error)
    assert demanded_zeros(model, batch) == (("token_type_ids",) if refused else ())
    # Only a model that is told pictures from text can ask for it.
    assert not refused or model_type.startswith("gemma3")


def test_another_refusal_is_not_swallowed() -> None:
    class Stubborn(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, token_type_ids: torch.Tensor | None = None) -> None:
            raise ValueError("token_type_ids are never right")

    with pytest.raises(ValueError, match="never right"):
        demanded_zeros(Stubborn(), {"input_ids": torch.ones(1, 2)})
