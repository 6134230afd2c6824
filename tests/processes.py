"""Processes that are bound by something before they start."""

import sys


def after(code: str) -> list[str]:
    """Words before a command, so that a process runs `code` and then becomes the command.

    Not `preexec_fn`: it runs between fork and exec, where libraries of ours that have threads (gRPC) may abort.
    """
    return [sys.executable, "-c", f"import os, sys\n{code}\nos.execv(sys.argv[1], sys.argv[1:])"]


def files_up_to(size: int) -> list[str]:
    """The same: no file may grow beyond `size` bytes, as on a disk that is full."""
    return after(f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))")
