"""The package as a user gets it."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import understudy

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy of what is tracked, so that nothing left over gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in files.stdout.splitlines():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            target.write_bytes((ROOT / name).read_bytes())
    code = "from setuptools import build_meta; print(build_meta.build_wheel('out'))"
    built = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return next((source / "out").glob("*.whl"))


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"understudy"}
    assert not [name for name in names if re.search(r"understudy/(tests|benchmarks|\.venv|build)/", name)]
    modules = {str(path.relative_to(ROOT)) for path in ROOT.glob("*.py")} | {
        str(path.relative_to(ROOT))
        for part in ("graph", "nodes", "lm", "checkpoints", "server", "server/pages")
        for path in (ROOT / part).glob("*.py")
    }
    data = {
        "py.typed",
        "examples/conversations.jsonl",
        *(f"templates/{p.name}" for p in (ROOT / "templates").iterdir()),
        *(f"server/pages/{p.name}" for p in (ROOT / "server" / "pages").glob("*.css")),
        *(f"profiles/{p.name}" for p in (ROOT / "profiles").glob("*.toml")),
    }
    assert {f"understudy/{name}" for name in modules | data} <= set(names)


def test_the_wheel_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import sys; sys.path.insert(0, 'site')\n"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
        "import understudy, importlib.util as u\n"
        "assert 'site' in understudy.__file__, understudy.__file__\n"
        "assert not [n for n in ('graph', 'nodes', 'checkpoints', 'lm') if u.find_spec(n)]\n"
        "from understudy import create_shadow_workflow, load_profile\n"
        "print(load_profile('star').name, create_shadow_workflow().name)\n"
    )
    env = {**os.environ, "PYTHONSAFEPATH": "1"}
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert ran.stdout.split() == ["star", "shadow"], ran.stderr


def test_an_image_finds_everything_that_it_is_told_to_load(wheel: Path, home: Path) -> None:
    """Docker is not needed for that: the paths are those of its file, and the package is installed."""
    cli = pytest.importorskip("langgraph_cli.cli").cli
    asked = ["dockerfile", str(home / "Dockerfile"), "--config", str(ROOT / "langgraph.json")]
    made = CliRunner(env={"LANGGRAPH_CLI_NO_ANALYTICS": "1"}).invoke(cli, asked)
    assert made.exit_code == 0, made.output
    image = (home / "Dockerfile").read_text(encoding="utf-8")
    told = {name: json.loads(value) for name, value in re.findall(r"^ENV (LANG\w+)='(.*)'$", image, re.M)}
    served = json.loads((ROOT / "langgraph.json").read_text())
    names = {"graphs": "LANGSERVE_GRAPHS", "checkpointer": "LANGGRAPH_CHECKPOINTER", "http": "LANGGRAPH_HTTP"}
    assert all(told[name] == served[key] for key, name in {**names, "auth": "LANGGRAPH_AUTH"}.items() if key in served)
    assert all(f"ENV {name}={value}" in image for name, value in served["env"].items())
    paths = re.findall(r'"(?:path|app)": "([^"]+)"', image)
    assert len(paths) >= 5 and "understudy.checkpoints.saver.open_checkpointer" in paths
    zipfile.ZipFile(wheel).extractall(home / "site")
    code = (
        "import sys; sys.path.insert(0, 'site')\n"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
        "from importlib import import_module\n"
        "for path in sys.argv[1:]:\n"
        "    module, _, name = path.rpartition(':' if ':' in path else '.')\n"
        "    module = import_module(module)\n"
        "    assert 'site' in module.__file__ and getattr(module, name), path\n"
    )
    ran = subprocess.run([sys.executable, "-P", "-c", code, *paths], cwd=home, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_an_image_has_what_the_server_needs_and_no_data() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    needed = [one for name in ("server", "dashboard") for one in extras.get(name, [])]
    installed = json.loads((ROOT / "langgraph.json").read_text())["dependencies"]
    # The base image is LangGraph's server; an extra of a local package cannot be asked for there.
    assert sorted(installed) == sorted([".", *(one for one in needed if not re.match("understudy|langgraph-cli", one))])
    kept_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {f"**/{name}" for name in ignored} | {".git"} <= set(kept_out)


def test_the_front_door_is_the_reviewed_one() -> None:
    assert (
        understudy.__all__
        == (
            "ABTestResult AnswerError BrainDecision Context DatasetBuilder Gym GymError InputError MessagePersonalizer"
            " ModelError ModuleVersioning NoRun NoTest NoVersion NotObserved OptimizationBusy PairedBettingTest"
            " PersonalizationSuggestion Profile ProfileError ReplayError RunWaits Settings SettingsError"
            " ShadowABTester TrialRuns Understudy UnderstudyError VersionError conflict_metric create_dream_workflow"
            " create_optimization_workflow create_shadow_workflow get_dreamer_lm get_student_lm get_teacher_context"
            " get_teacher_lm goals_metric intent_metric load_all_modules load_module load_profile observe_node"
            " open_checkpointer personalize_metric quality_metric response_metric run_dream_cycle run_gepa_optimization"
        ).split()
    )
    for name in understudy.__all__:
        assert getattr(understudy, name).__name__ == name


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "('dspy', 'langgraph', 'pydantic', 'sqlite_utils')"
    code = f"import sys, understudy; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_modules_load_and_answer_in_plain_dspy() -> None:
    import dspy

    from understudy.lm.adapter import AnswerAdapter

    modules = understudy.load_all_modules(use_optimized=False)
    assert list(modules) == ["conflict", "intent", "quality", "goals", "response"]
    with dspy.context(lm=understudy.get_student_lm(), adapter=AnswerAdapter()):
        assert modules["conflict"](history=[], message="this is ridiculous").conflict_type == "frustration"
    with pytest.raises(understudy.UnderstudyError, match="no module 'mood'; there are conflict"):
        understudy.load_module("mood")


def test_the_files_agree_with_each_other() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = readme.split("## Files")[1]
    for part in ("", "graph", "nodes", "lm", "checkpoints", "server"):
        for path in (ROOT / part).glob("*.py"):
            assert path.name == "__init__.py" or path.name in tree, f"{path.name} is not in the README's tree"
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    names = {name.lower() for name in re.findall(r"^# ([A-Z_]+)=", example, re.M)}
    assert names == set(understudy.Settings.model_fields)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    served = json.loads((ROOT / "langgraph.json").read_text())
    assert served["graphs"]["shadow"] and served["http"]["app"] == "understudy.server.app:app"


async def test_the_readme_s_code_runs() -> None:
    readme = (Path(understudy.__file__).parent / "README.md").read_text(encoding="utf-8")
    compared, shown, agent, embedded = re.findall(r"```python\n(.*?)```", readme, re.S)
    exec(compared, {})
    for example in (shown, agent):
        exec(example, told := {})
        told["app"].close()
    names: dict[str, object] = {}
    exec(embedded, names)
    await names["main"]()
    settings = understudy.Settings()
    assert understudy.Gym(settings.rl_gym_db_path).counts() == {"decisions": 1, "conversations": 3, "backlog": 2}
