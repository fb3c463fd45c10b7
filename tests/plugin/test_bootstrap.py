"""The packages are installed by real processes, from a real wheel that is made here."""

import contextlib
import errno
import hashlib
import http.server
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from haven.setup import SetupError
from haven.setup.bootstrap import ensure_dependencies
from haven.setup.pip import by_hand, explain
from haven.setup.requirements import Requirement, lacking, read_requirements

ROOT = Path(__file__).parents[2]
LIMIT_S = 400  # a virtual environment takes 5 s, and minutes on a busy machine
SENT = b'{"args": {"mode": "tag_videos"}, "note": "\xc3\xa9"}'
WHEEL = "haven_tiny_foul-1.3.0-py3-none-any.whl"
METADATA = "Metadata-Version: 2.1\nName: haven-tiny-foul\nVersion: {}\n"
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
print(json.dumps({{
    "whistles": haven_tiny_foul.WHISTLES, "from": haven_tiny_foul.__file__, "pid": os.getpid(),
    "sent": sent.decode(), "argv": sys.argv[1:], "prefix": sys.prefix,
}}))
"""

CLUSTER_MAIN = """
import json, multiprocessing, sys
from pathlib import Path
sys.path.insert(1, {root!r})
from haven.setup import SetupError
from haven.setup.bootstrap import ensure_cluster_packages

def whistles():
    import haven_tiny_foul
    return haven_tiny_foul.WHISTLES

if __name__ == "__main__":
    try:
        ensure_cluster_packages(Path(__file__).parent, Path(sys.argv[1]))
    except SetupError as error:
        print(json.dumps({{"error": str(error)}}))
        raise SystemExit(3)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(json.dumps({{"whistles": [whistles(), pool.apply(whistles)]}}))
