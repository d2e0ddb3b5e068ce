"""The error tree. Every error that a user can cause is an EdgecError with one sentence and an exit code.

    EdgecError            2   bad usage or input
    ├── ModelError        2   a checkpoint that cannot be read or is not of a known family
    ├── RecipeError       2   a recipe or option that makes no sense
    ├── TargetError       2   a target file that cannot be used
    ├── OutputError       2   OUT cannot be written, or is not a folder that edgec built
    ├── ToolError         2   a compiler or another program is missing or failed
    ├── DoesNotFit        3   the model does not meet the memory demand
    └── VerifyError       4   two backends that must agree do not
        └── MismatchError 4   ... and this is the first tensor in which they differ

Anything else that escapes is a bug of edgec: the CLI shows its traceback and exits with 70.
"""


class EdgecError(Exception):
    """A sentence that says who, what, the numbers, and what to do."""

    exit_code = 2


class ModelError(EdgecError):
    """The checkpoint is missing, damaged, or of an architecture that edgec does not lower."""


class RecipeError(EdgecError):
    """A recipe file or a command-line option has an unknown key or an impossible value."""


class TargetError(EdgecError):
    """A target file has an unknown key, a missing key or an impossible number."""


class OutputError(EdgecError):
    """The output folder cannot be written or was not built by edgec."""


class ToolError(EdgecError):
    """An external program (a C compiler) is missing or failed."""


class DoesNotFit(EdgecError):  # noqa: N818 - what it says, as in `except DoesNotFit`
    """The plan needs more bytes of a memory than the target has."""

    exit_code = 3


class VerifyError(EdgecError):
    """A verification could not confirm what it must confirm."""

    exit_code = 4


class MismatchError(VerifyError):
    """Two backends disagree; the message names the first divergent tensor and its source layer."""
