import os

import pytest

from haven.setup import SetupError
from haven.setup.paths import default_data_dir


def test_the_data_folder_is_beside_stashs_configuration(tmp_path, monkeypatch):
    monkeypatch.delenv("HAVEN_VLM_DATA_DIR", raising=False)
    folder = default_data_dir(str(tmp_path / "stash häuser"))
    assert folder == tmp_path / "stash häuser" / "haven_vlm_connector"
    assert list(folder.iterdir()) == []


def test_the_environment_names_another(tmp_path, monkeypatch):
    monkeypatch.setenv("HAVEN_VLM_DATA_DIR", str(tmp_path / "mine"))
    assert default_data_dir(str(tmp_path)) == tmp_path / "mine"
    assert default_data_dir(None).is_dir()


@pytest.mark.skipif(os.name != "posix", reason="the variables are those of a desktop on Linux")
def test_without_stash_it_is_where_the_user_keeps_data(tmp_path, monkeypatch):
    monkeypatch.delenv("HAVEN_VLM_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = default_data_dir(None)
    assert folder.is_relative_to(tmp_path)
    assert folder.name == "haven_vlm_connector"


def test_a_folder_that_cannot_be_written_names_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HAVEN_VLM_DATA_DIR", str(tmp_path / "file" / "data"))
    with pytest.raises(SetupError, match=r"Nothing can be written to .*data .*HAVEN_VLM_DATA_DIR"):
        default_data_dir(None)
