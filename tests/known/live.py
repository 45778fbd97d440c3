"""Classes of transformers 5.24.0 that are wrong by default."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from tests.known import bodies
from tests.known.cases import FLAG_OFF, FLAG_ON, Figures, Wrong, changed, typed
from tests.known.parts import IN_PLACE, TWO_STREAMS, mean_of_means, token_mean, with_router
from tests.known.right import SMOOTHED, SMOOTHING
from tests.known.rows import LABELS, TARGETS, K
from tests.known.training import Training
from tests.trials.right_steps import smoothed

OWN_CROSS_ENTROPY = {
    "xlnet": "XLNetLMHeadModel",
    "bart": "BartForCausalLM",
    "mbart": "MBartForCausalLM",
    "mvp": "MvpForCausalLM",
    "pegasus": "PegasusForCausalLM",
    "bigbird_pegasus": "BigBirdPegasusForCausalLM",
    "blenderbot": "BlenderbotForCausalLM",
    "blenderbot-small": "BlenderbotSmallForCausalLM",
    "plbart": "PLBartForCausalLM",
    "marian": "MarianForCausalLM",
    "prophetnet": "ProphetNetForCausalLM",
    "trocr": "TrOCRForCausalLM",
    "whisper": "WhisperForCausalLM",
    "xlm": "XLMWithLMHeadModel",
    "cpmant": "CpmAntForCausalLM",
}
NO_LOSS_TYPE = {
    "gpt2": "GPT2LMHeadModel",
    "openai-gpt": "OpenAIGPTLMHeadModel",
    "ctrl": "CTRLLMHeadModel",
    "bert": "BertLMHeadModel",
    "bert-generation": "BertGenerationDecoder",
}
DECLARED_OFF = {
    "exaone4_5": "Exaone4_5_ForConditionalGeneration",
    "gemma4": "Gemma4ForConditionalGeneration",
    "glm46v": "Glm46VForConditionalGeneration",
    "glm4v": "Glm4vForConditionalGeneration",
    "glm4v_moe": "Glm4vMoeForConditionalGeneration",
    "kimi_k25": "Kimi_K25ForConditionalGeneration",
    "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration",
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
    "qwen3_vl_moe": "Qwen3VLMoeForConditionalGeneration",
}
FIGURES = {"CpmAntForCausalLM": Figures(4.03, 4.18, 0.99)}
"""Where rounding to whole multiples of k hides how much the micro-batches differ."""
ROUTER = 0.1


SLOW = {"prophetnet": {"num_decoder_layers": 1}}
"""Fewer layers, for those that take long."""
SHOWN_FOR_TWO_STEPS = ("bart", "xlnet", "gpt2", "qwen2_5_vl")
"""One of each kind; the others show it in one."""


def _training(model_type: str, class_name: str) -> Training:
    arguments = {} if model_type in SHOWN_FOR_TWO_STEPS else {"max_steps": 1}
    return Training(
        model=partial(bodies.of_type, model_type, class_name, **SLOW.get(model_type, {})), arguments=arguments
    )


def _own_cross_entropy(model_type: str, class_name: str) -> Wrong:
    file = model_type.replace("-", "_")
    scored = TWO_STREAMS if model_type == "prophetnet" else IN_PLACE
    return Wrong(
        class_name,
        _training(model_type, class_name),
        FIGURES.get(class_name, Figures(4.0, 4.0, 0.99)),
        "SCALED_BY_ACCUMULATION",
        "both",
        ("the model drops it and takes a mean per micro-batch", f"(modeling_{file}.py:"),
        (FLAG_OFF.leaving_means(mean_of_means(scored)),),
        part=token_mean(scored),
    )


def _no_loss_type(model_type: str, class_name: str) -> Wrong:
    return Wrong(
        class_name,
        _training(model_type, class_name),
        Figures(TARGETS / LABELS, TARGETS / LABELS),
        "UNSHIFTED_TOKEN_COUNT",
        "both",
        ("the first of each row, which nothing predicts", f"loss_type, which is None of {class_name}"),
        (typed('model.loss_type = "ForCausalLM"'),),
        severity="warn",
    )


def _declared_off(model_type: str, class_name: str) -> Wrong:
    return Wrong(
        class_name,
        _training(model_type, class_name),
        Figures(1.0, None, 0.99),
        "MEAN_OF_MEANS",
        "both",
        (f"{class_name} declares accepts_loss_kwargs = False, though it normalises rightly when it is asked to.",),
        (FLAG_ON,),
        severity="warn",
    )


def _mixtral(weight: float) -> Any:
    return bodies.of_type("mixtral", "MixtralForCausalLM", output_router_logits=True, router_aux_loss_coef=weight)


OWN = tuple(_own_cross_entropy(*each) for each in OWN_CROSS_ENTROPY.items())
UNSHIFTED = tuple(_no_loss_type(*each) for each in NO_LOSS_TYPE.items())
OFF = tuple(_declared_off(*each) for each in DECLARED_OFF.items())

_MISTRAL3 = Training(model=bodies.mistral3, arguments=SMOOTHED)

LIVE = (
    *OWN,
    *UNSHIFTED,
    *OFF,
    Wrong(
        "label smoothing of an image-text class",
        _MISTRAL3,
        Figures(0.89, None, None),
        "LABELS_NOT_SHIFTED",
        "both",
        ("label smoother", "Mistral3ForConditionalGeneration is not in it"),
        # What is then trained is plain cross-entropy.
        (replace(changed("label_smoothing_factor=0.0", arguments={}), leaves=token_mean()),),
        part=smoothed(SMOOTHING),
    ),
    Wrong(
        "router loss of a mixture of experts",
        Training(model=partial(_mixtral, ROUTER)),
        Figures(1.10, None, None),
        "AUX_LOSS_SCALED",
        "both",
        ("an auxiliary loss (a router's)", "modeling_mixtral.py:"),
        (
            replace(
                changed("router_aux_loss_coef", model=partial(_mixtral, ROUTER / K)),
                warns="The verdict stays",
                then="AUX_LOSS_SCALED",
            ),
            FLAG_OFF.leaving_means(with_router(ROUTER, mean_of_means())),
        ),
        part=with_router(ROUTER),
    ),
)
