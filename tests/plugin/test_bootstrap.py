"""The packages are installed by real processes, from a real wheel that is made here."""

import contextlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from haven.setup import SetupError
from haven.setup.bootstrap import PINNED, ensure_dependencies
from haven.setup.requirements import Requirement, lacking, read_requirements

ROOT = Path(__file__).parents[2]
LIMIT_S = 120
SENT = b'{"args": {"mode": "tag_videos"}, "note": "\xc3\xa9"}'
WHEEL = "haven_tiny_foul-1.3.0-py3-none-any.whl"
MAIN = """
import json, logging, os, sys
from pathlib import Path
sys.path.insert(1, {root!r})
from haven_vlm_utility import SetupError, StashLogHandler, ensure_dependencies
logging.basicConfig(level=logging.INFO, handlers=[StashLogHandler()])
sent = sys.stdin.buffer.read()
options = {{"may_reexecute": False}} if "--stay" in sys.argv else {{}}
try:
    ensure_dependencies(Path(__file__).parent, Path(sys.argv[1]), stdin=sent, **options)
except SetupError as error:
    print(json.dumps({{"error": str(error)}}))
    raise SystemExit(3)
import haven_tiny_foul
print(json.dumps({{"whistles": haven_tiny_foul.WHISTLES, "from": haven_tiny_foul.__file__, "pid": os.getpid(),
                   "sent": sent.decode(), "argv": sys.argv[1:], "prefix": sys.prefix}}))
"""


def make_wheel(folder: Path, code: str = "WHISTLES = 3\n") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    info = "haven_tiny_foul-1.3.0.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("haven_tiny_foul/__init__.py", code)
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: haven-tiny-foul\nVersion: 1.3.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(
            f"{info}/RECORD",
            f"haven_tiny_foul/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
        )


