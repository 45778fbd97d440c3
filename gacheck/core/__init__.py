"""Pure arithmetic: what each fault predicts, which one fits, and what to say. No torch, clock or printing."""
