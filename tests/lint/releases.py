"""A transformers of a few lines, laid out as the real one is: what is read in it does not depend on a release."""

from __future__ import annotations

from pathlib import Path

TRAINER = """
import inspect

class Trainer:
    def __init__(self, model):
        if hasattr(model, "accepts_loss_kwargs"):
            self.model_accepts_loss_kwargs = model.accepts_loss_kwargs
        else:
            parameters = inspect.signature(model.forward).parameters
            self.model_accepts_loss_kwargs = any(p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters.values())

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = self.compute_loss(model, inputs, num_items_in_batch)
        if (not self.model_accepts_loss_kwargs or num_items_in_batch is None) and self.compute_loss_func is None:
            loss = loss / self.current_gradient_accumulation_steps
        return loss
"""

# 4.50: whatever was counted, it does not divide while the flag is on.
TRAINER_OF_4_50 = TRAINER.replace(
    "(not self.model_accepts_loss_kwargs or num_items_in_batch is None)", "not self.model_accepts_loss_kwargs"
)

# 4.46.0: it asks for an argument of one name.
TRAINER_OF_4_46 = """
import inspect

class Trainer:
    def __init__(self, model):
        self.model_accepts_loss_kwargs = "loss_kwargs" in inspect.signature(model.forward).parameters

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = self.compute_loss(model, inputs, num_items_in_batch)
        return loss if self.model_accepts_loss_kwargs else loss / self.args.gradient_accumulation_steps
"""

BASE = """
import re
from torch import nn
from .loss.loss_utils import LOSS_MAPPING

class PreTrainedModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        loss_type = self.__class__.__name__
        self.loss_type = loss_type if loss_type in LOSS_MAPPING else None

    @property
    def loss_function(self):
        if hasattr(self, "_loss_function"):
            return self._loss_function
        return LOSS_MAPPING[self.loss_type]

    @loss_function.setter
    def loss_function(self, value):
        self._loss_function = value
"""

LOSSES = """
from torch import nn

def fixed_cross_entropy(source, target, num_items_in_batch=None, ignore_index=-100, **kwargs):
    reduction = "sum" if num_items_in_batch is not None else "mean"
    loss = nn.functional.cross_entropy(source, target, ignore_index=ignore_index, reduction=reduction)
    if reduction == "sum":
        loss = loss / num_items_in_batch
    return loss

def ForCausalLMLoss(logits, labels, vocab_size, num_items_in_batch=None, ignore_index=-100, **kwargs):
    labels = nn.functional.pad(labels, (0, 1), value=ignore_index)
    return fixed_cross_entropy(logits.float(), labels[..., 1:].contiguous(), num_items_in_batch, ignore_index, **kwargs)

def ForTokenClassification(logits, labels, config, **kwargs):
    return nn.functional.cross_entropy(logits, labels)

def ForSequenceClassificationLoss(labels, pooled_logits, config, **kwargs):
    if config.problem_type == "regression":
        return nn.MSELoss()(pooled_logits, labels)
    return fixed_cross_entropy(pooled_logits, labels, **kwargs)

LOSS_MAPPING = {
    "ForCausalLM": ForCausalLMLoss,
    "ForTokenClassification": ForTokenClassification,
    "ForSequenceClassification": ForSequenceClassificationLoss,
}
"""

MODELING = """
from typing import Optional
from torch.nn import CrossEntropyLoss
from ...modeling_utils import PreTrainedModel
from ...utils import can_return_tuple

class TomPreTrainedModel(PreTrainedModel):
    pass

class TomModel(TomPreTrainedModel):
    def forward(self, input_ids, **kwargs):
        return input_ids

class TomForCausalLM(TomPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = TomModel(config)

    @can_return_tuple
    def forward(self, input_ids, labels=None, **kwargs):
        hidden = self.model(input_ids, **kwargs)
        logits = self.lm_head(hidden)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return dict(loss=loss, logits=logits)

class TomForTokenClassification(TomForCausalLM):
    pass

class TomForSequenceClassification(TomPreTrainedModel):
    def forward(self, input_ids, labels=None, **kwargs):
        return (self.loss_function(labels, self.score(input_ids), self.config, **kwargs), input_ids)

class TomForMaskedLM(TomPreTrainedModel):
    def forward(self, input_ids, labels=None, **kwargs):
        return (CrossEntropyLoss()(self.lm_head(input_ids), labels), input_ids)

class TomForQuestionAnswering(TomPreTrainedModel):
    def forward(self, input_ids, start_positions=None, end_positions=None, **kwargs):
        return (CrossEntropyLoss()(input_ids, start_positions) + CrossEntropyLoss()(input_ids, end_positions),)

class TomForObjectDetection(TomPreTrainedModel):
    def forward(self, pixel_values, labels: Optional[list[dict]] = None, **kwargs):
        return (CrossEntropyLoss()(self.head(pixel_values), labels),)

class TomForDepthEstimation(TomPreTrainedModel):
    def forward(self, pixel_values, labels=None, **kwargs):
        if labels is not None:
            raise NotImplementedError("Training is not implemented yet")
        return (self.head(pixel_values),)

class TomDeclaring(TomForMaskedLM):
    accepts_loss_kwargs = False

class TomOff(TomPreTrainedModel):
    def forward(self, input_ids, labels=None):
        return (CrossEntropyLoss()(input_ids, labels),)

class TomOld(TomPreTrainedModel):
    def forward(self, input_ids, labels=None, **loss_kwargs):
        return (self.loss_function(input_ids, labels, 4, **loss_kwargs),)
"""

# A copy of another module's class, as modular files make them.
OTHER_MODELING = """
from ..tom.modeling_tom import TomForCausalLM

class TimForCausalLM(TomForCausalLM):
    pass
"""

AUTO = """
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = [("tim_text", "TimForCausalLM"), ("tom", "TomForCausalLM")]
"""


def make_release(folder: Path, trainer: str = TRAINER) -> Path:
    """Write the package; return its folder."""
    files = {
        "__init__.py": "",
        "trainer.py": trainer,
        "utils.py": "def can_return_tuple(forward):\n    return forward\n",
        "modeling_utils.py": BASE,
        "loss/loss_utils.py": LOSSES,
        "models/tom/modeling_tom.py": MODELING,
        "models/tom/modeling_tf_tom.py": "class TFTomForCausalLM:\n    def call(self, labels=None): ...\n",
        "models/tim/modeling_tim.py": OTHER_MODELING,
        "models/auto/modeling_auto.py": AUTO,
    }
    for name, text in files.items():
        path = folder / "transformers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "transformers"