@dataclass
class House:
    """A plugin folder, its data folder, and the environment that its processes get."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    data_name: str = "the data"

    @classmethod
    def make(cls, folder: Path) -> "House":
        house = cls(folder)
        house.plugin.mkdir(parents=True)
        house.data.mkdir()
        (house.plugin / "requirements.txt").write_text(
            "# what is needed\nhaven-tiny-foul>=1.2,<2  # for whistles\n"
        )
        (house.plugin / "main.py").write_text(MAIN.format(root=str(ROOT)))
        make_wheel(folder / "wheels")
        kept = {
            name: os.environ[name]
            for name in ("PATH", "SYSTEMROOT", "TMPDIR", "LD_LIBRARY_PATH")
            if name in os.environ
        }
        house.env = kept | {
            "HOME": str(folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": (folder / "wheels").as_uri(),
            "PIP_RETRIES": "0",
        }
        return house

    @property
    def plugin(self) -> Path:
        return self.folder / "plugins" / "Häven plugin"

    @property
    def data(self) -> Path:
        return self.folder / self.data_name

    def without(self, *modules: str) -> "House":
        """Its Python then lacks these modules, as those of Linux distributions do."""
        blind = self.folder / "blind"
        blind.mkdir()
        (blind / "sitecustomize.py").write_text(
            "import sys\n" + "".join(f"sys.modules[{m!r}] = None\n" for m in modules)
        )
        self.env["PYTHONPATH"] = str(blind)
        return self

    def start(self, *options: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(self.plugin / "main.py"), str(self.data), *options]
        pipe = subprocess.PIPE
        child = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=self.env, cwd=self.folder
        )
        assert child.stdin
        child.stdin.write(SENT)
        child.stdin.close()
        child.stdin = None
        return child

    def run(self, *options: str) -> "Result":
        return finish(self.start(*options))

    def environments(self) -> list[Path]:
        return [folder for folder in (self.data / "python").iterdir() if folder.is_dir()]


@dataclass
class Result:
    status: int
    said: dict[str, object]
    log: str
    pid: int


def finish(child: "subprocess.Popen[bytes]") -> Result:
    try:
        out, err = child.communicate(timeout=LIMIT_S)
    finally:
        if child.poll() is None:
            child.kill()
    assert out, err.decode()
    return Result(child.returncode, json.loads(out), err.decode(), child.pid)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[House, Result]:
    house = House.make(tmp_path_factory.mktemp("Sport häuser"))
    return house, house.run("Free throw", "--flag")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.make(tmp_path)


@pytest.fixture
def plain(house: House) -> House:
    """A house whose Python cannot make virtual environments but has pip."""
    return house.without("ensurepip")


class Index(http.server.ThreadingHTTPServer):
    """A package index on loopback that answers nothing until it is released."""

    daemon_threads = True

    def __init__(self, wheels: Path) -> None:
        self.requested = threading.Event()
        self.released = threading.Event()
        self.wheels = wheels
        super().__init__(("127.0.0.1", 0), Page)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        index = self.server
        assert isinstance(index, Index)
        index.requested.set()
        index.released.wait(LIMIT_S)
        is_wheel = self.path.endswith(WHEEL)
        body = (
            (index.wheels / WHEEL).read_bytes()
            if is_wheel
            else f'<a href="/{WHEEL}">{WHEEL}</a>'.encode()
        )
        with contextlib.suppress(OSError):
            self.send_response(200)
            self.send_header(
                "Content-Type", "application/octet-stream" if is_wheel else "text/html"
            )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def index(plain: House):
    with Index(plain.folder / "wheels") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join(LIMIT_S)


def use_index(house: House, index: Index) -> None:
    del house.env["PIP_NO_INDEX"], house.env["PIP_FIND_LINKS"]
    house.env["PIP_INDEX_URL"] = f"http://127.0.0.1:{index.server_port}/simple/"


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def until(happens, limit_s: float = 30) -> bool:
    give_up_s = time.monotonic() + limit_s
    while not happens():
        if time.monotonic() > give_up_s:
            return False
        time.sleep(0.02)
    return True


# --- a virtual environment ---


def test_continues_in_a_built_environment_with_the_same_input(
    built: tuple[House, Result],
) -> None:
    house, first = built
    assert first.said["whistles"] == 3
    assert first.said["sent"] == SENT.decode()
    assert first.said["argv"] == [str(house.data), "Free throw", "--flag"]
    assert str(first.said["prefix"]).startswith(str(house.data))
    assert f"\x01i\x02Getting {WHEEL}" in first.log


@pytest.mark.skipif(os.name != "posix", reason="only there a process can be replaced")
def test_stays_the_process_that_stash_can_stop(built: tuple[House, Result]) -> None:
    assert built[1].said["pid"] == built[1].pid


def test_builds_it_once(built: tuple[House, Result]) -> None:
    house, _ = built
    again = house.run()
    assert again.said["whistles"] == 3
    assert again.log == ""


def test_a_process_that_stays_imports_from_the_environment(
    built: tuple[House, Result],
) -> None:
    house, _ = built
    stayed = house.run("--stay")
    assert stayed.said["prefix"] == sys.prefix
    assert str(stayed.said["from"]).startswith(str(house.data))


def test_removes_what_nobody_used_for_a_week_and_only_that(built: tuple[House, Result]) -> None:
    house, _ = built
    (current,) = house.environments()
    stem = current.name.rsplit("-", 1)[0]
    old, half, fresh, foreign = (
        current.with_name(name)
        for name in (f"{stem}-old", f"{stem}-half", f"{stem}-fresh", "cpython-9")
    )
    for folder in (old, half, fresh, foreign):
        folder.mkdir()
    for folder in (old, fresh, foreign):
        (folder / ".complete").touch()
    long_ago = time.time() - 8 * 24 * 3600
    for path in (old / ".complete", half, foreign / ".complete", current / ".complete"):
        os.utime(path, (long_ago, long_ago))
    assert house.run().status == 0
    assert not old.exists()
    assert not half.exists()
    assert {current, fresh, foreign} <= set(house.environments())
    for folder in (fresh, foreign):
        shutil.rmtree(folder)


def test_a_damaged_environment_is_reported_and_rebuilt(
    built: tuple[House, Result], tmp_path: Path
) -> None:
    house = House(tmp_path / "copy", built[0].env)
    shutil.copytree(built[0].folder, house.folder, symlinks=True)
    (environment,) = house.environments()
    for package in environment.glob("lib/*/site-packages/haven_tiny_foul*"):
        shutil.rmtree(package)
    result = house.run()
    assert result.status == 3
    assert "haven-tiny-foul>=1.2,<2 cannot be found. Start the task again" in str(
        result.said["error"]
    )
    assert not (environment / ".complete").exists()


# --- a plain folder, and what can go wrong ---


def test_without_ensurepip_the_packages_go_into_a_folder(plain: House) -> None:
    first = plain.run()
    assert first.said["whistles"] == 3
    assert first.said["prefix"] == sys.prefix
    assert str(first.said["from"]).startswith(str(plain.data))
    assert plain.run().log == ""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such folder names")
def test_without_virtual_environments_a_folder_is_used(house: House) -> None:
    house.data_name = "videos: data"  # no virtual environment may be in a folder with a colon
    house.data.mkdir()
    result = house.run()
    assert result.said["whistles"] == 3
    assert "could not make a virtual environment" in result.log


def test_without_pip_one_message_says_what_to_install(house: House) -> None:
    result = house.without("ensurepip", "pip").run()
    assert result.status == 3
    assert "has neither pip nor ensurepip" in str(result.said["error"])
    assert "Install pip" in str(result.said["error"])
    assert result.log == ""


def test_a_failed_pip_is_quoted_and_leaves_nothing_complete(plain: House) -> None:
    (plain.folder / "wheels" / WHEEL).unlink()
    result = plain.run()
    assert result.status == 3
    assert "No matching distribution found for haven-tiny-foul" in str(result.said["error"])
    assert "-m pip install -r" in str(result.said["error"])
    assert not any((folder / ".complete").exists() for folder in plain.environments())


def test_says_what_was_wrong_with_the_connection(plain: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    del plain.env["PIP_NO_INDEX"], plain.env["PIP_FIND_LINKS"]
    plain.env |= {"PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple/", "PIP_RETRIES": "1"}
    assert "Connection refused" in str(plain.run().said["error"])


def test_never_builds_from_source(plain: House) -> None:
    (plain.folder / "wheels" / WHEEL).rename(plain.folder / "wheel.zip")
    source = plain.folder / "wheels" / "haven-tiny-foul-1.3.0.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("haven-tiny-foul-1.3.0/setup.py", "open('compiled', 'w')\n")
    result = plain.run()
    assert result.status == 3
    assert not (plain.folder / "compiled").exists()


def test_a_version_that_is_too_old_does_not_count(plain: House) -> None:
    old = plain.folder / "blind"
    (old / "haven_tiny_foul.py").write_text("WHISTLES = 1\n")
    (old / "haven_tiny_foul-1.1.dist-info").mkdir()
    (old / "haven_tiny_foul-1.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: haven-tiny-foul\nVersion: 1.1\n"
    )
    assert plain.run().said["whistles"] == 3


def test_what_can_be_imported_already_is_left_alone(house: House) -> None:
    there = house.folder / "there"
    with zipfile.ZipFile(house.folder / "wheels" / WHEEL) as wheel:
        wheel.extractall(there)
    house.env["PYTHONPATH"] = str(there)
    result = house.run()
    assert str(result.said["from"]).startswith(str(there))
    assert result.log == ""
    assert list(house.data.iterdir()) == []


@pytest.mark.skipif(
    sys.platform != "linux", reason="only there the kernel ends children with their parent"
)
def test_a_task_killed_while_installing_leaves_no_process(plain: House, index: Index) -> None:
    before = dict(plain.env)
    use_index(plain, index)
    task = plain.start()
    assert index.requested.wait(LIMIT_S)
    pips = children_of(task.pid)
    assert pips
    task.kill()
    task.communicate(timeout=LIMIT_S)
    assert until(lambda: not any(runs(pip) for pip in pips))
    (half,) = plain.environments()
    (half / "left over").write_text("")
    plain.env = before
    again = plain.run()
    assert again.said["whistles"] == 3
    assert "installed only in part" in again.log
    assert [folder.name for folder in plain.environments()] == [half.name]
    assert not (half / "left over").exists()


def test_two_tasks_at_once_install_once(plain: House, index: Index) -> None:
    use_index(plain, index)
    first = plain.start()
    assert index.requested.wait(LIMIT_S)
    second = plain.start()
    assert second.stderr
    assert "waiting for it" in second.stderr.readline().decode()
    index.released.set()
    results = [finish(first), finish(second)]
    assert [result.said["whistles"] for result in results] == [3, 3]
    assert ["Getting haven-tiny-foul" in result.log for result in results] == [True, False]


def test_refuses_a_data_folder_inside_the_plugin(house: House) -> None:
    with pytest.raises(SetupError, match="inside the plugin"):
        ensure_dependencies(house.plugin, house.plugin / "data")


def test_only_the_standard_library_is_needed_to_get_the_rest(house: House) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import haven_vlm_utility"
    subprocess.run([sys.executable, "-S", "-c", code], env=house.env, check=True, timeout=LIMIT_S)


# --- what the user has set for pip ---

ELSEWHERE = {
    "target": "elsewhere",
    "prefix": "elsewhere",
    "root": "elsewhere",
    "dry-run": "true",
    "user": "true",
    "require-virtualenv": "true",
    "no-deps": "true",
    "no-binary": ":all:",
    "only-final": "true",
}


def test_no_setting_of_pip_sends_the_packages_elsewhere(plain: House) -> None:
    plain.env |= {f"PIP_{key.upper().replace('-', '_')}": text for key, text in ELSEWHERE.items()}
    result = plain.run()
    assert result.said.get("whistles") == 3, result.said
    assert str(result.said["from"]).startswith(str(plain.data))
    assert not (plain.folder / "elsewhere").exists()
    assert plain.run().log == ""


def test_of_the_files_of_pip_only_what_reaches_packages_counts(house: House) -> None:
    """In a virtual environment, with everything in the file of the user's, the index too."""
    places = {
        "no-index": "true",
        "find-links": f"\n    {house.env.pop('PIP_FIND_LINKS')}\n    {house.folder.as_uri()}",
    }
    del house.env["PIP_NO_INDEX"]
    lines = ["[global]", *(f"{key} = {value}" for key, value in places.items()), "[install]"]
    lines += [f"{key} = {value}" for key, value in ELSEWHERE.items() if key != "only-final"]
    (house.folder / "pip.conf").write_text("\n".join(lines))
    house.env["PIP_CONFIG_FILE"] = str(house.folder / "pip.conf")
    result = house.run()
    assert result.said.get("whistles") == 3, result.said
    assert str(result.said["from"]).startswith(str(house.data))


