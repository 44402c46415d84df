"""`meshkit init`: the text of a valid draft manifest."""

from __future__ import annotations

import re

from meshkit.errors import UsageError

__all__ = ["scaffold"]

_TEMPLATE = """\
apiVersion: meshkit/v1
kind: DataProduct
domain: {domain}
name: {name}
version: 0.1.0
status: draft                       # proposed | draft | active | deprecated | retired
owner: {{team: {team}, contact: {contact}}}
description:
  purpose: "TODO: say what this product is for."
support: [{{channel: "#{team}", tool: slack}}]
# inputs:                           # what it reads; key = argument name of the transform function
#   raw: {{product: other.product, version: "1", columns: [id]}}
schema:
  {name}:
    fields:
      id: {{type: int64, required: true, key: 1, description: "TODO: what identifies a row."}}
      created_at: {{type: timestamptz, required: true}}
ports:
  lake: {{kind: file, location: "s3://{bucket}-lake/{path}/{name}/v{{major}}/*.parquet", format: parquet}}
  warehouse: {{kind: bigquery, location: "bigquery://{bucket}-dw/{dataset}.{name}"}}
slos:
  freshness: {{within: 1h, target: 99.9%, field: {name}.created_at}}
"""


def scaffold(*, name: str, domain: str, owner: str | None = None, team: str | None = None) -> str:
    """Text of a draft: placeholders start with `TODO:` and are errors once the status is not draft.

    Raises: `UsageError` for names the format refuses, saying how they look.
    """
    segment = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"
    if not re.fullmatch(segment, name) or re.fullmatch(r"v\d+", name) or len(name) > 63:
        raise UsageError(
            f"{name!r} is no product name. Use lower-case letters, digits and single underscores, for example customer_orders",
            code="manifest.name",
        )
    if not re.fullmatch(rf"{segment}(\.{segment}){{0,2}}", domain) or any(len(s) > 63 for s in domain.split(".")):
        raise UsageError(
            f"{domain!r} is no domain name. Use 1 to 3 dotted segments such as sales or sales.emea",
            code="manifest.name",
        )
    dashed = domain.replace(".", "-").replace("_", "-")
    contact = owner or f"{dashed}-team@company.com"
    if not re.fullmatch(r"[^\s@{}\[\],:#&*!|>'\"%`]+@[^\s@{}\[\],:#&*!|>'\"%`]+", contact):
        raise UsageError("--owner is no mail address. Write for example sales-team@company.com", code="manifest.owner")
    team_name = team or f"{dashed}-data"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]*", team_name):
        raise UsageError(
            "--team holds characters a team name can't have. Use letters, digits, blanks, dots, dashes",
            code="manifest.owner",
        )
    return _TEMPLATE.format(
        name=name,
        domain=domain,
        team=team_name,
        contact=contact,
        bucket="acme",
        path=domain.replace(".", "/"),
        dataset=domain.replace(".", "_"),
    )
