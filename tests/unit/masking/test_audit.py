"""The audit chain: durable, unforgeable within its files, readable. Source: federation-and-masking section 7."""

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.errors import EnvironmentProblem
from meshkit.masking import AuditChain, AuditSettings, AuditUnavailable, find_query, verify_audit
from meshkit.masking.canonical import canonical
from meshkit.ports import AuditRecord, Principal

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)


def record(query="q-1", sql="SELECT email FROM sales.orders WHERE id = ?", **changes):
    product = {
        "name": "sales.orders", "decision_id": "d-1", "row_filters": ["f1"],
        "columns": [{"column": "email", "tag": "pii:email", "rule": "r2", "mask": "email.partial", "reason": "baseline"}],
    }  # fmt: skip
    base = {"time": AT, "query_id": query, "principal": Principal("ana", ("analyst",), {}, "https://id"), "channel": "http", "trust": "enforced",
            "outcome": "allowed", "sql": sql, "purpose": "reporting", "policy_revision": "9f3c", "products": (product,)}  # fmt: skip
    return AuditRecord(**(base | changes))


def filled(folder, count=5, **options):
    chain = AuditChain(folder, **options)
    for i in range(count):
        chain.append(record(f"q-{i}"))
    chain.close()
    return sorted(Path(folder).glob("*.jsonl"))


def test_a_record_is_one_line_of_canonical_json_with_the_documented_facts(tmp_path):
    """The format of the design."""
    (file,) = filled(tmp_path, 2)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert set(lines[0]) == {
        "seq",
        "prev",
        "time",
        "query_id",
        "principal",
        "purpose",
        "trust",
        "channel",
        "sql",
        "outcome",
        "code",
        "policy_revision",
        "products",
        "hash",
    }
    assert (lines[0]["seq"], lines[0]["prev"], lines[0]["time"]) == (0, "0" * 64, "2026-11-22T10:00:00Z")
    assert lines[1]["prev"] == lines[0]["hash"]
    assert lines[0]["principal"] == {"subject": "ana", "issuer": "https://id", "roles": ["analyst"]}
    assert file.stat().st_mode & 0o777 == 0o600
    assert verify_audit([tmp_path]).to_text() == "ok: 2 records, 1 chain, 1 file"


@pytest.mark.parametrize("damage", ["change", "remove", "swap", "insert", "rewrite", "reformat"])
def test_every_change_within_the_chain_shows(tmp_path, damage):
    """Changed, removed, swapped, inserted, rewritten with a new hash, reformatted."""
    (file,) = filled(tmp_path)
    lines = file.read_text().splitlines()
    if damage == "change":
        lines[2] = lines[2].replace("analyst", "admin12")
    elif damage == "remove":
        del lines[2]
    elif damage == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    elif damage == "insert":
        lines.insert(2, lines[2])
    elif damage == "rewrite":
        import hashlib

        content = json.loads(lines[2]) | {"outcome": "denied"}
        del content["hash"]
        lines[2] = canonical(content | {"hash": hashlib.sha256(canonical(content)).hexdigest()}).decode()
    else:
        lines[2] = lines[2].replace('":', '": ', 1)
    file.write_text("\n".join(lines) + "\n")
    report = verify_audit([file])
    assert report.exit_code == 1
    assert f"{file}:" in report.to_text()


def test_rotated_files_continue_the_chain_and_a_missing_one_shows(tmp_path):
    """A rotated file starts with the last hash."""
    files = filled(tmp_path, 12, rotate_bytes=2000)
    assert len(files) > 3
    assert verify_audit(files).ok
    assert verify_audit(files).records == 12
    assert not verify_audit([files[0], *files[2:]]).ok
    alone = verify_audit(files[1:])
    assert alone.ok
    assert "starts before this file" in alone.notes[0]


