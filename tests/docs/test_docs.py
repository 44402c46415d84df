"""Docs against code: blocks marked `file=` are written, `run` ones are run, all others are read as what they claim to be."""

import ast
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from meshkit.cli import meshkit

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page):
    return [(m[1].split(), m[2]) for m in BLOCK.finditer(page.read_text())]


def runnable(page):
    return any("run" in info for info, _ in blocks(page))


@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p)], ids=lambda p: p.stem)
def test_marked_blocks_run_in_order_in_an_empty_folder(page, tmp_path):
    programs = tmp_path / ".programs"
    programs.mkdir()
    (programs / "meshkit").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m meshkit "$@"\n')
    (programs / "meshkit").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }
    for info, text in blocks(page):
        options = dict(part.partition("=")[::2] for part in info[1:])
        if "file" in options:
            target = tmp_path / options["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        if "run" in options:
            command = ["bash", "-e", "-c", text] if info[0] == "bash" else [sys.executable, "-c", text]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
            expected = int(options.get("exit", 0))
            assert done.returncode == expected, f"{text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_block_is_what_it_claims_to_be(page):
    for info, text in blocks(page):
        if info[:1] == ["python"]:
            ast.parse(text)
        elif info[:1] == ["yaml"]:
            list(yaml.safe_load_all(text))


COMMAND = re.compile(r"(?:^|[\s`])(?:\.venv/bin/)?(meshkit|platform-deploy) ([a-z][^\n`#|&]*)")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_in_the_docs_exists_with_its_options(page):
    for _, line in COMMAND.findall(re.sub(r"^<!--.*?-->$", "", page.read_text(), flags=re.MULTILINE)):
        words = [w for w in re.split(r"\s+", line.strip()) if w]
        command = meshkit.get_command(None, words[0]) if words else None
        if command is None:
            continue  # prose: "meshkit is ..."
        used = [w.partition("=")[0] for w in words[1:] if w.startswith("--")]
        if hasattr(command, "commands") and len(words) > 1 and words[1] in command.commands:
            command = command.commands[words[1]]
        if command.context_settings.get("ignore_unknown_options"):
            continue  # a command of a later release: takes anything and says so
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "--version"}
        assert set(used) <= known, f"{line}: {set(used) - known}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_inside_the_docs_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_reference_is_what_the_code_says(tmp_path):
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for name, make in generate.PAGES.items():
        committed = (ROOT / "docs" / "reference" / name).read_text()
        assert make() == committed, f"docs/reference/{name} is old. Run: python docs/generate.py"


def test_help_shows_all_commands():
    assert shutil.which("bash")
    assert "publish" in CliRunner().invoke(meshkit, ["--help"]).output
