"""Backends: one file per kind of service. Found by entry point `meshkit.backends`; each alone imports its client library."""
