"""Rules are proposed that make Stash's files readable here, and none where nothing fits."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random

import pytest

from haven.setup.file_search import default_roots, find_files
from haven.setup.known_files import KnownFile, check_file
from haven.setup.mapping import describe_rules, propose_rules
from tests.disk_faults import as_somebody_without_rights
from tests.plugin.local_settings import load
from vlm_engine import rule_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the layouts are made on a POSIX disk")

GAMES = {
    "finals/Cup final.mp4": 700,
    "finals/Semi-final.mp4": 701,
    "league/2024/Foul.mp4": 702,
    "league/2025/Goal.mp4": 703,
    "Turnover.mp4": 704,
}
FILMS = {"heist/Getaway.mkv": 800, "heist/Getaway 2.mkv": 801, "sea/Break-away.mkv": 802}


def make(folder: Path, files: Mapping[str, int]) -> None:
    for name, size in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))


def known(folder: str, files: Mapping[str, int]) -> list[KnownFile]:
    """Return the files as Stash has them below ``folder``, with its slashes."""
    slash = "\\" if "\\" in folder else "/"
    return [
        KnownFile(folder.rstrip(slash) + slash + name.replace("/", slash), size)
        for name, size in files.items()
    ]


def are_readable(files: Iterable[KnownFile], rules: Iterable[tuple[str, str]]) -> bool:
    return all(check_file(file, rules).is_readable for file in files)


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


# --- layouts: where Stash has libraries, where the files are here, and the rules ---

Layout = tuple[dict[str, dict[str, int]], dict[str, dict[str, int]], dict[str, str]]

LAYOUTS: dict[str, Layout] = {
    "Docker": (
        {"/data": GAMES},
        {"mnt/nas/video": GAMES},
        {"/data": "mnt/nas/video"},
    ),
    "Docker with a mount in a mount": (
        {"/data": GAMES | {f"film/{name}": size for name, size in FILMS.items()}},
        {"mnt/nas": GAMES, "srv/kino": FILMS},
        {"/data": "mnt/nas", "/data/film": "srv/kino"},
    ),
    "Docker with a mount in a folder": (
        {"/data": GAMES | {f"league/film/{name}": size for name, size in FILMS.items()}},
        {"mnt/nas": GAMES, "srv/kino": FILMS},
        {"/data": "mnt/nas", "/data/league/film": "srv/kino"},
    ),
    "a drive of Windows": (
        {"D:\\Sport": GAMES},
        {"mnt/d/Sport": GAMES},
        {"D:\\Sport": "mnt/d/Sport"},
    ),
    "a whole drive of Windows": (
        {"D:\\": GAMES},
        {"mnt/d": GAMES},
        {"D:\\": "mnt/d"},
    ),
    "a drive whose folders are in another case here": (
        {"d:\\MEDIA": {f"SPORT/{name}": size for name, size in GAMES.items()}},
        {"mnt/media": {f"sport/{name}": size for name, size in GAMES.items()}},
        {"d:\\MEDIA\\SPORT": "mnt/media/sport"},
    ),
    "a share with backslashes": (
        {"\\\\nas\\sport": GAMES},
        {"mnt/sport": GAMES},
        {"\\\\nas\\sport": "mnt/sport"},
    ),
    "a share with slashes": (
        {"//nas/sport": GAMES},
        {"Volumes/sport": GAMES},
        {"//nas/sport": "Volumes/sport"},
    ),
    "two libraries side by side": (
        {"/data/sport": GAMES, "/data/film": FILMS},
        {"mnt/nas/sport": GAMES, "mnt/nas/film": FILMS},
        {"/data": "mnt/nas"},
    ),
    "two libraries in two levels side by side": (
        {"/data/a/sport": GAMES, "/data/b/film": FILMS},
        {"mnt/nas/a/sport": GAMES, "mnt/nas/b/film": FILMS},
        {"/data": "mnt/nas"},
    ),
    "two libraries in unlike places": (
        {"/data/sport": GAMES, "/data/film": FILMS},
        {"mnt/nas/sport": GAMES, "srv/film": FILMS},
        {"/data/sport": "mnt/nas/sport", "/data/film": "srv/film"},
    ),
    "a volume whose share was renamed": (
        {"/volume1/Sport": GAMES},
        {"volume1/Archive": GAMES},
        {"/volume1/Sport": "volume1/Archive"},
    ),
    "a library that moved one level deeper": (
        {"/data/sport": GAMES},
        {"mnt/nas/sport/old": GAMES},
        {"/data/sport": "mnt/nas/sport/old"},
    ),
    "accents in one character there and two here": (
        {f"/data/{nfc('Übung')}": GAMES},
        {f"mnt/{nfd('Übung')}": GAMES},
        {f"/data/{nfc('Übung')}": f"mnt/{nfd('Übung')}"},
    ),
    "accents in a folder of the library": (
        {"/data": {f"{nfd('Übung')}/{name}": size for name, size in GAMES.items()}},
        {"mnt/nas": {f"{nfc('Übung')}/{name}": size for name, size in GAMES.items()}},
        {f"/data/{nfd('Übung')}": f"mnt/nas/{nfc('Übung')}"},
    ),
    "pictures in a zip": (
        {"/pics": {"season/Goals.zip": 900}},
        {"mnt/pictures": {"season/Goals.zip": 900}},
        {"/pics": "mnt/pictures"},
    ),
    "a single file": (
        {"/data": {"finals/Goal.mp4": 700}},
        {"mnt/nas": {"finals/Goal.mp4": 700}},
        {"/data": "mnt/nas"},
    ),
    "files of a library that lies flat": (
        {"/data": {"Goal.mp4": 700, "Foul.mp4": 701}},
        {"mnt/nas": {"Goal.mp4": 700, "Foul.mp4": 701}},
        {"/data": "mnt/nas"},
    ),
    "a folder that only Stash's path makes searched": (
        {"/data": {f".hidden/{name}": size for name, size in FILMS.items()}},
        {"mnt/nas": {f".hidden/{name}": size for name, size in FILMS.items()}},
        {"/data": "mnt/nas"},
    ),
}


@pytest.mark.parametrize("with_libraries", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_rules_make_all_files_readable(tmp_path, layout, with_libraries):
    there, here, expected = layout
    make(tmp_path / "mnt" / "other", {"league/2024/Foul.mp4": 1, "Readme.txt": 3})
    for folder, files in here.items():
        make(tmp_path / folder, files)
    missing = [file for library, files in there.items() for file in known(library, files)]
    rules = propose_rules(missing, [*there] if with_libraries else [], [tmp_path])
    assert are_readable(missing, rules), rules
    if with_libraries:
        assert dict(rules) == {
            folder: str(tmp_path / target) for folder, target in expected.items()
        }


def random_layout(random: Random, here: Path) -> tuple[list[KnownFile], list[str]]:
    """Make up to three libraries in unlike places, each with a folder elsewhere and a part of it
    copied; return Stash's files and libraries.
    """
    names = ["finals", "league", "2024", "sport", "film", "cup", "plays"]
    root = random.choice(["/data/", "D:\\", "\\\\nas\\video\\"])
    missing, libraries = [], random.sample(names, 3)
    for library in libraries:
        place = here / random.choice(["nas", "nas/video", "srv"]) / random.choice([library, "x"])
        moved = random.choice(names)
        for number in range(random.randint(1, 15)):
            folders = random.sample(names, random.randint(0, 3))
            name, size = "/".join([*folders, f"Goal {number % 3}.mp4"]), random.randint(1, 9999)
            file = here / "elsewhere" / name if folders[:1] == [moved] else place / name
            for copy in (file, here / "old/backup" / library / name)[: random.randint(1, 2)]:
                if not copy.exists():
                    make(copy.parent, {copy.name: size})
            missing += known(f"{root}{library}", {name: size})
    return missing, [f"{root}{library}" for library in libraries]


@pytest.mark.parametrize(
    "seed",
    [*range(10), *(pytest.param(each, marks=pytest.mark.thorough) for each in range(10, 300))],
)
def test_whatever_the_layout_each_rule_has_its_proof(tmp_path, seed):
    random = Random(seed)
    missing, libraries = random_layout(random, tmp_path)
    libraries = libraries if random.random() < 0.7 else []
    rules = propose_rules(missing, libraries, [tmp_path])
    for rule in rules:
        found = [
            check_file(file, rules).is_readable
            for file in missing
            if rule_for(file.path, rules) == rule
        ]
        assert found.count(True) >= max(1, 0.75 * len(found))


@pytest.mark.parametrize("folder", ["/data", "D:\\sport", "\\\\nas\\sport"])
def test_without_libraries_a_rule_is_as_wide_as_the_files_prove(tmp_path, folder):
    make(tmp_path / "sport", GAMES)
    expected = "D:\\" if folder[0] == "D" else folder
    target = tmp_path if folder[0] == "D" else tmp_path / "sport"
    assert propose_rules(known(folder, GAMES), [], [tmp_path]) == ((expected, str(target)),)


# --- proof ---


@pytest.mark.parametrize(
    "here",
    [
        {},
        {f"sport/{name}": size + 1 for name, size in GAMES.items()},
        {f"sport/{name}": 0 for name in GAMES},
        {
            f"sport/{number}/{Path(name).name}": size
            for number, (name, size) in enumerate(GAMES.items())
        },
    ],
    ids=["nothing", "other sizes", "empty files", "file names only"],
)
@pytest.mark.parametrize("library", ["/data", "D:\\sport", "\\\\nas\\sport"])
def test_without_proof_nothing_is_proposed(tmp_path, here, library):
    make(tmp_path, here)
    assert propose_rules(known(library, GAMES), [library], [tmp_path]) == ()


def test_one_file_alone_needs_the_name_of_its_folder(tmp_path):
    make(tmp_path, {"sport/Goal.mp4": 700})
    assert propose_rules([KnownFile("/data/Goal.mp4", 700)], ["/data"], [tmp_path]) == ()
    assert propose_rules([KnownFile("/sport/Goal.mp4", 700)], ["/sport"], [tmp_path]) == (
        ("/sport", str(tmp_path / "sport")),
    )


def test_pictures_of_one_zip_are_one_proof(tmp_path):
    make(tmp_path, {"sport/Goals.zip": 700})
    assert propose_rules([KnownFile("/data/Goals.zip", 700)] * 5, ["/data"], [tmp_path]) == ()


def test_files_of_unknown_size_prove_nothing(tmp_path):
    make(tmp_path, GAMES)
    unknown = known("/data", dict.fromkeys(GAMES, 0))
    assert propose_rules(unknown, ["/data"], [tmp_path]) == ()


def test_a_few_deleted_files_are_no_obstacle(tmp_path):
    make(tmp_path / "nas", GAMES)
    missing = [*known("/data", GAMES), KnownFile("/data/finals/Deleted.mp4", 5)]
    assert propose_rules(missing, ["/data"], [tmp_path]) == (("/data", str(tmp_path / "nas")),)
    missing += [KnownFile(f"/data/finals/Deleted {number}.mp4", 5) for number in range(5)]
    assert ("/data", str(tmp_path / "nas")) not in propose_rules(missing, ["/data"], [tmp_path])


def test_a_library_without_proof_is_under_no_rule(tmp_path):
    make(tmp_path / "nas/sport", GAMES)
    make(tmp_path / "nas/film", FILMS)
    libraries = ["/data/sport", "/data/film", "/data/plays"]
    lost = known("/data/plays", {"Corner kick.mp4": 900, "Penalty.mp4": 901})
    missing = [*known("/data/sport", GAMES), *known("/data/film", FILMS), *lost]
    rules = propose_rules(missing, libraries, [tmp_path])
    assert {folder for folder, _ in rules} == {"/data/sport", "/data/film"}


def test_a_folder_in_a_library_needs_full_proof(tmp_path):
    """A backup has what was deleted from there, and lacks the files that were not sampled."""
    make(tmp_path / "nas", GAMES | {"cup/Penalty.mp4": 600})
    make(tmp_path / "nas/backup/of", {"cup/Deleted.mp4": 5, "cup/Foul.mp4": 6, "cup/Goal.mp4": 7})
    lost = known("/data", {"cup/Deleted.mp4": 5})
    expected = (("/data", str(tmp_path / "nas")),)
    assert propose_rules([*known("/data", GAMES), *lost], ["/data"], [tmp_path]) == expected
    lost += known("/data", {"cup/Foul.mp4": 6, "cup/Goal.mp4": 7, "cup/Gone.mp4": 8})
    more = known("/data", {f"{name}/{name}.mp4": 50 for name in "abcdefghijk"})
    make(tmp_path / "nas", {f"{name}/{name}.mp4": 50 for name in "abcdefghijk"})
    missing = [*known("/data", GAMES), *more, *lost]
    assert propose_rules(missing, ["/data"], [tmp_path]) == expected


def test_rules_are_few_whatever_is_scattered(tmp_path):
    missing = []
    for number in range(20):
        files = {f"{number}/Goal.mp4": number + 1, f"{number}/Foul.mp4": number + 2}
        make(tmp_path / f"{number}-{number}", files)
        missing += known("/data", files)
    assert len(propose_rules(missing, ["/data"], [tmp_path])) == 8


# --- copies ---


def test_two_equal_copies_decide_nothing(tmp_path):
    make(tmp_path / "one/sport", GAMES)
    make(tmp_path / "two/sport", GAMES)
    assert propose_rules(known("/data/sport", GAMES), ["/data/sport"], [tmp_path]) == ()


def test_a_backup_with_fewer_files_is_left_alone(tmp_path):
    make(tmp_path / "backup", dict(list(GAMES.items())[:-1]))
    make(tmp_path / "mnt/nas/sport", GAMES)
    rules = propose_rules(known("/data", GAMES), ["/data"], [tmp_path])
    assert rules == (("/data", str(tmp_path / "mnt/nas/sport")),)


def test_of_equal_copies_the_less_deep_is_taken(tmp_path):
    make(tmp_path / "nas/sport", GAMES)
    make(tmp_path / "nas/backup/sport", GAMES)
    rules = propose_rules(known("/data/sport", GAMES), ["/data/sport"], [tmp_path])
    assert rules == (("/data/sport", str(tmp_path / "nas/sport")),)


def test_one_folder_under_two_paths_is_no_copy(tmp_path):
    make(tmp_path / "nas/sport", GAMES)
    (tmp_path / "media").mkdir()
    (tmp_path / "media/sport").symlink_to(tmp_path / "nas/sport")
    roots = [tmp_path / "nas", tmp_path / "media"]
    rules = propose_rules(known("/data/sport", GAMES), ["/data/sport"], roots)
    assert are_readable(known("/data/sport", GAMES), rules)
    assert len(rules) == 1


# --- what works already ---


def test_a_readable_file_stays_readable(tmp_path):
    """The library is here, and one folder of it is elsewhere, beside a copy of little else."""
    library = str(tmp_path / "data")
    make(tmp_path / "data", GAMES)
    make(tmp_path / "nas/film", FILMS)
    readable, missing = known(library, GAMES), known(f"{library}/film", FILMS)
    rules = propose_rules(missing, [library], [tmp_path / "nas"], readable=readable)
    assert rules == ((f"{library}/film", str(tmp_path / "nas/film")),)
    assert are_readable([*readable, *missing], rules)


def test_libraries_are_not_merged_over_one_that_is_here(tmp_path):
    here = str(tmp_path / "data")
    make(tmp_path / "data/plays", {"Penalty.mp4": 5})
    make(tmp_path / "nas/sport", GAMES)
    make(tmp_path / "nas/film", FILMS)
    missing = [*known(f"{here}/sport", GAMES), *known(f"{here}/film", FILMS)]
    libraries = [f"{here}/{name}" for name in ("sport", "film", "plays")]
    rules = propose_rules(missing, libraries, [tmp_path / "nas"])
    assert {folder for folder, _ in rules} == {*libraries[:2]}
    assert are_readable([*missing, KnownFile(f"{here}/plays/Penalty.mp4", 5)], rules)


def test_what_lies_unsampled_in_the_folder_here_is_not_hidden(tmp_path):
    library = str(tmp_path / "data")
    make(tmp_path / "data/plays", {"Penalty.mp4": 5})
    make(tmp_path / "nas", GAMES)
    missing = known(library, GAMES)
    for libraries in ([library], []):
        rules = propose_rules(missing, libraries, [tmp_path / "nas"])
        assert {folder for folder, _ in rules} == {f"{library}/finals", f"{library}/league"}
    make(tmp_path / "nas/plays", {"Corner kick.mp4": 6})
    make(tmp_path / "data/lost+found", {"1": 1})
    (alone,) = propose_rules(missing, [library], [tmp_path / "nas"])
    assert alone == (library, str(tmp_path / "nas"))
    readable = known(library, {"plays/Penalty.mp4": 5})
    rules = propose_rules(missing, [library], [tmp_path / "nas"], readable=readable)
    assert {folder for folder, _ in rules} == {f"{library}/finals", f"{library}/league"}


def test_a_working_rule_is_not_replaced_by_a_fuller_copy(tmp_path):
    make(tmp_path / "old/plays", {"Penalty.mp4": 5})
    for folder, files in {"plays": {"Penalty.mp4": 5}, "sport": GAMES, "film": FILMS}.items():
        make(tmp_path / "nas" / folder, files)
    now = (("/data", str(tmp_path / "old")),)
    readable = known("/data/plays", {"Penalty.mp4": 5})
    missing = [*known("/data/sport", GAMES), *known("/data/film", FILMS)]
    libraries = ["/data/plays", "/data/sport", "/data/film"]
    rules = propose_rules(missing, libraries, [tmp_path / "nas"], readable=readable, rules=now)
    expected = [(f"/data/{name}", str(tmp_path / "nas" / name)) for name in ("film", "sport")]
    assert rules == (*expected, *now)


def test_a_rule_goes_before_a_longer_one_that_works(tmp_path):
    """The library is elsewhere as a whole, and its folder here holds only some of the files."""
    make(tmp_path / "here", {"Cup final.mp4": 700})
    make(tmp_path / "nas", GAMES)
    now = (("/data/finals", str(tmp_path / "here")),)
    readable, *missing = known("/data", GAMES)
    missing.append(KnownFile("/data/finals/extra/Penalty.mp4", 600))
    make(tmp_path / "nas/finals/extra", {"Penalty.mp4": 600})
    rules = propose_rules(missing, ["/data"], [tmp_path / "nas"], readable=[readable], rules=now)
    assert now[0] in rules
    assert are_readable([readable, missing[-1], missing[1]], rules)


def test_no_folder_has_two_rules(tmp_path):
    make(tmp_path / "nas", GAMES)
    now = (("/data", "/x"), ("/data/league", "/y"), ("/data/finals", "/z"))
    missing = known("/data", {name: size for name, size in GAMES.items() if "/" in name})
    rules = propose_rules(missing, ["/data"], [tmp_path], rules=now)
    assert rules == (("/data", str(tmp_path / "nas")),)


def test_rules_that_work_stay_and_come_along(tmp_path):
    make(tmp_path / "nas/sport", GAMES)
    make(tmp_path / "srv/film", FILMS)
    now = (("/data", str(tmp_path / "nas")), ("/elsewhere", "/mnt/elsewhere"))
    readable, missing = known("/data/sport", GAMES), known("/data/film", FILMS)
    libraries = ["/data"]
    rules = propose_rules(missing, libraries, [tmp_path], readable=readable, rules=now)
    assert rules == (("/data/film", str(tmp_path / "srv/film")), *now)
    assert are_readable([*readable, *missing], rules)


@pytest.mark.parametrize("wrong", ["/data", "/data/league", "/data/"])
def test_a_rule_that_leads_nowhere_is_replaced(tmp_path, wrong):
    make(tmp_path / "nas", GAMES)
    now = ((wrong, "/mnt/nowhere"), ("/pics", "/mnt/pics"))
    rules = propose_rules(known("/data", GAMES), ["/data"], [tmp_path], rules=now)
    assert rules == (("/data", str(tmp_path / "nas")), ("/pics", "/mnt/pics"))
    assert are_readable(known("/data", GAMES), rules)


def test_rules_of_now_are_no_proposal(tmp_path):
    now = (("/data", str(tmp_path)),)
    assert propose_rules(known("/data", GAMES), ["/data"], [tmp_path], rules=now) == ()


# --- odd disks ---


def test_folders_that_cannot_be_read_are_skipped(public):
    make(public / "secret/sport", GAMES)
    make(public / "nas/deep/sport", GAMES)
    (public / "secret").chmod(0)
    with as_somebody_without_rights():
        rules = propose_rules(known("/data", GAMES), ["/data"], [public])
    (public / "secret").chmod(0o755)
    assert rules == (("/data", str(public / "nas/deep/sport")),)


def test_files_that_may_not_be_read_need_no_other_path(public):
    make(public / "sport", GAMES)
    for name in GAMES:
        (public / "sport" / name).chmod(0)
    library = str(public / "sport")
    with as_somebody_without_rights():
        assert propose_rules(known(library, GAMES), [library], [public]) == ()
        assert propose_rules(known("/data/sport", GAMES), ["/data/sport"], [public]) == ()


def test_files_that_can_be_read_after_all_need_no_rule(tmp_path):
    make(tmp_path, GAMES)
    library = str(tmp_path)
    assert propose_rules(known(library, GAMES), [library], [tmp_path]) == ()


def test_links_in_a_circle_end_and_hide_nothing(tmp_path):
    make(tmp_path / "nas/video", GAMES)
    (tmp_path / "nas/video/around").symlink_to(tmp_path)
    (tmp_path / "nas/itself").symlink_to(tmp_path / "nas/itself")
    (tmp_path / "nas/nowhere").symlink_to(tmp_path / "no such folder")
    rules = propose_rules(known("/data", GAMES), ["/data"], [tmp_path])
    assert rules == (("/data", str(tmp_path / "nas/video")),)


def test_no_folder_is_searched_twice(tmp_path):
    make(tmp_path / "nas/video", {"Goal.mp4": 7})
    (tmp_path / "a link").symlink_to(tmp_path / "nas/video")
    (tmp_path / "nas/video/around").symlink_to(tmp_path)
    roots = [tmp_path, tmp_path / "nas"]
    found = find_files({"goal.mp4": {7}}, (), roots[:1], 5.0)
    assert found == {("goal.mp4", 7): [tmp_path / "nas/video/Goal.mp4"]}
    (tmp_path / "a link").unlink()
    (tmp_path / "nas/video/around").unlink()
    assert find_files({"goal.mp4": {7}}, (), roots, 5.0) == found


def test_hidden_folders_and_those_of_the_system_do_not_count(tmp_path):
    for folder in ("nas", ".Trash", "$RECYCLE.BIN", "@eaDir"):
        make(tmp_path / folder / "sport", GAMES)
    rules = propose_rules(known("/data/sport", GAMES), ["/data/sport"], [tmp_path])
    assert rules == (("/data/sport", str(tmp_path / "nas/sport")),)


def test_depth_is_bounded_except_under_the_names_of_stash(tmp_path):
    deep = "/".join(f"level {number}" for number in range(10))
    make(tmp_path / deep, {"Goal.mp4": 7, "Foul.mp4": 8})
    missing = known(f"/data/{deep}", {"Goal.mp4": 7, "Foul.mp4": 8})
    assert propose_rules(missing, ["/data"], [tmp_path]) == (("/data", str(tmp_path)),)
    assert propose_rules(known("/data", {"Goal.mp4": 7, "Foul.mp4": 8}), [], [tmp_path]) == ()


def test_a_library_behind_a_link_is_found(tmp_path):
    make(tmp_path / "disk/sport", GAMES)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/video").symlink_to(tmp_path / "disk")
    rules = propose_rules(known("/data/sport", GAMES), ["/data/sport"], [tmp_path / "root"])
    assert rules == (("/data/sport", str(tmp_path / "root/video/sport")),)


def test_a_name_that_no_setting_can_hold_is_left_out(tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    make(Path(odd), GAMES)
    assert propose_rules(known("/data", GAMES), ["/data"], [tmp_path]) == ()


def test_a_huge_tree_ends_in_time_with_what_names_led_to(tmp_path):
    for first in range(60):
        for second in range(50):
            (tmp_path / f"{first}/{second}").mkdir(parents=True)
    make(tmp_path / "zz/league/2024", {"Foul.mp4": 702})
    make(tmp_path / "zz/finals", {"Cup final.mp4": 700})
    missing = known("/data", {"league/2024/Foul.mp4": 702, "finals/Cup final.mp4": 700})
    assert propose_rules(missing, ["/data"], [tmp_path], 0.0) == ()
    assert propose_rules(missing, ["/data"], [tmp_path]) == (("/data", str(tmp_path / "zz")),)


def test_a_disk_that_hangs_does_not_hold_up_the_others(tmp_path, monkeypatch):
    make(tmp_path / "nas", GAMES)
    real = os.scandir

    def scandir(folder):
        if str(folder).endswith("dead"):
            time.sleep(1.5)
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    (tmp_path / "dead").mkdir()
    roots = [tmp_path / "dead", tmp_path / "nas"]
    rules = propose_rules(known("/data", GAMES), ["/data"], roots, 0.5)
    assert rules == (("/data", str(tmp_path / "nas")),)


def test_the_default_roots_are_none_of_the_systems():
    roots = default_roots()
    assert Path.home() in roots
    assert Path("/") not in roots
    assert not {root.parts[1] for root in roots} & {"proc", "sys", "dev", "usr", "etc", "boot"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems list mounts in other ways")
def test_disks_and_shares_are_roots_and_the_systems_are_not(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\ntmpfs /ram tmpfs rw 0 0\n"
        "//nas/v /srv/my\\040video cifs rw 0 0\n/dev/sdb1 /run/media/fan/usb exfat rw 0 0\n"
        "/dev/sda2 /boot vfat rw 0 0\nnas:/v /Übung nfs4 rw 0 0\nrclone: /cloud fuse.rclone rw 0 0\n",
        encoding="utf-8",
    )
    added = {*default_roots(mounts)} - {*default_roots(tmp_path / "no such list")}
    assert added == {
        Path(place) for place in ("/srv/my video", "/run/media/fan/usb", "/Übung", "/cloud")
    }


# --- words ---


@pytest.mark.parametrize(
    "rules",
    [
        (("/data", "/mnt/nas"), ("D:\\Media", "/mnt/media"), ("\\\\nas\\x, y", "//nas/z")),
        (("/data; old", "/mnt/a => b"), ("/pics", '/mnt/"pics"')),
    ],
)
def test_the_described_rules_can_be_pasted_into_the_setting(rules):
    assert load(page={"mediaPaths": describe_rules(rules)}).path_mutation == rules


def test_rules_read_as_a_person_writes_them():
    rules = [("/data", "/mnt/nas"), ("D:\\Media", "/mnt/media")]
    assert describe_rules(rules) == "/data => /mnt/nas; D:\\Media => /mnt/media"
