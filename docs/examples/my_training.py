"""A training whose Trainer takes a mean per micro-batch, although the flag says that it divides by the step's count."""

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments


class MyTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        scored, wanted = outputs.logits[:, :-1], inputs["labels"][:, 1:]
        loss = cross_entropy(scored.flatten(0, 1), wanted.flatten(), ignore_index=-100)
        return (loss, outputs) if return_outputs else loss


def collate(rows):
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    labels = torch.tensor([row + [-100] * (longest - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": labels.ne(-100).long(), "labels": labels}


torch.manual_seed(0)
rows = [torch.randint(300, (length,)).tolist() for length in torch.randint(8, 64, (64,)).tolist()]
config = LlamaConfig(
    vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, pad_token_id=0
)
model = LlamaForCausalLM(config)
args = TrainingArguments(
    "out",
    per_device_train_batch_size=2,
    gradient_accumulation_steps=4,
    max_steps=4,
    use_cpu=True,
    report_to="none",
    save_strategy="no",
    disable_tqdm=True,
)
MyTrainer(model=model, args=args, train_dataset=rows, data_collator=collate).train()