@pytest.mark.parametrize("makes_venv", [True, False])
def test_what_cannot_be_imported_is_not_taken_for_complete(house: House, makes_venv: bool) -> None:
    if not makes_venv:
        house.without("ensurepip")
    make_wheel(house.folder / "wheels", "raise ImportError('libwhistle.so is missing')\n")
    for _ in range(2):
        result = house.run()
        assert result.status == 3
        assert "cannot be imported from there: ImportError: libwhistle.so is missing" in str(
            result.said["error"]
        )
    assert not any((folder / ".complete").exists() for folder in house.environments())
    make_wheel(house.folder / "wheels")
    assert house.run().said["whistles"] == 3


# --- PythonDepManager ---


def add_dep_manager(house: House, body: str) -> Path:
    """A stand-in that notes what it was asked for, and then does ``body``. Its ``git`` is one
    that does nothing.
    """
    plugins = house.folder / "plugins"
    (plugins / "PythonDepManager").mkdir()
    requested = house.folder / "asked.txt"
    lines = [
        "import sys",
        "def ensure_import(*wanted):",
        f"    print(*wanted, file=open({str(requested)!r}, 'a'))",
        f"    {body}",
    ]
    (plugins / "PythonDepManager" / "__init__.py").write_text("\n".join(lines) + "\n")
    (house.folder / "bin").mkdir()
    git = house.folder / "bin" / ("git.exe" if os.name == "nt" else "git")
    git.write_text("#!/bin/sh\n")
    git.chmod(0o755)
    house.env["PATH"] = str(git.parent) + os.pathsep + house.env["PATH"]
    house.env["PYTHONPATH"] = os.pathsep.join([str(plugins), house.env["PYTHONPATH"]])
    return requested


