"""`meshkit identity`: files in, files out, exit codes; nothing is written on a failure."""

import json

import polars as pl
import pytest
from click.testing import CliRunner
from identity_people import make_country

from meshkit import cli
from meshkit.identity import LinkageModel


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("identity")
    country = make_country(21, 900)
    country.left.write_parquet(folder / "users.parquet")
    country.right.write_csv(folder / "customers.csv")
    pl.DataFrame(sorted(country.truth), schema=["left_id", "right_id"], orient="row").write_csv(folder / "labels.csv")
    return folder, country


@pytest.fixture
def run(world, capsys):
    folder, _ = world

    def call(*arguments):
        code = cli.run(cli.meshkit, ["identity", *[a.format(at=folder) for a in arguments]])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


SIDES = (
    "{at}/users.parquet",
    "{at}/customers.csv",
    "--name-left",
    "sales.users",
    "--name-right",
    "marketing.customers",
)


def test_link_writes_the_map_and_reports_it(run, world, tmp_path):
    _, country = world
    code, out, _ = run(
        "link", *SIDES, "--out", f"{tmp_path}/map.parquet", "--write-fit", f"{tmp_path}/fit.json", "--format", "json"
    )
    report = json.loads(out)
    assert code == 0 and report["format"] == "meshkit.identity.link/1" and report["doubts"] == []
    links = pl.read_parquet(tmp_path / "map.parquet")
    assert links.columns == ["sales_user_id", "marketing_customer_id", "confidence_score"]
    assert links.schema["sales_user_id"] == pl.Int64
    assert report["links"] == links.height
    found = set(links.select(pl.nth(0, 1)).iter_rows())
    assert len(found & country.truth) / len(found) > 0.95
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_written_model_and_fit_give_the_same_links_again(run, tmp_path):
    run("link", *SIDES, "--out", f"{tmp_path}/a.csv", "--write-fit", f"{tmp_path}/model.fit.json")
    assert run("profile", *SIDES, "--write-model", f"{tmp_path}/model.yaml")[0] == 0
    text = (tmp_path / "model.yaml").read_text() + "fit: model.fit.json\n"
    (tmp_path / "model.yaml").write_text(text)
    assert not isinstance(LinkageModel.load(tmp_path / "model.yaml").fit, str)
    code, out, _ = run(
        "link", *SIDES, "--model", f"{tmp_path}/model.yaml", "--out", f"{tmp_path}/b.csv", "--format", "json"
    )
    assert code == 0 and json.loads(out)["model"]["fitted"] == "model"
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_a_doubtful_result_writes_nothing_unless_accepted(run, tmp_path):
    pl.DataFrame(
        {"user_id": [1, 2], "mail": ["ana@x.example", "bo@x.example"], "phone": ["0301234567", "0301234599"]}
    ).write_csv(tmp_path / "a.csv")
    pl.DataFrame({"customer_id": [7], "mail": ["ana@x.example"], "phone": ["0301234567"]}).write_csv(tmp_path / "b.csv")
    sides = (f"{tmp_path}/a.csv", f"{tmp_path}/b.csv", "--out", f"{tmp_path}/map.arrow")
    code, out, err = run("link", *sides)
    assert code == 1 and "match_not_credible" in out and "Nothing was written" in err
    assert not (tmp_path / "map.arrow").exists()
    code, _, _ = run("link", *sides, "--accept-doubts")
    assert code == 0 and (tmp_path / "map.arrow").exists()


def test_without_right_duplicates_become_entities(run, tmp_path):
    code, _, _ = run("link", "{at}/users.parquet", "--out", f"{tmp_path}/entities.csv", "--accept-doubts")
    assert code == 0
    assert pl.read_csv(tmp_path / "entities.csv").columns == ["entity_id", "product", "record_id", "confidence_score"]


def test_profile_shows_pairs_per_rule_before_comparing(run):
    code, out, _ = run("profile", *SIDES, "--union", "--format", "json")
    shown = json.loads(out)
    assert code == 0 and shown["format"] == "meshkit.identity.profile/1"
    assert {"side": "left", "column": "mail", "role": "email", "from": "name"} in shown["roles"]
    assert sum(r["new_pairs"] for r in shown["rules"]) <= sum(r["pairs"] for r in shown["rules"]) == shown["pairs"]


def test_explain_shows_bits_and_writes_a_picture(run, world, tmp_path):
    user, customer = min(world[1].truth)
    code, out, _ = run(
        "explain", *SIDES, "--left-id", str(user), "--right-id", customer, "--svg", f"{tmp_path}/why.svg"
    )
    assert code == 0 and "prior" in out and "bits" in out
    assert (tmp_path / "why.svg").read_text().startswith("<svg")
    assert run("explain", *SIDES, "--left-id", "-1", "--right-id", customer)[0] == 2


def test_evaluate_fails_below_a_required_ratio(run):
    good = run(
        "evaluate", *SIDES, "--labels", "{at}/labels.csv", "--complete", "--min-precision", "0.9", "--min-recall", "0.8"
    )
    assert good[0] == 0 and "precision" in good[1]
    bad = run("evaluate", *SIDES, "--labels", "{at}/labels.csv", "--complete", "--min-recall", "1", "--format", "json")
    assert bad[0] == 1 and json.loads(bad[1])["failures"]


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (("link", "{at}/users.parquet", "{at}/nowhere.csv", "--out", "x.csv"), 3, "there is no file"),
        (("link", *SIDES, "--out", "map.xlsx"), 2, "can't write kind"),
        (("link", *SIDES), 2, "--out FILE is missing"),
        (("link", *SIDES, "--out", "x.csv", "--engine", "spark"), 2, "not in this release"),
        (("link", *SIDES, "--out", "x.csv", "--state", "s3://x"), 2, "not in this release"),
        (("link", "{at}/users.parquet", "{at}/users.parquet", "--out", "x.csv"), 2, "find duplicates"),
        (("link", *SIDES, "--out", "x.csv", "--id-left", "nope"), 2, "no id column nope"),
        (("review", "a", "b", "--rows", "200"), 2, "not in this release"),
        (("encode", "a", "--key-env", "K"), 2, "not in this release"),
    ],
)
def test_wrong_calls_are_refused_and_write_nothing(run, tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    got, _, err = run(*arguments)
    assert (got, said in err) == (code, True), err
    assert list(tmp_path.iterdir()) == []


def test_every_command_shows_an_example():
    from meshkit.cli.identity import identity

    for name in identity.commands:
        shown = CliRunner().invoke(identity, [name, "--help"]).output
        assert f"meshkit identity {name}" in shown
