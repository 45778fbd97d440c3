"""No test asks the real hub; those that need one make their own."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
