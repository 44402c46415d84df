"""Databases whose changes are followed."""
