"""The arguments of the SFT training, as the script and `trl sft --config` both take them."""

ARGUMENTS = {
    "output_dir": "out",
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "max_steps": 3,
    "logging_steps": 1,
    "max_length": 128,
    "learning_rate": 1.0e-3,
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
}
