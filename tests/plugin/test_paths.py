import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haven_vlm_utility import SetupError, default_data_dir, map_path


@pytest.mark.parametrize(
    ("prefix", "target", "path", "mapped"),
    [
        ("/data", "/mnt/nas", "/data/finals/Foul.mp4", "/mnt/nas/finals/Foul.mp4"),
        ("/data/", "/mnt/nas/", "/data/finals/Foul.mp4", "/mnt/nas/finals/Foul.mp4"),
        ("/data", "/mnt/nas", "/data", "/mnt/nas"),
        ("/data", "/mnt/nas", "/database/Foul.mp4", "/database/Foul.mp4"),
        ("/data", "/mnt/nas", "/Data/Foul.mp4", "/Data/Foul.mp4"),
        ("/data", "/mnt/nas", "data/Foul.mp4", "data/Foul.mp4"),
        ("/", "/mnt", "/data/Foul.mp4", "/mnt/data/Foul.mp4"),
        ("/data", "/", "/data/Foul.mp4", "/Foul.mp4"),
        ("/data", "/mnt", "/data/A\\B/Foul.mp4", "/mnt/A\\B/Foul.mp4"),
        ("D:\\media", "/mnt/d", "D:/media/x/Foul.mp4", "/mnt/d/x/Foul.mp4"),
        ("D:/media", "/mnt/d", "d:\\Media\\x\\Foul.mp4", "/mnt/d/x/Foul.mp4"),
        ("D:\\media\\", "E:\\video", "D:\\media\\x\\Foul.mp4", "E:\\video\\x\\Foul.mp4"),
        ("D:", "E:", "D:\\x\\Foul.mp4", "E:\\x\\Foul.mp4"),
        ("D:\\", "E:/", "D:\\x\\Foul.mp4", "E:/x/Foul.mp4"),
        ("\\\\nas\\sport", "/mnt/sport", "//NAS/Sport/x/Foul.mp4", "/mnt/sport/x/Foul.mp4"),
        ("/data", "\\\\nas\\sport", "/data/x/Foul.mp4", "\\\\nas\\sport\\x\\Foul.mp4"),
        ("/data", "Z:\\sport", "/data/x/Foul.mp4", "Z:\\sport\\x\\Foul.mp4"),
        ("/däta für", "/mnt/ä", "/däta für/Foul.mp4", "/mnt/ä/Foul.mp4"),
        ("", "/mnt", "/data/Foul.mp4", "/data/Foul.mp4"),
    ],
)
def test_one_rule(prefix: str, target: str, path: str, mapped: str) -> None:
    assert map_path(path, [(prefix, target)]) == mapped


def test_the_first_rule_that_fits_counts_and_only_that() -> None:
    rules = [("/data/finals", "/a"), ("/data", "/b"), ("/b", "/c")]
    assert map_path("/data/finals/Foul.mp4", rules) == "/a/Foul.mp4"
    assert map_path("/data/cup/Foul.mp4", rules) == "/b/cup/Foul.mp4"


part = st.text("abAB .-ä\\", min_size=1, max_size=5)


@given(st.lists(part, min_size=1, max_size=4), st.lists(part, min_size=1, max_size=3))
def test_there_and_back_again(rest: list[str], prefix: list[str]) -> None:
    outside, inside = "/" + "/".join(prefix), "/mnt/nas"
    path = "/".join([outside, *rest])
    there = map_path(path, [(outside, inside)])
    assert there == "/".join([inside, *rest])
    assert map_path(there, [(inside, outside)]) == path


def test_the_data_folder_is_beside_stashs_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HAVEN_VLM_DATA_DIR", raising=False)
    folder = default_data_dir(str(tmp_path / "stash häuser"))
    assert folder == tmp_path / "stash häuser" / "haven_vlm_connector"
    assert list(folder.iterdir()) == []


def test_the_environment_names_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAVEN_VLM_DATA_DIR", str(tmp_path / "mine"))
    assert default_data_dir(str(tmp_path)) == tmp_path / "mine"
    assert default_data_dir(None).is_dir()


@pytest.mark.skipif(os.name != "posix", reason="the variables are those of a desktop on Linux")
def test_without_stash_it_is_where_the_user_keeps_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HAVEN_VLM_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = default_data_dir(None)
    assert folder.is_relative_to(tmp_path)
    assert folder.name == "haven_vlm_connector"


def test_a_folder_that_cannot_be_written_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HAVEN_VLM_DATA_DIR", str(tmp_path / "file" / "data"))
    with pytest.raises(SetupError, match=r"Nothing can be written to .*data .*HAVEN_VLM_DATA_DIR"):
        default_data_dir(None)
