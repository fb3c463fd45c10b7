"""The check of a cluster: its workers, and why some cannot be used."""

from __future__ import annotations

from tests.cluster.clusters import settings, soon
from vlm_engine import check_cluster, checked_places
from vlm_engine.testing import SandboxVLM


async def checked(address, *files):
    async with SandboxVLM() as vlm:
        section = await check_cluster(settings(vlm, cluster=address), files)
        assert vlm.counters.requests == 0
    assert section is not None
    return section, [(one.severity.value, one.text) for one in section.findings]


async def test_each_worker_is_named_with_what_it_can_read(start, videos):
    there = start("w1", "w2", threads=3)
    await soon(lambda: all("Registered to" in there.log(name) for name in ("w1", "w2")))
    section, found = await checked(there.address, videos[0], "/nowhere/game.mp4")
    assert (section.title, section.works) == (f"Cluster {there.address}", False)
    assert found[0] == ("ok", "2 of 2 can be used")
    assert checked_places(section) == 6
    assert {text.split(" at ")[0] for _, text in found[1:]} == {"worker w1", "worker w2"}
    for severity, text in found[1:]:
        assert severity == "wrong"
        assert "takes 3 at once; 1 of 2 sampled files can be read there" in text
        assert "/nowhere/game.mp4: No such file" in text


async def test_a_worker_that_cannot_be_used_is_a_note_beside_others(start, tmp_path):
    there = start("w1")
    there.join("bare", PYTHONPATH=str(tmp_path))
    await soon(lambda: all("Registered to" in there.log(name) for name in ("w1", "bare")))
    section, found = await checked(there.address)
    assert section.works
    assert found[0] == ("ok", "1 of 2 can be used")
    (note,) = [text for severity, text in found if severity == "note"]
    assert "worker bare at" in note
    assert "it has no vlm-engine" in note


async def test_a_cluster_that_does_not_answer_is_wrong(monkeypatch):
    monkeypatch.setattr("vlm_engine.cluster.connection._CONNECT_S", 1.0)
    section, found = await checked("tcp://127.0.0.1:9")
    assert not section.works
    ((severity, text),) = found
    assert severity == "wrong"
    assert "no scheduler answers at tcp://127.0.0.1:9" in text
    assert checked_places(section) is None


async def test_there_is_nothing_to_check_without_a_cluster():
    async with SandboxVLM() as vlm:
        assert await check_cluster(settings(vlm)) is None
