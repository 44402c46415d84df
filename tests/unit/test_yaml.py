"""YAML as text with places: no guessing, every limit refused with a place."""

import pytest

from meshkit import _yaml


def problems(text):
    with pytest.raises(_yaml.YamlSyntaxError) as caught:
        _yaml.parse(text, source="f.yaml")
    return [(p.code, p.line, p.column) for p in caught.value.problems]


def test_scalars_stay_text_as_written():
    """YAML 1.1 would make these booleans, an octal, a base-60 number and a date."""
    data = _yaml.parse("a: on\nb: 010\nc: 1:30\nd: 2024-01-01\ne: 1.10\n").data
    assert data == {"a": "on", "b": "010", "c": "1:30", "d": "2024-01-01", "e": "1.10"}


def test_places_are_of_the_value_and_of_the_key():
    document = _yaml.parse("a:\n  b: [x, y]\n")
    assert (document.span(("a", "b", 1)).line, document.span(("a", "b", 1)).column) == (2, 10)
    assert (document.span(("a", "b"), key=True).line, document.span(("a", "b"), key=True).column) == (2, 3)
    assert document.span(("a", "missing")) == document.span(("a",))


def test_every_duplicate_key_is_reported():
    assert problems("a: 1\na: 2\nb: {c: 1, c: 2}\n") == [("yaml.duplicate_key", 2, 1), ("yaml.duplicate_key", 3, 11)]


@pytest.mark.parametrize(
    "text, code",
    [
        ("a: [1", "yaml.syntax"),
        ("a: 1\n---\nb: 2\n", "yaml.several_documents"),
        ("", "yaml.empty"),
        ("a: !!python/object:os.system x", "yaml.unknown_tag"),
        ("? [a]\n: 1", "yaml.complex_key"),
        ("x: &a {k: 1}\ny: {<<: *a}", "yaml.merge_key"),
        ("a: \x01", "yaml.syntax"),
        ("[" * 700 + "]" * 700, "yaml.too_deep"),
        ("x: " * 1 + "\n" + "".join(f"{'  ' * i}k:\n" for i in range(70)), "yaml.too_deep"),
        (
            "a: &a [x]\n"
            + "".join(f"b{i}: &b{i} [{', '.join([f'*b{i - 1}' if i else '*a'] * 12)}]\n" for i in range(8)),
            "yaml.too_many_nodes",
        ),
        ("a" * ((4 << 20) + 1), "yaml.too_large"),
        (b"a: \xff", "yaml.not_utf8"),
    ],
)
def test_what_is_no_acceptable_document_is_refused_with_its_code(text, code):
    assert problems(text)[0][0] == code


def test_free_content_resolves_only_unquoted_scalars_by_yaml_1_2():
    data = _yaml.parse('a: 1\nb: "1"\nc: true\nd: on\ne: 1.5\nf: 010\ng: null\nh: [~, -3]\n').data
    assert _yaml.resolve(data) == {
        "a": 1,
        "b": "1",
        "c": True,
        "d": "on",
        "e": 1.5,
        "f": "010",
        "g": None,
        "h": [None, -3],
    }