def test_uses_dep_manager_where_it_is_there_and_asks_it_once(plain: House) -> None:
    given = plain.folder / "given"
    with zipfile.ZipFile(plain.folder / "wheels" / WHEEL) as wheel:
        wheel.extractall(given)
    requested = add_dep_manager(plain, f"sys.path.insert(0, {str(given)!r})")
    for _ in range(2):
        assert str(plain.run().said["from"]).startswith(str(given))
    assert requested.read_text() == "haven_tiny_foul:haven-tiny-foul\n"


@pytest.mark.parametrize("body", ["raise SystemExit('no, says it')", "print('no, says it')"])
def test_if_dep_manager_fails_the_plugin_installs_itself(plain: House, body: str) -> None:
    requested = add_dep_manager(plain, body)
    result = plain.run()
    assert requested.exists()
    assert str(result.said["from"]).startswith(str(plain.data))
    assert "PythonDepManager could not install the packages (" in result.log
    assert "no, says it" in result.log


def test_dep_manager_imports_nothing_from_the_working_folder(plain: House) -> None:
    add_dep_manager(plain, "raise SystemExit('no')")
    (plain.folder / "json.py").write_text("open('executed', 'w')\n")
    assert plain.run().said["whistles"] == 3
    assert not (plain.folder / "executed").exists()