"""


# Settings of pip that would put the packages elsewhere, or install only some of them.
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


def make_wheel(folder: Path, code: str = "WHISTLES = 3\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    info = "haven_tiny_foul-1.3.0.dist-info"
    contents = {
        "haven_tiny_foul/__init__.py": code,
        f"{info}/METADATA": METADATA.format("1.3.0"),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*contents, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        for name, content in contents.items():
            wheel.writestr(name, content)
    return folder / WHEEL


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
        house.release()
        kept = {
            name: os.environ[name]
            for name in ("PATH", "SYSTEMROOT", "TMPDIR", "LD_LIBRARY_PATH")
            if name in os.environ
        }
        house.env = kept | {
            "HOME": str(folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": house.wheels.as_uri(),
            "PIP_RETRIES": "0",
        }
        return house

    @property
    def plugin(self) -> Path:
        return self.folder / "plugins" / "Häven plugin"

    @property
    def wheels(self) -> Path:
        return self.folder / "index" / "haven-tiny-foul"

    @property
    def data(self) -> Path:
        return self.folder / self.data_name

    def release(self, code: str = "WHISTLES = 3\n", wheel: str = WHEEL) -> None:
        """Put a wheel into the index, and the lock file that has its hash into the plugin."""
        digest = hashlib.sha256(make_wheel(self.wheels, code).read_bytes()).hexdigest()
        lock = f"# {wheel}\nhaven-tiny-foul==1.3.0 \\\n    --hash=sha256:{digest}\n"
        (self.plugin / "requirements.lock").write_text(lock)

    def without(self, *modules: str) -> "House":
        """Its Python then lacks these modules, as those of Linux distributions do."""
        blind = self.folder / "blind"
        blind.mkdir()
        (blind / "sitecustomize.py").write_text(
            "import sys\n" + "".join(f"sys.modules[{m!r}] = None\n" for m in modules)
        )
        self.env["PYTHONPATH"] = str(blind)
        return self

    def unpacked(self) -> Path:
        """Return a folder from which the package can be imported."""
        with zipfile.ZipFile(self.wheels / WHEEL) as wheel:
            wheel.extractall(self.folder / "unpacked")
        return self.folder / "unpacked"

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

    def use_index(self, port: int) -> None:
        del self.env["PIP_NO_INDEX"], self.env["PIP_FIND_LINKS"]
        self.env["PIP_INDEX_URL"] = f"http://127.0.0.1:{port}/"

    def environments(self) -> list[Path]:
        return [path for path in (self.data / "python").glob("*") if path.is_dir()]

    def has_complete(self) -> bool:
        return any((folder / ".complete").exists() for folder in self.environments())


@dataclass
class Result:
    status: int
    said: dict[str, Any]
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
    """A virtual environment, built with all of pip's settings in the user's file."""
    house = House.make(tmp_path_factory.mktemp("Sport häuser"))
    del house.env["PIP_NO_INDEX"]
    lines = [
        "[global]",
        "no-index = true",
        "find-links =",
        f"    {house.env.pop('PIP_FIND_LINKS')}",
    ]
    lines += [f"    {house.folder.as_uri()}", "[install]"]
    lines += [f"{key} = {value}" for key, value in ELSEWHERE.items() if key != "only-final"]
    (house.folder / "pip.conf").write_text("\n".join(lines))
    house.env["PIP_CONFIG_FILE"] = str(house.folder / "pip.conf")
    return house, house.run("Free throw", "--flag")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.make(tmp_path)


@pytest.fixture
def plain(house: House) -> House:
    """A house whose Python cannot make virtual environments but has pip."""
    return house.without("ensurepip")


class Page(http.server.SimpleHTTPRequestHandler):
    """Answer of a package index that tells of each request, and waits until it is released."""

    def __init__(self, *args: Any, index: "Index", **options: Any) -> None:
        self.index = index
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        self.index.requested.set()
        self.index.released.wait(LIMIT_S)
        with contextlib.suppress(OSError):
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class Index:
    port: int = 0
    requested: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def index(plain: House):
    index = Index()
    page = partial(Page, index=index, directory=plain.folder / "index")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), page) as server:
        server.daemon_threads = True
        index.port = server.server_port
        threading.Thread(target=server.serve_forever, args=[0.05]).start()
        yield index
        index.released.set()
        server.shutdown()


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


# --- the packages for a cluster ---


def over_a_cluster(house: House) -> House:
    """Let its packages be those for a cluster."""
    for name in ("txt", "lock"):
        (house.plugin / f"requirements.{name}").rename(
            house.plugin / f"requirements-cluster.{name}"
        )
    (house.plugin / "main.py").write_text(CLUSTER_MAIN.format(root=str(ROOT)))
    return house


def test_processes_of_a_cluster_here_have_its_packages(plain):
    house = over_a_cluster(plain)
    assert house.run().said == {"whistles": [3, 3]}
    again = house.run()
    assert again.said == {"whistles": [3, 3]}
    assert "Installing" not in again.log


def test_without_them_the_task_ends_with_the_command(plain):
    house = over_a_cluster(plain)
    shutil.rmtree(house.wheels)
    result = house.run()
    assert result.said["error"].endswith(by_hand(house.plugin / "requirements-cluster.txt"))
    assert not house.environments()


# --- a virtual environment ---


def test_continues_in_a_built_environment_with_the_same_input(
    built,
):
    house, first = built
    assert first.said.get("whistles") == 3, first.said
    assert first.said["pid"] == first.pid  # the one that Stash can stop
    assert first.said["sent"] == SENT.decode()
    assert first.said["argv"] == [str(house.data), "Free throw", "--flag"]
    stays = os.name == "nt"  # where a process cannot be replaced
    assert first.said["prefix"].startswith(sys.prefix if stays else str(house.data))
    assert first.said["from"].startswith(str(house.data))
    assert f"\x01i\x02Getting {WHEEL}" in first.log


def test_builds_it_once(built):
    house, _ = built
    again = house.run()
    assert again.said["whistles"] == 3
    assert again.log == ""


def test_a_process_that_stays_imports_from_the_environment(
    built,
):
    house, _ = built
    stayed = house.run("--stay")
    assert stayed.said["prefix"] == sys.prefix
    assert stayed.said["from"].startswith(str(house.data))


def test_removes_what_nobody_used_for_a_week_and_only_that(built):
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


def test_a_damaged_environment_is_reported_and_rebuilt(built, tmp_path):
    house = House(tmp_path / "copy", built[0].env)
    shutil.copytree(built[0].folder, house.folder, symlinks=True)
    (environment,) = house.environments()
    for package in environment.rglob("site-packages/haven_tiny_foul*"):
        shutil.rmtree(package)
    result = house.run()
    assert result.status == 3
    assert "haven-tiny-foul>=1.2,<2 cannot be found. Start the task again" in result.said["error"]
    assert not house.has_complete()


# --- a plain folder, and what can go wrong ---


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such folder names")
def test_without_virtual_environments_a_folder_is_used(house):
    house.data_name = "videos: data"  # no virtual environment may be in a folder with a colon
    house.data.mkdir()
    result = house.run()
    assert result.said["whistles"] == 3
    assert "could not make a virtual environment" in result.log


def test_without_pip_one_message_says_what_to_install(house):
    result = house.without("ensurepip", "pip").run()
    assert result.status == 3
    assert "has neither pip nor ensurepip" in result.said["error"]
    assert "Install pip" in result.said["error"]
    assert result.log == ""


def test_a_failed_pip_is_quoted_and_nothing_is_built_from_source(plain):
    (plain.wheels / WHEEL).unlink()
    source = plain.wheels / "haven-tiny-foul-1.3.0.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("haven-tiny-foul-1.3.0/setup.py", "open('compiled', 'w')\n")
    result = plain.run()
    assert result.status == 3
    assert "No matching distribution found for haven-tiny-foul" in result.said["error"]
    assert "-m pip install " in result.said["error"]
    assert not plain.has_complete()
    assert not (plain.folder / "compiled").exists()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return closed.getsockname()[1]


def test_no_connection_is_named_and_nothing_is_left(plain):
    plain.use_index(closed_port())
    plain.env["PIP_RETRIES"] = "1"
    error = plain.run().said["error"]
    assert "The package index cannot be reached. Check that this machine" in error
    assert "refused" in error
    assert plain.environments() == []


def test_a_proxy_that_does_not_answer_is_named(plain):
    plain.use_index(closed_port())
    plain.env |= {"PIP_INDEX_URL": "https://index.example/", "PIP_RETRIES": "1"}
    plain.env["HTTPS_PROXY"] = f"http://fan:secret@127.0.0.1:{closed_port()}"
    error = plain.run().said["error"]  # some versions of pip tell it from other connections
    assert "proxy does not let pip through" in error or "reached through the proxy http" in error
    assert "HTTPS_PROXY in the" in error
    assert "secret" not in error


def test_a_tampered_wheel_is_refused_and_never_run(plain):
    good = (plain.plugin / "requirements.lock").read_bytes()
    plain.release("open('executed', 'w')\n")
    (plain.plugin / "requirements.lock").write_bytes(good)
    result = plain.run()
    assert result.status == 3
    assert "was refused. Start the task again" in result.said["error"]
    assert "check the index and the proxy" in result.said["error"]
    assert hashlib.sha256((plain.wheels / WHEEL).read_bytes()).hexdigest() in result.said["error"]
    assert plain.environments() == []
    assert not (plain.folder / "executed").exists()


def test_an_index_without_the_locked_version_is_named(plain):
    (plain.wheels / WHEEL).unlink()
    error = plain.run().said["error"]
    assert "does not answer, or does not have the versions that this plugin installs" in error


def test_without_a_locked_wheel_a_newer_one_is_taken(plain):
    plain.release(wheel="haven_tiny_foul-1.3.0-cp311-cp311-playstation.whl")
    result = plain.run()
    assert result.said["whistles"] == 3
    assert "it has no fixed version of haven-tiny-foul for it" in result.log


def test_a_machine_without_wheels_is_told_what_it_needs(plain):
    other = "haven_tiny_foul-1.3.0-cp311-cp311-playstation.whl"
    plain.release(wheel=other)
    (plain.wheels / WHEEL).rename(plain.wheels / other)
    error = plain.run().said["error"]
    assert "There are no ready-made packages for Python 3." in error
    assert "on 64 bits: Linux (x86-64, arm64), Windows (x86-64) and macOS" in error
    assert plain.environments() == []


def with_an_older(folder: Path, env: dict[str, str]) -> dict[str, str]:
    """Return the variables of a Stash whose PYTHONPATH has an older package, in ``folder``. It
    goes before the packages of a Python, a virtual environment's too.
    """
    (folder / "haven_tiny_foul-1.1.dist-info").mkdir(parents=True)
    (folder / "haven_tiny_foul.py").write_text("WHISTLES = 1\n")
    (folder / "haven_tiny_foul-1.1.dist-info" / "METADATA").write_text(METADATA.format("1.1"))
    return env | {"PYTHONPATH": str(folder), "PYTHONHOME": sys.base_prefix}


def test_an_older_package_on_pythonpath_does_not_count(built, tmp_path):
    built_house, _ = built
    house = replace(built_house, env=with_an_older(tmp_path / "old", built_house.env))
    again = house.run()
    assert again.said["whistles"] == 3
    assert again.log == ""


@pytest.mark.thorough
def test_an_older_package_does_not_count_while_building(house):
    house.env = with_an_older(house.folder / "old", house.env)
    for _ in range(2):
        assert house.run().said["whistles"] == 3


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs a disk of its own")
def test_a_disk_without_room_is_named_and_emptied(plain):
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(plain.data)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        result = plain.run()
        assert result.status == 3
        assert "take up to 400 MB, and 2 MB are free on the disk of" in result.said["error"]
        assert plain.environments() == []
    finally:
        subprocess.run(["umount", str(plain.data)], check=True)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_the_system_refuses_comes_with_a_remedy(error):
    message = explain(OSError(error, os.strerror(error)), Path("python"))
    assert "Free some space" in message or "Let the user that runs Stash write there" in message


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="only there children end with their parent")
@pytest.mark.parametrize("seed", range(int(os.environ.get("HAVEN_TORTURE_RUNS", "10"))))
def test_a_kill_at_any_moment_leaves_nothing_half_made(house, seed):
    task = house.start()
    time.sleep(random.Random(seed).uniform(0, 12))
    task.kill()
    task.communicate(timeout=LIMIT_S)
    assert house.run().said["whistles"] == 3
    (environment,) = house.environments()
    assert not (environment / "tmp").exists()


def test_a_version_that_is_too_old_does_not_count(plain):
    old = plain.folder / "blind"
    (old / "haven_tiny_foul.py").write_text("WHISTLES = 1\n")
    (old / "haven_tiny_foul-1.1.dist-info").mkdir()
    (old / "haven_tiny_foul-1.1.dist-info" / "METADATA").write_text(METADATA.format("1.1"))
    assert plain.run().said["whistles"] == 3


def test_what_can_be_imported_already_is_left_alone(house):
    there = house.unpacked()
    house.env["PYTHONPATH"] = str(there)
    result = house.run()
    assert result.said["from"].startswith(str(there))
    assert result.log == ""
    assert list(house.data.iterdir()) == []


@pytest.mark.skipif(
    sys.platform != "linux", reason="only there the kernel ends children with their parent"
)
def test_a_task_killed_while_installing_leaves_no_process(plain, index):
    before = dict(plain.env)
    plain.use_index(index.port)
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


def test_two_tasks_at_once_install_once(plain, index):
    plain.use_index(index.port)
    first = plain.start()
    assert index.requested.wait(LIMIT_S)
    second = plain.start()
    assert second.stderr
    assert "waiting for it" in second.stderr.readline().decode()
    index.released.set()
    results = [finish(first), finish(second)]
    assert [result.said["whistles"] for result in results] == [3, 3]
    assert ["Getting haven-tiny-foul" in result.log for result in results] == [True, False]


def test_refuses_a_data_folder_inside_the_plugin(house):
    with pytest.raises(SetupError, match="inside the plugin"):
        ensure_dependencies(house.plugin, house.plugin / "data")


def test_only_the_standard_library_is_needed_to_get_the_rest(house):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import haven_vlm_utility"
    subprocess.run([sys.executable, "-S", "-c", code], env=house.env, check=True, timeout=LIMIT_S)


# --- what the user has set for pip ---


def test_no_setting_of_pip_sends_the_packages_elsewhere(plain):
    plain.env |= {f"PIP_{key.upper().replace('-', '_')}": text for key, text in ELSEWHERE.items()}
    result = plain.run()
    assert result.said.get("whistles") == 3, result.said
    assert result.said["prefix"] == sys.prefix
    assert result.said["from"].startswith(str(plain.data))
    assert not (plain.folder / "elsewhere").exists()
    assert plain.run().log == ""


@pytest.mark.parametrize("makes_venv", [pytest.param(True, marks=pytest.mark.thorough), False])
def test_what_cannot_be_imported_is_not_taken_for_complete(house, makes_venv):
    if not makes_venv:
        house.without("ensurepip")
    house.release("raise ImportError('libwhistle.so is missing')\n")
    result = house.run()
    assert result.status == 3
    reason = "cannot be imported from there: ImportError: libwhistle.so is missing"
    assert reason in result.said["error"]
    assert not house.has_complete()
    house.release()
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


def test_uses_dep_manager_where_it_is_there_and_asks_it_once(plain):
    given = plain.unpacked()
    requested = add_dep_manager(plain, f"sys.path.insert(0, {str(given)!r})")
    for _ in range(2):
        assert plain.run().said["from"].startswith(str(given))
    assert requested.read_text() == "haven_tiny_foul:haven-tiny-foul==1.3.0\n"


@pytest.mark.parametrize("body", ["raise SystemExit('no, says it')", "print('no, says it')"])
def test_if_dep_manager_fails_the_plugin_installs_itself(plain, body):
    requested = add_dep_manager(plain, body)
    (plain.folder / "json.py").write_text("open('executed', 'w')\n")
    result = plain.run()
    assert requested.exists()
    assert not (plain.folder / "executed").exists()  # nothing of the working folder is imported
    assert result.said["from"].startswith(str(plain.data))
    assert "PythonDepManager could not install the packages (" in result.log
    assert "no, says it" in result.log


def test_dep_manager_without_git_is_not_asked(plain):
    requested = add_dep_manager(plain, "pass")
    plain.env["PATH"] = str(plain.folder)
    assert plain.run().said["whistles"] == 3
    assert not requested.exists()


# --- requirements.txt ---


def test_every_real_requirement_can_be_imported():
    wanted = read_requirements(ROOT / "requirements.txt")
    assert {"av", "pillow", "pydantic", "stashapp-tools"} <= {
        requirement.name for requirement in wanted
    }
    assert lacking(wanted) == []


@pytest.mark.parametrize(
    ("operator", "bound", "version", "will_do"),
    [
        (">=", "14", "14.0.0", True),
        (">=", "14", "9.2", False),
        (">=", "2.10", "2.9.7", False),
        ("<", "20", "20.0.0", False),
        ("<", "20", "19.9", True),
        (">=", "3.0", "3.0rc1", False),
        (">=", "3.0", "3.0.post1", True),
        ("==", "1.2", "1.2.0", True),
        ("!=", "1.2", "1.2.0", False),
        (">", "1.2", "1.2.0", False),
        ("<=", "1.2", "1.2", True),
    ],
)
def test_versions(operator, bound, version, will_do):
    assert Requirement("whistle", ((operator, bound),)).allows(version) is will_do


@pytest.mark.parametrize(
    "line",
    [
        "whistle @ git+https://example.com/whistle",
        "-r other.txt",
        "whistle>=one",
        "whistle; python_version<'4'",
    ],
)
def test_a_line_of_another_kind_is_refused(tmp_path, line):
    (tmp_path / "requirements.txt").write_text(line)
    with pytest.raises(SetupError, match="Install the plugin again"):
        read_requirements(tmp_path / "requirements.txt")


def test_a_missing_list_is_reported(tmp_path):
    with pytest.raises(SetupError, match=r"requirements\.txt cannot be read"):
        ensure_dependencies(tmp_path, tmp_path)
