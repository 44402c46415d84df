"""Hypothesis strategies shared by tests: canonical types at any depth."""

from hypothesis import strategies as st

from meshkit.types import Decimal, List, Map, Primitive, Struct, StructField, Temporal

NAMES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "float32",
    "float64",
    "string",
    "bytes",
    "date",
    "interval",
    "uuid",
    "json",
]
scalars = st.one_of(
    st.sampled_from([Primitive(n) for n in NAMES]),
    st.integers(1, 38).flatmap(lambda p: st.integers(0, p).map(lambda s: Decimal(p, s))),
    st.sampled_from(
        [
            Temporal("time"),
            Temporal("time", "ms"),
            *(Temporal(n, u) for n in ("timestamp", "timestamptz") for u in ("ms", "us", "ns")),
        ]
    ),
)


def nested(inner):
    names = st.text(st.characters(min_codepoint=32, max_codepoint=1000), min_size=1, max_size=6)
    fields = st.lists(
        st.builds(StructField, names, inner, st.booleans()), min_size=1, max_size=3, unique_by=lambda f: f.name
    )
    return st.one_of(
        st.builds(List, inner, st.booleans()),
        st.builds(Map, scalars, inner, st.booleans()),
        fields.map(lambda f: Struct(tuple(f))),
    )


types = st.recursive(scalars, nested, max_leaves=6)
