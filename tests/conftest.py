"""What holds for every test: no hub, and one thread a process."""

import os

# No test asks the real hub; those that need one make their own.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models are tiny, and tests run beside each other: threads of torch would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
