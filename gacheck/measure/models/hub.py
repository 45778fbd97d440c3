"""A model id → a local folder, through huggingface_hub.

It respects HF_HUB_OFFLINE, HF_HOME, HF_ENDPOINT and HF_TOKEN. Everything after that is reading a folder, so a model
from the hub and one on disk go the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import errors, snapshot_download
from transformers import CONFIG_MAPPING

from gacheck.errors import GacheckError, ModelError, ResourceError, causes, one_line

CONFIGURATION = ("*.json", "*.txt", "*.model", "*.jinja")
# The names that transformers and peft give; repositories often hold the same weights once more in other formats.
WEIGHTS = ("model*.safetensors", "adapter_model*.safetensors")
CODE = ("*.py",)


def fetch_model(model_id: str, revision: str | None, *, weights: bool, code: bool) -> Path:
    """Download what is missing of a model repository and return its folder in the cache.

    Args:
        model_id: `name` or `organisation/name`.
        revision: Branch, tag or commit.
        weights: Whether the safetensors are wanted too.
        code: Whether Python files are wanted too.

    Raises:
        ModelError: There is no such repository or revision, or no access to it.
        ResourceError: The hub cannot be reached, or the download broke off.
    """
    patterns = (*CONFIGURATION, *(WEIGHTS if weights else ()), *(CODE if code else ()))
    try:
        return Path(snapshot_download(model_id, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # its HTTP client's own errors come through, and clients have changed
        raise _explain(model_id, revision, error) from error


def _explain(model_id: str, revision: str | None, error: Exception) -> GacheckError:
    """Say what a failed download means; the most telling error of the chain decides."""
    chain = list(causes(error))
    for kind, explain in _EXPLANATIONS.items():
        if any(isinstance(each, kind) for each in chain):
            return explain(model_id, revision)
    statuses = (getattr(getattr(each, "response", None), "status_code", None) for each in chain)
    status = next((status for status in statuses if isinstance(status, int)), None)
    if status in (401, 403):
        return _no_access(model_id, status)
    if status is None and any(isinstance(each, NOT_REACHED) for each in chain):
        return _not_here(model_id)
    return ResourceError(
        f"The download of {model_id} failed: {type(error).__name__}: {one_line(error, 200)}",
        why="The hub could not be reached, or the connection broke off.",
        fix="try again: what has arrived is kept; behind a mirror set HF_ENDPOINT, or name a local folder",
    )


def _gated(model_id: str, revision: str | None) -> GacheckError:
    return ModelError(
        f"{model_id} is gated.",
        why="Its owner gives access on request, to a known account.",
        fix="ask for access on its page, then set HF_TOKEN to a token of that account",
    )


def _no_repository(model_id: str, revision: str | None) -> GacheckError:
    return ModelError(
        f"There is no model {model_id} on the hub, or no access to it.",
        why="It is neither a stand-in (tiny:TYPE) nor a folder here, so it was looked up as a model id.",
        fix=_stand_in(model_id) or "check the spelling; for a private repository set HF_TOKEN; or try  tiny:gemma3",
    )


def _no_revision(model_id: str, revision: str | None) -> GacheckError:
    return ModelError(
        f"{model_id} has no revision {revision!r}.",
        why="--revision names a branch, a tag or a commit of the repository.",
        fix="see its history on the hub, or leave --revision out",
    )


def _not_an_id(model_id: str, revision: str | None) -> GacheckError:
    return ModelError(
        f"There is no model at {model_id}.",
        why="It is neither a stand-in (tiny:TYPE), nor a folder here, nor of the form of a model id.",
        fix="name a folder written by save_pretrained, or try  tiny:gemma3",
    )


def _no_access(model_id: str, status: int) -> GacheckError:
    return ModelError(
        f"The hub refuses access to {model_id} (HTTP {status}).",
        why="The token, if there is one, is not valid or does not cover it.",
        fix="set HF_TOKEN to a valid token with read access",
    )


def _not_here(model_id: str) -> GacheckError:
    return ResourceError(
        f"{model_id} cannot be had: the hub cannot be reached, and it is not in the cache.",
        why="There is no network, or HF_HUB_OFFLINE is set.",
        fix=_stand_in(model_id) or "go online, or name a local folder or a stand-in such as  tiny:gemma3",
    )


def _stand_in(model_id: str) -> str | None:
    """Say what may be meant by the bare name of a model type."""
    return f"for a stand-in of that type write  tiny:{model_id}" if model_id in CONFIG_MAPPING else None


# In this order: a gated repository is also a repository that is not found.
_EXPLANATIONS: dict[type[BaseException], Callable[[str, str | None], GacheckError]] = {
    errors.GatedRepoError: _gated,
    errors.RevisionNotFoundError: _no_revision,
    errors.RepositoryNotFoundError: _no_repository,
    errors.HFValidationError: _not_an_id,
}
# Newer clients raise the second also for what the hub answered; what that was stands in its cause.
NOT_REACHED = (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError)
