"""From a command line to its exit code: run the command and report errors."""

from __future__ import annotations

import asyncio
import logging
import warnings
from argparse import Namespace
from collections.abc import Sequence

from vlm_engine.cli.arguments import (
    INTERRUPTED,
    NO_ENDPOINT,
    SOME_FAILED,
    WRONG_SETTINGS,
    Program,
    parsed,
)
from vlm_engine.cli.output import OutputError, complain, prepare_output
from vlm_engine.errors import ConfigError, MediaError, NoEndpointError, StoreError


def run(arguments: Sequence[str], program: Program | None = None) -> int:
    """Run one command line of ``program``, by default ``vlm-engine``, and return its exit code.

    Usage errors leave by ``SystemExit`` with ``WRONG_SETTINGS``.
    """
    program = program or Program()
    prepare_output()
    given = parsed(program, arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(program.formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=program.config is not None)
    warnings.filterwarnings(
        "ignore", module=r"PIL\."
    )  # what is odd about a picture that can be read, not saying which
    try:
        return _command(given, program)
    except (ConfigError, StoreError, MediaError) as error:
        complain(str(error))
        return WRONG_SETTINGS
    except NoEndpointError as error:
        complain(str(error))
        return NO_ENDPOINT
    except OutputError as error:
        if not error.is_closed:
            complain(str(error))
        return SOME_FAILED
    except KeyboardInterrupt:
        kept = (
            " What was answered until now is kept; the same command goes on from there."
            if given.command == "tag"
            else ""
        )
        complain(f"Interrupted.{kept}")
        return INTERRUPTED


def _command(given: Namespace, program: Program) -> int:
    if given.command == "serve-sandbox":
        from vlm_engine.cli.serve import serve

        return serve(given)
    if given.command == "prompt":
        from vlm_engine.cli.show_prompt import show_prompt

        return asyncio.run(show_prompt(given, program))
    if given.command == "check":
        from vlm_engine.cli.check import check

        return asyncio.run(check(given, program))
    from vlm_engine.cli.tag import tag

    return asyncio.run(tag(given, program))