def test_threads_share_one_chain(tmp_path):
    """Group commit keeps order and loses nothing."""
    chain = AuditChain(tmp_path, rotate_bytes=20_000)
    threads = [
        threading.Thread(target=lambda n=n: [chain.append(record(f"q-{n}-{i}")) for i in range(20)]) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = verify_audit([tmp_path])
    assert (report.ok, report.records, report.chains) == (True, 160, 1)


def test_a_failing_disk_denies_and_the_chain_goes_on_later(tmp_path):
    """What was not acknowledged is not in the chain."""
    chain = AuditChain(tmp_path)
    chain.append(record("q-1"))
    os.close(chain._file)  # the next write fails as on a lost disk
    with pytest.raises(AuditUnavailable):
        chain.append(record("q-2"))
    chain.append(record("q-3"))
    report = verify_audit([tmp_path])
    assert (report.ok, report.records) == (True, 2)
    assert not find_query("q-2", [tmp_path]).records
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(AuditUnavailable):
        AuditChain(blocked).append(record())


def test_a_record_that_has_no_canonical_form_is_denied_and_leaves_no_gap(tmp_path):
    """Never half a record."""
    chain = AuditChain(tmp_path)
    for bad in (record(sql="\ud800"), record(products=({"rows": 1.5},)), record(time=datetime(2026, 1, 1))):
        with pytest.raises(AuditUnavailable):
            chain.append(bad)
    chain.append(record())
    assert verify_audit([tmp_path]).records == 1


def test_names_forge_no_lines(tmp_path):
    """Line ends inside texts are escaped, in files and on screen."""
    chain = AuditChain(tmp_path)
    chain.append(record(sql='x\n{"seq":9}\u2028\x1b[2J', principal=Principal("a\nb")))
    assert verify_audit([tmp_path]).records == 1
    text = find_query("q-1", [tmp_path]).to_text()
    assert "\x1b" not in text
    assert len(text.splitlines()) == 5


def test_a_torn_last_line_is_noted_not_counted(tmp_path):
    """A killed process: the query was not answered."""
    (file,) = filled(tmp_path, 3)
    file.write_bytes(file.read_bytes()[:-10])
    report = verify_audit([file])
    assert (report.ok, report.records) == (True, 2)
    assert "torn" in report.notes[0]


def test_a_killed_process_loses_no_acknowledged_record(tmp_path):
    """SIGKILL right after an acknowledgement."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_audit import record\nfrom meshkit.masking import AuditChain\n"
        "chain = AuditChain(sys.argv[1])\n"
        "for i in range(10**6):\n    chain.append(record(f'q-{i}'))\n    print(i, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    acknowledged = [process.stdout.readline() for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    last = int(rest[-1] if rest else acknowledged[-1])
    report = verify_audit([tmp_path])
    assert report.ok
    assert report.records > last


def test_a_forked_process_starts_its_own_chain(tmp_path):
    """Two writers never share a chain."""
    chain = AuditChain(tmp_path)
    chain.append(record("parent"))
    script = tmp_path / "child"
    chain._pid = -1  # as after a fork: the process id is another
    chain.append(record("child"))
    report = verify_audit([tmp_path])
    assert (report.ok, report.chains, report.records) == (True, 2, 2)
    assert not script.exists()


def test_show_finds_a_query_by_its_id(tmp_path):
    """Text and JSON."""
    filled(tmp_path)
    entries = find_query("q-3", [tmp_path])
    assert [r["seq"] for r in entries.records] == [3]
    assert entries.to_text().splitlines() == [
        "2026-11-22T10:00:00Z  q-3  allowed  enforced by http",
        "  ana of https://id, roles analyst for reporting",
        "  SELECT email FROM sales.orders WHERE id = ?",
        "  sales.orders: decision d-1, rows f1",
        "    email: email.partial by r2",
    ]
    assert find_query("q-99", [tmp_path]).exit_code == 1


def test_settings_of_later_releases_are_refused():
    """Named, not ignored."""
    for name, value in {"signing_key": "env:X", "buffer_records": "5"}.items():
        with pytest.raises(ValueError, match="not in this release"):
            AuditSettings.model_validate({name: value})


def test_canonical_json_is_that_of_rfc_8785():
    """Section 3.2.3: keys by UTF-16 code units; escapes as ECMAScript writes them."""
    value = {
        "\u20ac": "Euro",
        "\r": "CR",
        "\ufb33": "Hebrew",
        "1": "One",
        "\U0001f600": "Smiley",
        "\u0080": "Control",
        "\u00f6": "o",
    }
    assert list(json.loads(canonical(value))) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert (
        canonical({"a": '\u000f\n"\\/€', "b": [True, None, -0, 5]})
        == '{"a":"\\u000f\\n\\"\\\\/€","b":[true,null,0,5]}'.encode()
    )
    for bad in (1.5, {1: 2}, 2**53, {"a": "\ud800"}, object()):
        with pytest.raises(ValueError):
            canonical(bad)


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
        lambda i: st.lists(i, max_size=3) | st.dictionaries(st.text(), i, max_size=3),
        max_leaves=8,
    )
)
def test_canonical_json_is_a_fixed_point(value):
    """Reading and writing changes nothing."""
    assert canonical(json.loads(canonical(value))) == canonical(value)
    assert json.loads(canonical(value)) == value


def test_an_empty_folder_proves_nothing(tmp_path):
    """No files are no good chain."""
    with pytest.raises(EnvironmentProblem, match="no audit files"):
        verify_audit([tmp_path])
