"""Paths of Stash's as this machine has them, and what is said where there is nothing."""

import os
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from haven.settings.layers import page_labels
from haven.setup.paths import how_far
from haven.tagger import _PATHS, _not_found
from vlm_engine import map_path

MEDIA = "/Übung"
TWO_CHARACTERS = unicodedata.normalize("NFD", MEDIA)


@pytest.mark.parametrize(
    ("prefix", "target", "path", "mapped"),
    [
        ("/data", "/mnt/nas", "/data/finals/Foul.mp4", "/mnt/nas/finals/Foul.mp4"),
        ("/data/", "/mnt/nas/", "/data/finals/Foul.mp4", "/mnt/nas/finals/Foul.mp4"),
        (
            "/data//",
            "/mnt/nas//",
            "//data//finals/Foul.mp4",
            "//data//finals/Foul.mp4",
        ),  # two slashes: a share
        ("/data", "/mnt/nas", "/data", "/mnt/nas"),
        ("/data", "/mnt/nas", "/database/Foul.mp4", "/database/Foul.mp4"),
        ("/data", "/mnt/nas", "/Data/Foul.mp4", "/Data/Foul.mp4"),
        ("/data", "/mnt/nas", "data/Foul.mp4", "data/Foul.mp4"),
        ("/", "/mnt", "/data/Foul.mp4", "/mnt/data/Foul.mp4"),
        ("/data", "/", "/data/Foul.mp4", "/Foul.mp4"),
        ("/data", "/", "/data", "/"),
        ("/data", "/mnt", "/data/A\\B/Foul.mp4", "/mnt/A\\B/Foul.mp4"),
        ("D:\\media", "/mnt/d", "D:/media/x/Foul.mp4", "/mnt/d/x/Foul.mp4"),
        ("D:/media", "/mnt/d", "d:\\Media\\x\\Foul.mp4", "/mnt/d/x/Foul.mp4"),
        ("D:\\media\\", "E:\\video", "D:\\media\\x\\Foul.mp4", "E:\\video\\x\\Foul.mp4"),
        ("D:", "E:", "D:\\x\\Foul.mp4", "E:\\x\\Foul.mp4"),
        ("D:\\", "E:/", "D:\\x\\Foul.mp4", "E:/x/Foul.mp4"),
        (
            "D:\\Straße",
            "/mnt/d",
            "D:\\Strasse\\Foul.mp4",
            "D:\\Strasse\\Foul.mp4",
        ),  # two folders to Windows
        ("\\\\nas\\sport", "/mnt/sport", "//NAS/Sport/x/Foul.mp4", "/mnt/sport/x/Foul.mp4"),
        ("\\\\nas\\sport", "/mnt/sport", "\\\\nas\\sports\\Foul.mp4", "\\\\nas\\sports\\Foul.mp4"),
        ("/data", "\\\\nas\\sport", "/data/x/Foul.mp4", "\\\\nas\\sport\\x\\Foul.mp4"),
        ("/pics", "//nas/pics", "/pics/x/Foul.mp4", "//nas/pics/x/Foul.mp4"),
        ("/data", "Z:\\sport", "/data/x/Foul.mp4", "Z:\\sport\\x\\Foul.mp4"),
        ("/data", "\\\\?\\Z:\\sport", "/data/x/Foul.mp4", "\\\\?\\Z:\\sport\\x\\Foul.mp4"),
        ("D:\\media", "/mnt/d", "\\\\?\\D:\\media\\x\\Foul.mp4", "/mnt/d/x/Foul.mp4"),
        ("\\\\?\\D:\\media", "/mnt/d", "D:\\media\\x\\Foul.mp4", "/mnt/d/x/Foul.mp4"),
        ("\\\\nas\\sport", "/mnt/sport", "\\\\?\\UNC\\nas\\sport\\Foul.mp4", "/mnt/sport/Foul.mp4"),
        ("/däta für", "/mnt/ä", "/däta für/Foul.mp4", "/mnt/ä/Foul.mp4"),
        (MEDIA, "/mnt", f"{TWO_CHARACTERS}/Foul.mp4", "/mnt/Foul.mp4"),
        ("/data", "/mnt", f"/data{TWO_CHARACTERS}", f"/mnt{TWO_CHARACTERS}"),
        ("", "/mnt", "/data/Foul.mp4", "/data/Foul.mp4"),
    ],
)
def test_one_rule(prefix, target, path, mapped):
    assert map_path(path, [(prefix, target)], "linux") == mapped


@pytest.mark.parametrize(
    ("prefix", "path", "mapped"),
    [
        ("/data", "/data/finals/../Foul.mp4", "/mnt/nas/Foul.mp4"),
        ("/data", "/data/./finals/Foul.mp4", "/mnt/nas/finals/Foul.mp4"),
        ("/data", "/data/../secret/Foul.mp4", "/data/../secret/Foul.mp4"),
        ("/data", "/data/finals/../../../secret.mp4", "/data/finals/../../../secret.mp4"),
        ("/data", "/secret/../data/Foul.mp4", "/mnt/nas/Foul.mp4"),
        ("/data", "/../../data/Foul.mp4", "/mnt/nas/Foul.mp4"),
        ("D:\\media", "D:\\media\\..\\secret.mp4", "D:\\media\\..\\secret.mp4"),
        ("D:", "D:\\..\\..\\Foul.mp4", "/mnt/nas/Foul.mp4"),
        (
            "\\\\nas\\sport",
            "\\\\nas\\other\\..\\..\\sport\\Foul.mp4",
            "\\\\nas\\other\\..\\..\\sport\\Foul.mp4",
        ),
        ("data", "data/../../secret.mp4", "data/../../secret.mp4"),
    ],
)
def test_two_dots_lead_nowhere_else(prefix, path, mapped):
    assert map_path(path, [(prefix, "/mnt/nas")], "linux") == mapped


