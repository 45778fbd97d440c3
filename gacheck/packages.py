"""Which package an error says is missing, and how to get it."""

from __future__ import annotations

import importlib.util
import re

from gacheck.errors import PackageError, causes, one_line

# Where the module is called otherwise than what is installed; a dash and an underscore are the same to pip.
_NAMES = {"PIL": "pillow", "yaml": "pyyaml", "cv2": "opencv-python", "sklearn": "scikit-learn", "google": "protobuf"}
_MODULES = {"pillow": "PIL", "pyyaml": "yaml", "opencv_python": "cv2", "scikit_learn": "sklearn", "protobuf": "google"}

# What libraries say of a package that they cannot do without; the most telling first.
_SAYINGS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"pip install (?:-{1,2}[\w-]+ )*[`'\"]?(git\+https://[\w./-]+|[A-Za-z][\w.-]*(?:\[\w+\])?)",
        r"requires the (\S+) (?:library|package)",
        r"requires? [`'\"]?([\w.-]+)[`'\"]?(?:[<>=!~][\w.]*)? to be installed",
        r"need to have [`'\"]?([\w.-]+)[`'\"]?(?: or [`'\"]?[\w.-]+[`'\"]?)? installed",
        r"(?:install|load|import) [`'\"]([\w.-]+)[`'\"]",
        r"[`'\"]([\w.-]+)[`'\"] (?:package |library )?(?:is not|was not|isn't) (?:installed|found)",
        r"([\w.-]+) (?:package |library )?is not installed",
        r"No module named ['\"]([\w.]+)['\"]",
    )
]
# What code looks up before it says that a package is missing.
LOOKUPS = (ImportError, LookupError, AttributeError)
_SPEAKS_OF_ONE = re.compile(r"install|not found in your environment|No module named", re.IGNORECASE)


def missing_package(error: BaseException) -> str | None:
    """Return the name by which pip knows the package for want of which an error was raised; None if it was not."""
    chain = list(causes(error))
    # What was wanted for a second way, once the first had failed, is not why it failed: a damaged file is.
    if not isinstance(chain[-1], LOOKUPS) and _package_of(chain[-1]) is None:
        return None
    return next((name for each in chain if (name := _package_of(each))), None)


def _package_of(error: BaseException) -> str | None:
    if isinstance(error, ModuleNotFoundError) and error.name:
        root = error.name.partition(".")[0]
        return None if is_here(root) else _NAMES.get(root, root)
    if not isinstance(error, ImportError) and not _SPEAKS_OF_ONE.search(str(error)):
        return None
    said = (found[1] for saying in _SAYINGS if (found := saying.search(str(error))))
    return next((name.strip(".") for name in said if not is_here(_module_of(name))), None)


def not_installed(package: str, error: BaseException, needed_by: str) -> PackageError:
    """Make the error of a package that is missing.

    Args:
        package: As pip knows it.
        error: What was raised for want of it.
        needed_by: What cannot be had without, such as an option.
    """
    return PackageError(
        f"{package.rpartition('/')[2]} is not installed, and {needed_by} needs it.",
        why=one_line(error),
        fix=f"pip install {package}",
    )


def _module_of(package: str) -> str:
    name = re.split(r"[\[<>=!~]", package)[0].strip(".").replace("-", "_")
    return _MODULES.get(name, name).partition(".")[0]


def is_here(module: str) -> bool:
    """Whether a module is installed; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
