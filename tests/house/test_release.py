"""What ``make release`` makes of a commit."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import yaml

from haven.settings.overlay import FILE
from haven.settings.plain import LOCAL_FILE
from haven.setup.paths import DATABASE, default_data_dir
from sandbox.plugin import PLUGIN_ID

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "release.yaml"


def release(folder: Path, **environment: str) -> Path:
    """Clone this repository into ``folder``, make its release there, and return the release."""
    cloned = subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", ROOT.as_uri(), str(folder)], check=False
    )
    if cloned.returncode:
        pytest.skip("not a git checkout")
    done = subprocess.run(
        [sys.executable, "-m", "tools.release"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist" / "release"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("one") / "clone")


@pytest.fixture
def entry(released: Path) -> dict[str, object]:
    """The one entry of the index."""
    (entry,) = yaml.safe_load((released / "index.yml").read_text(encoding="utf-8"))
    return entry


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_two_builds_of_one_commit_are_the_same_bytes(released, tmp_path):
    before = os.umask(0o077)
    try:
        other = release(
            tmp_path / "somewhere else" / "Größe", TZ="Asia/Tokyo", LC_ALL="de_DE.ISO-8859-1"
        )
    finally:
        os.umask(before)
    assert digests(other) == digests(released)
    assert len(digests(released)) == 5


def test_the_index_has_all_that_stash_reads(released, entry):
    manifest = yaml.safe_load((ROOT / f"{PLUGIN_ID}.yml").read_text(encoding="utf-8"))
    assert set(entry) == {
        *("id", "name", "version", "date", "path", "sha256", "requires", "metadata")
    }
    assert (entry["id"], entry["name"]) == (PLUGIN_ID, manifest["name"])
    assert entry["metadata"] == {"description": manifest["description"]}
    assert entry["sha256"] == digests(released)[str(entry["path"])]
    shown = ["git", "show", "--no-patch", "--format=%ct", "HEAD"]
    committed = int(subprocess.run(shown, cwd=ROOT, capture_output=True, check=True).stdout)
    assert entry["date"] == time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(committed))


def test_the_flat_zip_is_the_plugin_and_nothing_of_a_user(released, entry):
    with zipfile.ZipFile(released / str(entry["path"])) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert [name for name in names if name.endswith(".yml")] == [f"{PLUGIN_ID}.yml"]
    assert len(names) == len(set(names))
    data = default_data_dir("/tmp").name
    first = {name.split("/")[0] for name in names}
    assert not first & {"manifest", data, f"{data}.yaml", LOCAL_FILE, FILE, DATABASE}
    assert not {name.split("/")[-1] for name in names} & {LOCAL_FILE, FILE, DATABASE}


def test_the_zip_to_unpack_by_hand_has_the_same_in_a_folder(released, entry):
    with (
        zipfile.ZipFile(released / str(entry["path"])) as flat,
        zipfile.ZipFile(released / str(entry["path"]).replace(".zip", "-by-hand.zip")) as folder,
    ):
        assert folder.namelist() == [f"{PLUGIN_ID}/{name}" for name in flat.namelist()]
        assert all(
            folder.read(f"{PLUGIN_ID}/{name}") == flat.read(name) for name in flat.namelist()
        )


def test_the_workflow_publishes_the_release_by_pinned_actions():
    text = WORKFLOW.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert {"run": "make release"} in steps
    (upload,) = [step for step in steps if "upload-pages-artifact" in step.get("uses", "")]
    assert upload["with"] == {"path": "dist/release"}
    used = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", name) for name in used)
    assert workflow["permissions"] == {"contents": "read"}
    (deploying,) = [job for job in workflow["jobs"].values() if "permissions" in job]
    assert deploying["permissions"] == {"pages": "write", "id-token": "write"}
