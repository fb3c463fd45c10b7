"""Whatever Stash makes of the names in a zip: what it shows finds the very file that it means."""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import Any

from PIL import Image

from sandbox.real_stash import RealStash
from sandbox.stills import saved
from tests.pictures.bad_files import zipped_raw
from vlm_engine.pictures.zips import ZipReader
from vlm_engine.types import ZipEntry

NAMES = {
    "cp437": ("Höhepunkte/Überzahl.png", "Höhepunkte/Größe.png", "Fußball.png"),
    "cp1252": (
        "Höhepunkte/Überzahl – für alle.png",
        "Höhepunkte/Größe.png",
        "Fußball spielen können müssen.png",
    ),
    "cp932": (
        "試合/ゴールが決まった瞬間.png",
        "試合/反則の判定について.png",
        "選手の写真と記録.png",
    ),
    "gb18030": ("比赛/进球的精彩瞬间.png", "比赛/裁判的判罚决定.png", "运动员的照片和记录.png"),
    "big5": ("比賽/進球的精彩瞬間.png", "比賽/裁判的判罰決定.png", "運動員的照片和記錄.png"),
    "euc_kr": (
        "경기/골이 들어간 순간.png",
        "경기/심판의 판정에 대하여.png",
        "선수의 사진과 기록.png",
    ),
    "cp1251": (
        "матч/гол в ворота соперника.png",
        "матч/решение судьи.png",
        "фотография игрока команды.png",
    ),
    "koi8_r": (
        "матч/гол в ворота соперника.png",
        "матч/решение судьи.png",
        "фотография игрока команды.png",
    ),
    "utf-8": ("Höhepunkte/試合.png", "матч/골.png", "Fußball – Überzahl.png"),
}
ODD = {
    b"../climbing.png": 1,
    b"/absolute.png": 2,
    b"back\\slash.png": 3,
    b"./dot.png": 4,
    b"a//b.png": 5,
}

IMAGES = """{ findImages(filter: {per_page: -1}) { images { visual_files {
  ... on ImageFile { path zip_file { path } fingerprints { type value } } } } } }"""


def test_every_name_that_stash_shows_finds_its_file(binary, tmp_path):
    pictures = iter(
        saved(Image.new("RGB", (64, 64), (number, 40, 40)), "PNG") for number in range(255)
    )
    zips = {
        f"{encoding}.zip": zipped_raw({name.encode(encoding): next(pictures) for name in names})
        for encoding, names in NAMES.items()
    }
    zips["flagged.zip"] = zipped_raw(
        {name.encode(): next(pictures) for name in NAMES["cp1252"]}, utf8=True
    )
    zips["odd.zip"] = zipped_raw({name: next(pictures) for name in ODD})
    with RealStash(binary, tmp_path / "stash") as stash, closing(ZipReader()) as reader:
        for name, content in zips.items():
            (stash.media / name).write_bytes(content)
        stash.scan()
        images = stash.ask(IMAGES)["findImages"]["images"]
        files: list[dict[str, Any]] = [file for image in images for file in image["visual_files"]]
        assert len(files) >= 3 * (len(NAMES) + 1) + 4  # a name with a backslash it leaves out
        for file in files:
            archive = file["zip_file"]["path"]
            entry = ZipEntry(archive, file["path"].removeprefix(archive + "/"))
            [md5] = [print_["value"] for print_ in file["fingerprints"] if print_["type"] == "md5"]
            assert hashlib.md5(reader.read(entry)).hexdigest() == md5, entry
