"""Thick mode: the Oracle client that the driver loads instead of speaking the protocol itself.

Thin mode, which needs no client, is the default. Thick mode is for what only a client can do, such
as Native Network Encryption. It holds for a whole process and must be chosen before its first
session, which is why every session is opened through `connection.connect`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import oracledb

from kpcluigi.errors import ConfigurationError

LIBRARIES = ("libclntsh.so", "libocci.so")
"""What a complete Instant Client (Basic or Basic Light) has, with or without a version behind."""

_LOADER_CONFIGURATION = Path("/etc/ld.so.conf.d")


def client_problems(
    folder: Path,
    environment: Mapping[str, str],
    *,
    loader_configuration: Path = _LOADER_CONFIGURATION,
) -> list[str]:
    """What stands in the way of loading the client in `folder`; empty when all is well.

    Args:
        environment: that of the process, in which it was started: the loader of the system reads
            LD_LIBRARY_PATH once, at the start.
        loader_configuration: the folder that names further folders to the loader.
    """
    if not folder.is_dir():
        return [f"{folder} is no folder: install Oracle Instant Client there, or correct the path"]
    problems = [
        f"{library} is not there: {folder} holds no complete Oracle Instant Client"
        for library in LIBRARIES
        if not any(folder.glob(f"{library}*"))
    ]
    problems += [
        f"{path} cannot be read by this user: correct its permissions"
        for library in LIBRARIES
        for path in sorted(folder.glob(f"{library}*"))
        if not os.access(path, os.R_OK)
    ]
    listed = {Path(entry) for entry in environment.get("LD_LIBRARY_PATH", "").split(":") if entry}
    if folder not in listed | _configured(loader_configuration):
        problems.append(
            f"LD_LIBRARY_PATH does not name {folder}: export LD_LIBRARY_PATH={folder} before the "
            f"command is started, so that the client finds its own libraries"
        )
    home = environment.get("ORACLE_HOME")
    if home and Path(home) not in (folder, folder.parent):
        problems.append(
            f"ORACLE_HOME is {home}, where another client lies: unset it (Instant Client needs "
            f"none), or export ORACLE_HOME={folder}"
        )
    return problems


def use_client(folder: str) -> None:
    """Load the client in `folder`, once in a process; with an empty path the driver stays thin.

    Raises:
        ConfigurationError: it cannot be loaded, or sessions without it are open already.
    """
    if not folder:
        return
    try:
        oracledb.init_oracle_client(lib_dir=folder)
    except oracledb.Error as error:
        raise ConfigurationError(
            f"[oracle] thick_client_dir = {folder}: the Oracle client cannot be loaded: {error}"
        ) from error


def _configured(folder: Path) -> set[Path]:
    """The folders that the system's loader searches whatever the environment says."""
    return {
        Path(line.strip())
        for file in folder.glob("*.conf")
        for line in file.read_text(errors="replace").splitlines()
        if line.strip().startswith("/")
    }
