"""One file per page: a pure reading of a `Reader` into a `Page`, whose facts are the page's JSON and whose view the template shows."""

from meshkit.controlplane.pages.page import Page

__all__ = ["Page"]
