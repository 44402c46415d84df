"""The closed lists of the gate: AST classes of sqlglot, node kinds of DuckDB's own parser, function names. All else is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["AST_CLASSES", "DUCKDB_NODES", "TYPE_NAMES", "Bound", "Functions", "functions"]


@dataclass(frozen=True, slots=True)
class Bound:
    """Arguments that must be constants of at most `at_most`."""

    arguments: tuple[int, ...]
    at_most: int


@dataclass(frozen=True, slots=True)
class Functions:
    """Names a query may call, lower case, as DuckDB's parser gives them."""

    operators: frozenset[str]
    scalar: frozenset[str]
    aggregate: frozenset[str]
    window: frozenset[str]
    table: frozenset[str]
    bounds: Mapping[str, Bound]

    @property
    def callable(self) -> frozenset[str]:
        """Everything that may stand where an expression stands."""
        return self.scalar | self.aggregate | self.window


@cache
def functions() -> Functions:
    """The lists of `functions.yaml`, read once."""
    from meshkit import _yaml

    data = _yaml.parse(files(__package__).joinpath("functions.yaml").read_text("utf-8"), source="functions.yaml").data
    bounds = {
        str(name): Bound(tuple(int(n) for n in entry["arguments"]), int(entry["at_most"]))
        for name, entry in data["bounds"].items()
    }
    parts = {
        kind: frozenset(str(name) for name in data[kind])
        for kind in ("operators", "scalar", "aggregate", "window", "table")
    }
    return Functions(**parts, bounds=bounds)


# sqlglot classes that may stand in a query. Not functions: structure, operators, literals.
_STRUCTURE = """
Select From Where Group Having Order Ordered Limit LimitOptions Offset Fetch Qualify Distinct Join Lateral Subquery Table TableAlias With CTE Union Except
Intersect Values Tuple Unnest Window WindowSpec Cube Rollup GroupingSets Column Identifier Star Alias Aliases Literal Null Boolean Var Placeholder Parameter
RawString Paren Not Neg Add Sub Mul Div IntDiv Mod Pow DPipe EQ NEQ GT GTE LT LTE NullSafeEQ NullSafeNEQ And Or Xor Is In Between Like ILike Escape
SimilarTo Glob Any All BitwiseAnd BitwiseOr BitwiseNot BitwiseLeftShift BitwiseRightShift Bracket Slice Dot Lambda PropertyEQ Kwarg Filter IgnoreNulls
RespectNulls WithinGroup Interval IntervalSpan DataType DataTypeParam ColumnDef AtTimeZone Exists JSONPath JSONPathRoot JSONPathKey JSONPathSubscript
JSONPathWildcard Struct Array Map ToMap Case If Cast TryCast Comprehension
"""
# Function classes. The name check on DuckDB's own parse of the regenerated text comes on top.
_FUNCTIONS = """
Anonymous Abs Acos Asin Atan Atan2 Cbrt Ceil Cos Cot Degrees Exp Factorial Floor IsInf IsNan Ln Log Pi Radians Round Sign Sin Sqrt Tan Trunc Rand
BitwiseCount BitwiseAndAgg BitwiseOrAgg BitwiseXorAgg Greatest Least Ascii BitLength ByteLength Chr Unicode Concat ConcatWs Contains EndsWith StartsWith
Initcap Left Length Levenshtein Lower Normalize Overlay Pad Repeat Replace Reverse Right Split SplitPart StrPosition Substring Translate Trim Upper Hex
Unhex LowerHex FromBase64 ToBase64 Encode Decode MD5 SHA SHA2 JarowinklerSimilarity RegexpExtract RegexpExtractAll RegexpFullMatch RegexpLike RegexpReplace
RegexpSplit Uuid CurrentDate CurrentTimestamp CurrentTime Localtime Localtimestamp DateAdd DateDiff DateSub DateTrunc TimestampTrunc DateBin Day DayOfMonth
DayOfWeek DayOfWeekIso DayOfYear Dayname Extract Hour Minute Month Monthname Quarter Second Week WeekOfYear Year YearOfWeek YearOfWeekIso DateFromParts
TimeFromParts TimestampFromParts LastDay StrToTime StrToDate TimeToStr TimeToUnix UnixToTime UnixMicros UnixMillis UnixSeconds TimeStrToTime TsOrDsToDate
Date Timestamp
AnyValue ApproxDistinct ApproxQuantile ArgMax ArgMin ArrayAgg Avg Corr Count CountIf CovarPop CovarSamp CumeDist DenseRank First FirstValue GroupConcat
Grouping GroupingId Kurtosis Lag Last LastValue Lead LogicalAnd LogicalOr Max Median Min Mode Ntile NthValue PercentileCont PercentileDisc PercentRank
Quantile Rank RegrAvgx RegrAvgy RegrCount RegrIntercept RegrR2 RegrSlope RegrSxx RegrSxy RegrSyy RowNumber Skewness Stddev StddevPop StddevSamp Sum
Variance VariancePop
List ArrayAppend ArrayConcat ArrayContains ArrayContainsAll ArrayOverlaps ArrayDistinct ArrayFilter ArrayFirst ArrayLast ArrayMax ArrayMin ArrayPosition
ArrayPrepend ArrayReverse ArraySize ArraySlice ArraySort ArraySum ArrayToString Flatten Transform Reduce GenerateSeries Explode MapFromEntries MapKeys
MapContainsKey StructExtract JSONArray JSONExtract JSONExtractScalar JSONKeys JSONObject JSONType JSONExists Coalesce Nullif Typeof StringToArray
"""
AST_CLASSES = frozenset(_STRUCTURE.split()) | frozenset(_FUNCTIONS.split())