def test_dep_manager_without_git_is_not_asked(plain: House) -> None:
    requested = add_dep_manager(plain, "pass")
    plain.env["PATH"] = str(plain.folder)
    assert plain.run().said["whistles"] == 3
    assert not requested.exists()


# --- requirements.txt ---


def test_every_real_requirement_can_be_imported() -> None:
    wanted = read_requirements(ROOT / "requirements.txt")
    assert {"av", "pillow", "pydantic", "stashapp-tools"} <= {
        requirement.name for requirement in wanted
    }
    assert lacking(wanted) == []


def test_what_dep_manager_is_asked_for_is_what_the_list_allows() -> None:
    wanted = read_requirements(ROOT / "requirements.txt")
    assert set(PINNED) == {requirement.name for requirement in wanted}
    assert [
        str(requirement)
        for requirement in wanted
        if not requirement.allows(PINNED[requirement.name])
    ] == []


@pytest.mark.parametrize(
    ("bounds", "version", "will_do"),
    [
        ((">=", "14"), "14.0.0", True),
        ((">=", "14"), "9.2", False),
        ((">=", "2.10"), "2.9.7", False),
        (("<", "20"), "20.0.0", False),
        (("<", "20"), "19.9", True),
        ((">=", "3.0"), "3.0rc1", False),
        ((">=", "3.0"), "3.0.post1", True),
        (("==", "1.2"), "1.2.0", True),
        (("!=", "1.2"), "1.2.0", False),
        ((">", "1.2"), "1.2.0", False),
        (("<=", "1.2"), "1.2", True),
    ],
)
def test_versions(bounds: tuple[str, str], version: str, will_do: bool) -> None:
    assert Requirement("whistle", (bounds,)).allows(version) is will_do


@pytest.mark.parametrize(
    "line",
    [
        "whistle @ git+https://example.com/whistle",
        "-r other.txt",
        "whistle>=one",
        "whistle; python_version<'4'",
    ],
)
def test_a_line_of_another_kind_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "requirements.txt").write_text(line)
    with pytest.raises(SetupError, match="Install the plugin again"):
        read_requirements(tmp_path / "requirements.txt")


def test_a_missing_list_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"requirements\.txt cannot be read"):
        ensure_dependencies(tmp_path, tmp_path)
