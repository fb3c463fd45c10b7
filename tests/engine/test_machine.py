"""The part of a check about this machine: each fault is found, named and has its remedy."""

from __future__ import annotations

import os
import re
import sys
import time
import tomllib
from pathlib import Path

import pytest

from tests.disk_faults import as_somebody_without_rights, small_file_system
from vlm_engine.checkup.machine import PACKAGES, machine_section
from vlm_engine.checkup.values import Finding, SectionKind, Severity
from vlm_engine.errors import MediaUnreadableError
from vlm_engine.video import self_test

ROOT = Path(__file__).resolve().parents[2]
MB = 10**6


def findings(data_file: Path | None, **changed) -> dict[str, Finding]:
    return {each.what: each for each in machine_section(data_file, **changed).findings}


def test_a_sound_machine_has_nothing_wrong(tmp_path):
    section = machine_section(tmp_path / "data" / "answers.sqlite")
    assert section.kind is SectionKind.MACHINE
    assert section.works
    found = {each.what: each for each in section.findings}
    assert [*found] == ["Python", "packages", "decoder", "decoding", "data folder", "disk"]
    assert found["Python"].figures["executable"] == sys.executable
    assert found["packages"].figures["av"] in found["packages"].text
    assert {name: found["decoder"].figures[name] for name in ("H.264", "HEVC", "VP9", "AV1")} == {
        "H.264": True,
        "HEVC": True,
        "VP9": True,
        "AV1": True,
    }
    assert [*(tmp_path / "data").iterdir()] == []  # what it wrote is gone
    assert str(tmp_path / "data") in found["disk"].text


def test_the_packages_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert list(PACKAGES) == project["project"]["dependencies"]


@pytest.mark.parametrize(
    ("package", "fault"),
    [
        ("referee>=1", "referee is not installed"),
        ("numpy>=999", r"numpy \S+ is too old"),
        ("numpy>=1,<1.5", r"numpy \S+ is too new"),
    ],
)
def test_a_package_that_will_not_do_is_named(package, fault):
    found = findings(None, packages=("pyyaml>=6", package))["packages"]
    assert found.severity is Severity.WRONG
    assert re.match(fault, found.text), found.text
    assert found.text.endswith(f'-m pip install "{package}"')
    assert found.figures["pyyaml"]


def test_a_damaged_package_is_named_with_its_error(tmp_path, monkeypatch):
    installed = tmp_path / "referee-2.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: referee\nVersion: 2.1\n")
    (tmp_path / "referee.py").write_text("raise ImportError('DLL load failed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = findings(None, packages=("referee>=2",))["packages"]
    assert found.text.startswith("referee 2.1 cannot be imported (DLL load failed)")


def test_a_format_without_decoder_is_noted(monkeypatch):
    monkeypatch.setitem(self_test._DECODERS, "HEVC", ("no such decoder",))
    found = findings(None)["decoder"]
    assert found.severity is Severity.NOTE
    assert "cannot decode HEVC" in found.text
    assert found.figures["HEVC"] is False


def test_a_decoder_that_gives_other_pictures_is_wrong(monkeypatch):
    wanted = self_test._SECONDS
    monkeypatch.setattr(self_test, "_SECONDS", wanted[::-1])
    turned = self_test._test_video()
    monkeypatch.setattr(self_test, "_SECONDS", wanted)
    monkeypatch.setattr(self_test, "_test_video", lambda: turned)
    with pytest.raises(MediaUnreadableError, match="other colours"):
        self_test.try_decoding()
    assert findings(None)["decoding"].severity is Severity.WRONG


def test_without_a_data_file_it_says_that_nothing_is_kept():
    found = findings(None)
    assert found["data folder"].severity is Severity.NOTE
    assert "disk" not in found


def test_a_read_only_folder_is_wrong_with_the_remedy(public):
    public.chmod(0o555)
    with as_somebody_without_rights():
        found = findings(public / "answers.sqlite")["data folder"]
    assert found.severity is Severity.WRONG
    assert str(public) in found.text
    assert "let the user that runs this write there" in found.text


@pytest.mark.skipif(os.name != "posix", reason="it needs permissions of files")
def test_a_read_only_data_file_is_wrong_and_named(public):
    file = public / "answers.sqlite"
    file.write_bytes(b"answers")
    file.chmod(0o444)
    public.chmod(0o777)
    with as_somebody_without_rights():
        found = findings(file)["data folder"]
    assert found.severity is Severity.WRONG
    assert f"{file} (it is read-only)" in found.text


@pytest.mark.parametrize(
    ("free_mb", "severity"),
    [(99, Severity.WRONG), (999, Severity.NOTE), (1001, Severity.OK)],
)
def test_little_free_space_names_the_folder(tmp_path, free_mb, severity):
    found = findings(tmp_path / "answers.sqlite", free_bytes=lambda folder: free_mb * MB)["disk"]
    assert found.severity is severity
    assert str(tmp_path) in found.text
    assert found.figures["free_bytes"] == free_mb * MB


def test_a_full_disk_is_wrong_with_the_remedy(tmp_path):
    with small_file_system(tmp_path):
        with (tmp_path / "film").open("wb", buffering=0) as film, pytest.raises(OSError):
            while True:
                film.write(bytes(MB))
        found = findings(tmp_path / "answers.sqlite")["data folder"]
        assert [file.name for file in tmp_path.iterdir()] == ["film"]
    assert found.severity is Severity.WRONG
    assert "free space on its disk" in found.text


def test_a_dead_disk_holds_nothing_up(tmp_path):
    found = findings(
        tmp_path / "answers.sqlite", free_bytes=lambda folder: time.sleep(2) or 0, stall_s=0.2
    )
    assert found["data folder"].severity is Severity.WRONG
    assert "reading stalled" in found["data folder"].text
