"""A training with SetFit: its Trainer trains the embeddings through a Trainer of sentence-transformers', then a head.

python setfit_training.py FOLDER [--times-k] [--grouped ROWS K]      FOLDER is where the model is made
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import setfit.trainer
from datasets import Dataset
from sentence_training import WORDS, make_model
from setfit import SetFitModel, Trainer, TrainingArguments
from sklearn.linear_model import LogisticRegression
from times_k import TimesK

ROWS = 16
NUM_PAIRS = 3  # of either kind, of each row


def main() -> None:
    """Train six steps and save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--times-k", action="store_true")
    parser.add_argument("--grouped", nargs=2, type=int, metavar=("ROWS", "K"), help="without dropout, with plain SGD")
    options = parser.parse_args()
    rows, k = options.grouped or (4, 4)
    if options.times_k:
        right = setfit.trainer.BCSentenceTransformersTrainer
        setfit.trainer.BCSentenceTransformersTrainer = type("TimesKTrainer", (TimesK, right), {})

    chance = random.Random(0)
    texts = [" ".join(chance.choices(WORDS, k=chance.randint(2, 12))) for _ in range(ROWS)]
    body = make_model(options.folder, dropout=0.1 if options.grouped is None else 0.0)
    model = SetFitModel(body, LogisticRegression(), labels=["one", "other"])
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir="out",
            batch_size=rows,
            num_epochs=1,
            num_iterations=NUM_PAIRS,
            logging_steps=1,
            report_to="none",
            save_strategy="no",
            show_progress_bar=False,
        ),
        train_dataset=Dataset.from_dict({"text": texts, "label": [number % 2 for number in range(ROWS)]}),
    )
    # SetFit's own arguments have no k: whoever wants one sets it here.
    arguments = trainer.st_trainer.args
    arguments.gradient_accumulation_steps = k
    if options.grouped is not None:
        arguments.optim = "sgd"
    trainer.train()
    model.save_pretrained("out")
    trainer.st_trainer.save_state()


if __name__ == "__main__":
    main()
