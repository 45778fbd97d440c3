"""What is noted of a training, what each fault predicts, and which prediction fits: standard library alone."""