def test_a_backslash_in_a_name_makes_no_folder_of_windows():
    path = "/data/a\\..\\..\\secret.mp4"  # a single name, on Linux
    assert map_path(path, [("/data", "Z:\\sport")]) == path


def test_on_a_mac_capitals_and_small_letters_are_one():
    rules = [("/Volumes/Sport", "/mnt")]
    assert map_path("/volumes/sport/Foul.mp4", rules, "darwin") == "/mnt/Foul.mp4"
    assert map_path("/volumes/sport/Foul.mp4", rules, "linux") == "/volumes/sport/Foul.mp4"


@pytest.mark.parametrize("turned", [False, True])
def test_the_longest_beginning_counts_and_only_that(turned):
    rules = [
        ("/data", "/b"),
        ("/data/finals/", "/a"),
        ("/b", "/c"),
        ("/data/finals", "/d"),
        ("/", "/e"),
    ]
    if turned:
        rules = [("/", "/e"), ("/data/finals", "/a"), ("/b", "/c"), ("/data", "/b")]
    assert map_path("/data/finals/Foul.mp4", rules) == "/a/Foul.mp4"
    assert map_path("/data/cup/Foul.mp4", rules) == "/b/cup/Foul.mp4"
    assert map_path("/Foul.mp4", rules) == "/e/Foul.mp4"


part = st.text("abAB .-ä\\", min_size=1, max_size=5).filter(lambda name: name not in (".", ".."))


@example(["A"], ["\\."])
@given(st.lists(part, min_size=1, max_size=4), st.lists(part, min_size=1, max_size=3))
def test_there_and_back_again(rest, prefix):
    outside, inside = "/" + "/".join(prefix), "/mnt/nas"
    path = "/".join([outside, *rest])
    there = map_path(path, [(outside, inside)])
    assert there == "/".join([inside, *rest])
    assert map_path(there, [(inside, outside)]) == path


odd = st.text("a/\\.:? ü", max_size=12)


@example("a", "/..", "/..", "/mnt/nas")
@example("a", "/../..", "/../b", "/mnt/nas")
@given(
    st.sampled_from(["/", "D:\\", "\\\\nas\\", "a"]),
    odd,
    odd,
    st.sampled_from(["/mnt/nas", "Z:\\sport", "//nas/sport"]),
)
def test_whatever_is_mapped_stays_below_its_target(root, start, rest, target):
    path = root + start + rest
    mapped = map_path(path, [(root + start, target)])
    if mapped != path:
        assert mapped.startswith(target)
        assert ".." not in re.split("/" if "/" in target else r"[\\/]", mapped.removeprefix(target))


# --- a file that is not there ---


def test_how_far_a_path_exists(tmp_path):
    folder = tmp_path / "media"
    (folder / "Sport Finals").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "nowhere")
    (folder / "Foul.mp4").write_bytes(b"")
    assert how_far(str(folder / "Foul.mp4")) == ""
    assert (
        how_far(str(folder / "cup" / "x" / "Foul.mp4"))
        == f"{folder} exists, {folder / 'cup'} does not"
    )
    assert how_far(str(folder / "Goal.mp4")) == f"{folder} exists, {folder / 'Goal.mp4'} does not"
    near = (
        f"{folder} exists, {folder / 'sport  finals'} does not, but {folder / 'Sport Finals'} does"
    )
    assert how_far(str(folder / "sport  finals" / "Foul.mp4")) == near
    assert (
        how_far(str(folder / "link"))
        == f"{folder} exists, {folder / 'link'} does not: it is a link that leads nowhere"
    )
    assert how_far("/no such folder/x/Foul.mp4").startswith("/no such folder does not exist")
    assert how_far("\0/Foul.mp4") != ""


@pytest.mark.skipif(os.name != "posix", reason="there such a path is one of this machine's")
def test_a_path_of_windows_is_known():
    assert "a path of Windows" in how_far("D:\\media\\Foul.mp4")
    assert "a path of Windows" in how_far("\\\\nas\\sport\\Foul.mp4")


def test_both_paths_and_the_setting_are_named(tmp_path):
    here = str(tmp_path / "sports" / "Foul.mp4")
    mapped, unmapped = _not_found("/data/sports/Foul.mp4", here), _not_found(here, here)
    for message in (mapped, unmapped):
        assert (
            f"{here}: there is no such file here: {tmp_path} exists, {tmp_path / 'sports'} does not"
            in message
        )
        assert _PATHS in message
    assert "Stash calls it /data/sports/Foul.mp4" in mapped
    assert (
        f"{page_labels()['mediaPaths']} on the settings page (PATH_MUTATION in "
        "haven_vlm_config.local.yaml)" == _PATHS
    )
