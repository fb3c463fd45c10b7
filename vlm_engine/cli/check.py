"""``vlm-engine check``: test endpoints and machine, and say what to do if something is wrong."""

from __future__ import annotations

import json
from argparse import Namespace

from vlm_engine.checkup.setup import check_setup
from vlm_engine.checkup.values import section_lines
from vlm_engine.cli.arguments import DONE, NO_ENDPOINT, SOME_FAILED, Program
from vlm_engine.cli.output import printable, show
from vlm_engine.cli.settings import asked_endpoints, default_store, engine_config


async def check(given: Namespace, program: Program) -> int:
    """Run the command and return its exit code. Raise ``ConfigError``."""
    config = engine_config(given, program)
    asked_endpoints(config)
    found = await check_setup(config, default_store())
    if given.json:
        sections = [section.as_dict() for section in found.sections]
        show(json.dumps(sections, ensure_ascii=False, indent=1) + "\n")
    else:
        texts = ("\n".join(map(printable, section_lines(each))) for each in found.sections)
        show("\n\n".join(texts) + "\n")
    working = sum(endpoint.section.works for endpoint in found.endpoints)
    if not working:
        return NO_ENDPOINT
    return DONE if all(section.works for section in found.sections) else SOME_FAILED
