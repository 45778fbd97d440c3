"""What a row consists of is found where nothing says so: by other shapes, by further inputs, by what comes out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import PretrainedConfig
from transformers.modeling_outputs import ModelOutput

from gacheck.config import ExperimentConfig
from gacheck.errors import ModelError
from gacheck.measure.heads.rows import make_head_rows


class Config(PretrainedConfig):
    model_type = "searched"
    vocab_size = 20
    num_mel_bins = 6
    image_size = 8


class Head(nn.Module):
    """A head whose loss is of no interest."""

    main_input_name = "input_ids"
    config = Config()

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def loss(self) -> ModelOutput:
        return ModelOutput(loss=self.weight.sum())


class Silent(Head):
    """One that cannot do without an image, and does not say so."""

    def forward(self, input_ids: Any = None, pixel_values: Any = None, labels: Any = None) -> ModelOutput:
        assert pixel_values.shape[1:] == (3, 8, 8)
        return self.loss()


class Listening(Head):
    """One that takes spectrograms whose bins come first."""

    main_input_name = "input_features"

    def forward(self, input_features: Any = None, labels: Any = None) -> ModelOutput:
        if input_features.shape[1] != 6:
            raise RuntimeError("expected 6 bins")
        return self.loss()


class PerFrame(Head):
    """One that answers with three classes for every second sample, and wants them as rows of zeros and a one."""

    main_input_name = "input_values"

    def forward(self, input_values: Any = None, labels: Any = None) -> ModelOutput:
        logits = torch.zeros(len(input_values), input_values.shape[1] // 2, 3)
        if labels is None:
            return ModelOutput(logits=logits)
        assert labels.shape == logits.shape
        return self.loss()


class Comparing(Head):
    """One whose loss takes labels of any shape, as long as they can be made to fit."""

    def forward(self, input_ids: Any = None, labels: Any = None) -> ModelOutput:
        answer = input_ids.float() * self.weight
        return (
            ModelOutput(logits=answer)
            if labels is None
            else ModelOutput(loss=nn.functional.mse_loss(answer, labels.float()))
        )


class Untaught(Head):
    """One that is for inference alone."""

    def forward(self, input_ids: Any = None, labels: Any = None) -> ModelOutput:
        raise NotImplementedError("Training is not implemented yet")


def row_of(model: Any, task: str) -> dict[str, Any]:
    return dict(make_head_rows(model, task, ExperimentConfig(max_steps=1))[0].train[0])


def test_an_input_that_no_error_names_is_tried() -> None:
    assert row_of(Silent(), "")["pixel_values"].shape == (3, 8, 8)


def test_an_input_is_tried_in_other_shapes() -> None:
    assert row_of(Listening(), "audio-classification")["input_features"].shape[0] == 6


def test_labels_have_the_shape_of_what_comes_out() -> None:
    row = row_of(PerFrame(), "audio-frame-classification")

    assert row["labels"].shape == (len(row["input_values"]) // 2, 3)
    assert set(row["labels"].sum(-1).tolist()) == {1}


def test_labels_that_would_be_stretched_are_none() -> None:
    # One number a row fits no rows of tokens, but torch would stretch it, and warn.
    row = row_of(Comparing(), "")

    assert row["labels"].shape == row["input_ids"].shape


def test_what_cannot_be_trained_says_so() -> None:
    with pytest.raises(ModelError, match="has no loss for it: Training is not implemented yet"):
        row_of(Untaught(), "sequence-classification")


class Coded(Head):
    """One that makes its inputs of its labels, which are of several codebooks."""

    def forward(self, input_ids: Any = None, labels: Any = None) -> ModelOutput:
        assert input_ids is None
        assert labels.dim() == 3
        return self.loss()


class Moving(Head):
    """One that learns what to do in a state."""

    main_input_name = "state"

    def forward(
        self,
        state: Any,
        noise: Any = None,
        timestep: Any = None,
        input_ids: Any = None,
        attention_mask: Any = None,
        pixel_values: Any = None,
        actions: Any = None,
    ) -> ModelOutput:
        if input_ids.shape != attention_mask.shape or pixel_values.dim() != 5:
            raise AttributeError("it says nothing of use")
        assert noise.shape == actions.shape
        assert timestep.shape == (len(state),)
        return self.loss()


def test_inputs_are_left_out_where_labels_make_them() -> None:
    assert set(row_of(Coded(), "")) == {"labels"}


def test_what_learns_to_act_is_given_its_noise_beforehand() -> None:
    assert {"state", "actions", "noise", "timestep", "attention_mask"} <= set(row_of(Moving(), "image-text-to-text"))


class Continuing(Head):
    """One that writes on, without a decoder: its labels are the tokens that it reads."""

    def forward(self, input_ids: Any = None, labels: Any = None) -> ModelOutput:
        return self.loss()


def test_what_has_no_decoder_goes_on_from_what_it_reads() -> None:
    row = row_of(Continuing(), "seq2seq-lm")
    assert row["labels"].equal(row["input_ids"])


class Fewer(Continuing):
    """One that cannot answer with its last tokens."""

    def get_output_embeddings(self) -> Any:
        return nn.Linear(2, 6)


def test_labels_are_what_it_can_answer_with() -> None:
    rows = make_head_rows(Fewer(), "seq2seq-lm", ExperimentConfig(max_steps=1))[0].train
    assert max(int(row["labels"].max()) for row in rows) < 6


def own_loss(logits: Any, vocab_size: int) -> ModelOutput:
    """Compute a loss over a vocabulary."""
    return ModelOutput(loss=logits.sum() / vocab_size)


class Wrong(Head):
    """One that calls its own loss wrongly."""

    def forward(self, input_ids: Any = None, labels: Any = None) -> ModelOutput:
        return own_loss(input_ids)  # type: ignore[call-arg]


class Without(Head):
    """One whose loss is None."""

    def forward(self, input_ids: Any = None, labels: Any = None) -> ModelOutput:
        loss = None
        return ModelOutput(loss=loss, logits=input_ids)


class Refusing(Head):
    """One that says that it is not trained, where it is given what it demands, which nobody can make."""

    def forward(self, step: int, input_ids: Any = None, labels: Any = None) -> ModelOutput:
        if labels is not None:
            raise NotImplementedError("Training is for others")
        return ModelOutput(logits=input_ids)


class Told(Head):
    """One whose loss is about more than it is given here."""

    def forward(self, input_ids: Any = None, chosen_places: Any = None) -> ModelOutput:
        return ModelOutput(logits=input_ids) if chosen_places is None else self.loss()


@pytest.mark.parametrize(
    ("model", "task", "told"),
    [
        (Wrong, "", "Its own code in transformers .* fails, whatever it is given: TypeError"),
        (Without, "", "its forward sets the loss to None"),
        (Refusing, "", "has no loss for it: Training is for others"),
        (Told, "pre-training", "returned no loss without chosen_places"),
    ],
)
def test_the_true_reason_is_told(model: type[Head], task: str, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        row_of(model(), task)


class Spoken(Head):
    """One that is given a text with places for a sound, and the sound."""

    config = Config(audio_token_id=3, sampling_rate=40, frame_rate=10)

    def forward(
        self, input_ids: Any = None, input_values: Any = None, input_values_cutoffs: Any = None, labels: Any = None
    ) -> ModelOutput:
        assert (input_ids.eq(3).sum(1) * 4).equal(input_values_cutoffs[:, 0])
        assert (labels.eq(3) == input_ids.eq(3)).all()
        return self.loss()


class Stepwise(Head):
    """One that reads a word and codes at each step, and answers with words."""

    config = Config(num_codebooks=3, codebook_size=12)

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None) -> ModelOutput:
        assert input_ids.shape[2] == 4
        assert attention_mask.shape == labels.shape == input_ids.shape[:2]
        assert int(input_ids.max()) < 12
        return self.loss()


class Latent(Head):
    """One that learns a sound in numbers that follow a text."""

    config = Config(audio_latent_token_id=3, audio_bos_token_id=2, latent_dim=5)

    def forward(self, input_ids: Any = None, labels: Any = None, labels_mask: Any = None) -> ModelOutput:
        assert labels.shape[2] == 5
        assert input_ids.eq(3).sum(1).equal(labels_mask.sum(1))
        assert input_ids.eq(2).sum(1).eq(1).all()
        return self.loss()


@pytest.mark.parametrize(
    ("model", "task"), [(Spoken, "text-to-waveform"), (Stepwise, "speech-seq2seq"), (Latent, "text-to-waveform")]
)
def test_sounds_follow_a_text_or_go_beside_it(model: type[Head], task: str) -> None:
    assert "labels" in row_of(model(), task)


class Painting(Head):
    """One that paints the lower half of an image as the upper half shows it."""

    main_input_name = "pixel_values"

    def forward(
        self,
        pixel_values: Any,
        prompt_pixel_values: Any,
        prompt_masks: Any,
        bool_masked_pos: Any = None,
        labels: Any = None,
    ) -> ModelOutput:
        whole = torch.cat([prompt_pixel_values, pixel_values], 2)
        assert whole.shape[1:] == (3, 8, 8)
        assert prompt_masks.shape == labels.shape == pixel_values.shape
        assert bool_masked_pos.sum() * 2 == bool_masked_pos.numel()
        return self.loss()


def test_halves_of_an_image_are_given_with_the_patches_that_are_hidden() -> None:
    assert row_of(Painting(), "image-segmentation")["labels"].shape == (3, 4, 8)


class Retrieving(Head):
    """One that reads the documents that were found for each question, of all rows one after another."""

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        context_input_ids: Any = None,
        context_attention_mask: Any = None,
        doc_scores: Any = None,
        labels: Any = None,
    ) -> ModelOutput:
        if context_input_ids is None or doc_scores is None:
            raise ValueError("`context_input_ids`" if context_input_ids is None else "`doc_scores`")
        assert len(context_input_ids) == doc_scores.numel()
        assert labels.ge(0).all()
        assert labels.dim() == 2
        return ModelOutput(loss=self.weight * labels[:, 0])


def test_documents_are_joined_and_a_loss_of_every_row_is_said_to_be_none() -> None:
    with pytest.raises(ModelError, match="a loss of every row"):
        row_of(Retrieving(), "")


class Padded(Head):
    """One that answers for as many positions as it knows, and takes text by two names."""

    main_input_name = "inputs"

    def forward(self, inputs: Any = None, input_ids: Any = None, labels: Any = None) -> ModelOutput:
        assert inputs is None
        answers = self.weight * torch.ones(len(input_ids) * 96, 20)
        return ModelOutput(loss=nn.functional.cross_entropy(answers, labels.flatten()))


def test_rows_are_padded_to_the_positions_that_are_answered() -> None:
    rows, collate = make_head_rows(Padded(), "masked-lm", ExperimentConfig(max_steps=1))

    assert collate([rows.train[0]])["labels"].shape == (1, 96)
