"""The engine's ``tag`` command with the plugin's settings, without Stash: ``haven_vlm_connector.py
tag FILE…``.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from haven.settings.settings import Settings
from haven.setup import SetupError
from haven.setup.bootstrap import ensure_cluster_packages
from haven.setup.stash_log import RedactingFormatter
from haven.tagger import engine_config
from haven.tasks.entry import PLUGIN_DIR
from haven.tasks.messages import announce
from vlm_engine import ConfigError, EngineConfig
from vlm_engine.cli.arguments import Program
from vlm_engine.cli.output import OneLine
from vlm_engine.cli.running import run

_OPTIONS = {"TAG_LIST": "--tags", "TAG_DESCRIPTIONS": "--tags", "ENDPOINTS": "--endpoint"}
_NO_STASH = (
    "what is below a tag of Stash is not known here, where Stash is not asked; say what to look "
    "for with --tags"
)


class _Formatter(RedactingFormatter, OneLine):
    """Formatter for a terminal that hides secrets."""


def run_command(arguments: Sequence[str], store_path: Path) -> int:
    """Run one command line and return its exit code. Usage errors raise ``SystemExit``."""
    return run(arguments, program(store_path))


def program(store_path: Path) -> Program:
    """Return the plugin's command line. ``store_path``: the file that keeps the answers."""
    formatter = _Formatter("%(levelname)s: %(message)s")
    return Program(
        name="haven_vlm_connector.py",
        description="Haven VLM Connector without Stash.",
        commands=("tag",),
        config=partial(_config, formatter, store_path),
        config_source="The settings are those of haven_vlm_config.py, "
        "haven_vlm_config.local.yaml, and settings.json in the data folder; options override "
        "them.",
        formatter=formatter,
    )


def _config(formatter: RedactingFormatter, store_path: Path, given: Namespace) -> EngineConfig:
    """Return the engine's configuration from the plugin's settings. Raise ``ConfigError`` that
    names options.

    The settings are given tags and endpoints, too: they have descriptions of tags, and check the
    keys of endpoints.
    """
    try:
        settings = Settings.load(
            task_args={"TAG_LIST": given.tags, "ENDPOINTS": given.endpoint},
            data_dir=store_path.parent,
        )
    except ConfigError as error:
        message = str(error)
        for name, option in _OPTIONS.items():
            message = message.replace(f"task arguments: {name}", option)
        raise ConfigError(message) from None
    if not settings.tag_list:
        raise ConfigError(f"{settings.origins['STASH_TAGS']}: {_NO_STASH}")
    if settings.engine.cluster is not None or given.cluster:
        try:
            ensure_cluster_packages(PLUGIN_DIR, store_path.parent)
        except SetupError as error:
            raise ConfigError(str(error)) from error
    formatter.hide(settings.secrets())
    announce(settings, "files")
    return engine_config(settings, store_path)