# Kinds of nodes in json_serialize_sql that may occur: query nodes, table references, modifiers, expressions.
DUCKDB_NODES = frozenset(
    [
        "SELECT_NODE",
        "SET_OPERATION_NODE",
        "RECURSIVE_CTE_NODE",
        "CTE_NODE",
        "BASE_TABLE",
        "SUBQUERY",
        "JOIN",
        "TABLE_FUNCTION",
        "EMPTY",
        "EXPRESSION_LIST",
        "ORDER_MODIFIER",
        "LIMIT_MODIFIER",
        "LIMIT_PERCENT_MODIFIER",
        "DISTINCT_MODIFIER",
        "COLUMN_REF",
        "FUNCTION",
        "CAST",
        "OPERATOR_CAST",
        "CONSTANT",
        "VALUE_CONSTANT",
        "PARAMETER",
        "VALUE_PARAMETER",
        "CASE",
        "CASE_EXPR",
        "COMPARISON",
        "COMPARE_EQUAL",
        "COMPARE_NOTEQUAL",
        "COMPARE_LESSTHAN",
        "COMPARE_GREATERTHAN",
        "COMPARE_LESSTHANOREQUALTO",
        "COMPARE_GREATERTHANOREQUALTO",
        "COMPARE_DISTINCT_FROM",
        "COMPARE_NOT_DISTINCT_FROM",
        "COMPARE_IN",
        "COMPARE_NOT_IN",
        "BETWEEN",
        "COMPARE_BETWEEN",
        "COMPARE_NOT_BETWEEN",
        "CONJUNCTION",
        "CONJUNCTION_AND",
        "CONJUNCTION_OR",
        "OPERATOR",
        "OPERATOR_NOT",
        "OPERATOR_IS_NULL",
        "OPERATOR_IS_NOT_NULL",
        "OPERATOR_COALESCE",
        "OPERATOR_NULLIF",
        "OPERATOR_TRY",
        "ARRAY_EXTRACT",
        "ARRAY_SLICE",
        "STRUCT_EXTRACT",
        "ARRAY_CONSTRUCTOR",
        "ARROW",
        "LAMBDA",
        "LAMBDA_REF",
        "STAR",
        "GROUPING_FUNCTION",
        "WINDOW",
        "WINDOW_AGGREGATE",
        "WINDOW_SUM",
        "WINDOW_COUNT_STAR",
        "WINDOW_MIN",
        "WINDOW_MAX",
        "WINDOW_AVG",
        "WINDOW_RANK",
        "WINDOW_RANK_DENSE",
        "WINDOW_NTILE",
        "WINDOW_PERCENT_RANK",
        "WINDOW_CUME_DIST",
        "WINDOW_ROW_NUMBER",
        "WINDOW_FIRST_VALUE",
        "WINDOW_LAST_VALUE",
        "WINDOW_LEAD",
        "WINDOW_LAG",
        "WINDOW_NTH_VALUE",
        "WINDOW_FILL",
        "TYPE",
        "ORDER_DEFAULT",
        "ORDER_ASCENDING",
        "ORDER_DESCENDING",
        "ASCENDING",
        "DESCENDING",
    ]
)

# Type names that a cast may name (ids of DuckDB's parser); user-defined and catalog types are refused.
TYPE_NAMES = frozenset(
    [
        "BOOLEAN",
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "HUGEINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
        "UHUGEINT",
        "FLOAT",
        "DOUBLE",
        "DECIMAL",
        "VARCHAR",
        "BLOB",
        "DATE",
        "TIME",
        "TIMESTAMP",
        "TIMESTAMP_S",
        "TIMESTAMP_MS",
        "TIMESTAMP_NS",
        "INTERVAL",
        "UUID",
        "LIST",
        "ARRAY",
        "STRUCT",
        "MAP",
        "NULL",
        "SQLNULL",
        "INTEGER_LITERAL",
        "STRING_LITERAL",
    ]
) | {"TIMESTAMP WITH TIME ZONE", "TIMESTAMP_TZ", "TIME WITH TIME ZONE"}
